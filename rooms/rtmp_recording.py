"""A stream's recording: the packets that go on air, written to fragmented MP4 files beside it, nothing encoded twice.

In: packets, from the encoder's thread. Out: files of an hour each, named by their beginning, playable at any moment and
after any crash; old ones are deleted when their time is over. It never holds up the stream: a disk that is too slow
loses parts of the recording, a full one ends it, and the stream goes on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from avatar.frames import MienError
from rooms.mp4 import Provenance
from rooms.mp4_fragments import Fragmenter, header, whole_bytes
from rooms.rtmp_encoder import Packet

log = logging.getLogger(__name__)

FRAGMENT_MS = 1000.0
"""At most this much is lost by a kill."""
FILE_S = 3600.0
MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Packets waiting for the disk: more than a minute at the usual rates."""
CLEAN_EVERY_S = 600.0
CLOSE_S = 5.0
LAST_FILES = 3
"""Of the runs before, looked at for a half fragment."""
_OURS = re.compile(r"mien-\d{8}-\d{6}(-\d+)?\.mp4")


class StreamRecordingError(MienError):
    """There is no recording to that place: which, and why."""


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    state: Literal["recording", "failed", "closed"]
    file: str | None
    problem: str | None
    written_bytes: int
    packets_dropped: int


class StreamRecording:
    """Starts with the next keyframe. `offer` and `status` may be called from any thread.

    Args:
        folder: made if it is not there.
        keep_s: files are deleted this long after they were last written to; None keeps them.
        file_s: how long one file is.
        clean_every_s: how often it is looked for such files, also after the recording has failed.

    Raises:
        StreamRecordingError: the folder cannot be made or written to.
    """

    def __init__(
        self,
        folder: Path,
        provenance: Provenance,
        *,
        keep_s: float | None = None,
        file_s: float = FILE_S,
        clean_every_s: float = CLEAN_EVERY_S,
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".mien-probe-{time.monotonic_ns()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StreamRecordingError(f"cannot record to {folder}: {error.strerror}; give another folder") from None
        self._folder = folder
        self._provenance = provenance
        self._keep_s = keep_s
        self._file_s = file_s
        self._clean_every_s = clean_every_s
        self._cleaned = float("-inf")
        self._changed = threading.Condition()
        self._waiting: deque[Packet] = deque()
        self._waiting_bytes = 0
        self._at_keyframe = True
        self._closing = False
        self._failure: str | None = None
        self._written = self._dropped = 0
        self._file: Path | None = None
        self._thread = threading.Thread(target=self._run, name="stream recording", daemon=True)
        self._thread.start()

    def offer(self, packet: Packet) -> None:
        """Queue a packet, or drop it when the disk is far behind. Returns at once."""
        with self._changed:
            if self._failure is not None or self._closing:
                return
            if self._at_keyframe and not (packet.video and packet.keyframe):
                self._dropped += self._file is not None
                return
            self._at_keyframe = self._waiting_bytes > MAX_WAITING_BYTES
            if self._at_keyframe:
                self._dropped += 1
                return
            self._waiting.append(packet)
            self._waiting_bytes += len(packet.data)
            self._changed.notify()

    def status(self) -> RecordingStatus:
        with self._changed:
            state: Literal["recording", "failed", "closed"] = "recording"
            if self._failure is not None:
                state = "failed"
            elif self._closing:
                state = "closed"
            file = str(self._file) if self._file is not None else None
            return RecordingStatus(state, file, self._failure, self._written, self._dropped)

    def close(self) -> None:
        """Write what is left; bounded. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.warning("%s was not completed within %g s; it is playable up to its last fragment", self._file, CLOSE_S)

    # -- the thread

    def _run(self) -> None:
        try:
            self._mend()
            packet = self._next()
            while packet is not None:
                packet = self._record(packet)
        except OSError as error:
            reason = error.strerror or str(error)
            message = (
                f"recording to {self._file or self._folder} ended: {reason}; what was written until then is playable"
            )
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                message += "; free some space and start again, or record to another disk"
            self._fail(message)
        except Exception as error:  # a thread has no caller; the stream goes on, and status tells
            log.exception("recording to %s failed", self._file)
            self._fail(f"recording to {self._file} ended by a fault inside Mien: {error!r}")
        # Whatever ended it, the time of what was recorded before goes on to run out.
        with self._changed:
            closing = self._closing
        while not closing:
            self._clean()
            with self._changed:
                closing = self._changed.wait_for(lambda: self._closing, self._clean_every_s)

    def _record(self, packet: Packet) -> Packet | None:
        """One file, from this keyframe on; returns the keyframe that begins the next one."""
        form, began = packet.format, time.monotonic()
        name = datetime.now(UTC).strftime("mien-%Y%m%d-%H%M%S")
        fragments = Fragmenter(FRAGMENT_MS)
        with self._create(name) as file:
            self._write(file, header(form, self._provenance))
            taken: Packet | None = packet
            while taken is not None:
                self._write(file, fragments.push(taken))
                if time.monotonic() - self._cleaned > self._clean_every_s:
                    self._clean()
                taken = self._next()
                over = time.monotonic() - began > self._file_s
                if taken is not None and taken.video and taken.keyframe and (over or taken.format is not form):
                    break
            self._write(file, fragments.flush())
        return taken

    def _create(self, name: str) -> BinaryIO:
        for number in range(1000):
            path = self._folder / f"{name}{f'-{number}' if number else ''}.mp4"
            with contextlib.suppress(FileExistsError):
                # Unbuffered: what has been written outlives this process.
                file: BinaryIO = path.open("xb", buffering=0)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with self._changed:
                    self._file = path
                log.info("recording to %s", path)
                return file
        raise FileExistsError(errno.EEXIST, "a thousand recordings of the same second are there", name)

    def _write(self, file: BinaryIO, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):  # half a fragment is of no use, and its space may be wanted
                file.truncate(file.tell() - (len(content) - len(rest)))
            raise
        with self._changed:
            self._written += len(content)

    def _next(self) -> Packet | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            packet = self._waiting.popleft()
            self._waiting_bytes -= len(packet.data)
            return packet

    def _mend(self) -> None:
        """Cut off the half fragment that a power cut or a kill may have left: players would refuse the whole file."""
        for path in sorted(self._ours())[-LAST_FILES:]:
            try:
                with path.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    whole = whole_bytes(file)
                    if 0 < whole < file.seek(0, 2):
                        file.truncate(whole)
                        log.info("%s had been cut off in the middle of a second; it is playable again", path)
            except BlockingIOError:
                continue  # another stream is writing it
            except OSError as error:  # of another user, perhaps; it keeps nobody from recording
                log.warning("whether %s was cut off could not be seen: %s", path, error.strerror)

    def _clean(self) -> None:
        """Delete our own recordings whose time is over. One that cannot be deleted ends nothing."""
        self._cleaned = time.monotonic()
        if self._keep_s is None:
            return
        written = self._file if self._failure is None else None
        for file in self._ours():
            try:
                if file != written and time.time() - file.stat().st_mtime > self._keep_s:
                    file.unlink()
                    log.info("deleted %s: it was kept for its %.0f hours", file, self._keep_s / 3600)
            except FileNotFoundError:
                continue  # another stream cleans the same folder
            except OSError as error:
                log.warning("the old recording %s could not be deleted: %s", file, error.strerror)

    def _ours(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if _OURS.fullmatch(path.name)]

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        with self._changed:
            self._failure = message
            self._waiting.clear()
            self._waiting_bytes = 0
