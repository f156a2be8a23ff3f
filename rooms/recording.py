"""A sink that writes an MP4 file: H.264 picture and AAC sound, exactly in step.

In: frames from the playout. Out: one file, which has its name only once it is complete (`OUT.partial` until then).
Encoding and writing happen on the sink's own thread. A live conversation never waits for it: when it falls behind, the
queue drops pictures first (a gap in which the last one stays) and sound last (replaced by silence, so that the rest
keeps its place). A producer that has time, as `mien render` has, awaits ``ready`` before each frame and loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import threading
from collections import deque
from pathlib import Path
from typing import NamedTuple

import av.error

from avatar.frames import Frame, MienError, Pcm, Picture, SinkClosed
from rooms.held import DELAY_MS, HeldFrames, Tick
from rooms.mp4 import Mp4File, Provenance

log = logging.getLogger(__name__)

MAX_PICTURES = 25
"""Pictures waiting to be encoded: one second. At 512² that is 10 MB."""
MAX_TICKS = 250
"""Ticks of sound waiting: ten seconds, 1 MB."""
CLOSE_TIMEOUT_S = 10.0


class RecordingError(MienError):
    """The file cannot be made where it was asked for."""


class _Tick(NamedTuple):
    tick: int
    picture: Picture | None
    sound: Pcm


class RecordingSink:
    """Records one conversation or one rendered speech.

    It holds the newest frame for one tick (``delay_ms``), so that an interruption fades out in the file as it does
    in the room. It is made and called on one event loop.

    Args:
        out: the finished file; one that is already there is replaced when the new one is complete.
        width, height: px, of every picture.
        fragmented: see ``Mp4File``; after a crash such a file is playable under its `.partial` name.

    Raises:
        RecordingError: the folder is not there or cannot be written to.
    """

    def __init__(
        self, out: Path, width: int, height: int, provenance: Provenance, *, fragmented: bool, name: str = "recording"
    ) -> None:
        if not out.parent.is_dir():
            raise RecordingError(f"cannot record to {out}: there is no folder {out.parent}; make it first")
        if out.is_dir() or not os.access(out.parent, os.W_OK):
            raise RecordingError(f"cannot record to {out}: it is a folder or {out.parent} is not writable")
        self._out = out
        self._partial = out.with_name(out.name + ".partial")
        self._size = (width, height)
        self._provenance = provenance
        self._fragmented = fragmented
        self._name = name
        self.pictures_dropped = 0
        self.ticks_dropped = 0

        # On the event loop's side.
        self._held = HeldFrames()

        # Between the loop and the thread, under the condition's lock.
        self._changed = threading.Condition()
        self._waiting: deque[_Tick] = deque()
        self._pictures_waiting = 0
        self._closing = False
        self._discarding = False
        self._failure: str | None = None
        self._failure_told = False
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()

        # A daemon: should closing run out of time, the interpreter does not wait for an encoder.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._name

    @property
    def delay_ms(self) -> int:
        return DELAY_MS

    def put(self, frame: Frame) -> None:
        if (frame.picture.width, frame.picture.height) != self._size:
            raise SinkClosed(
                f"{self._out} holds pictures of {self._size[0]}x{self._size[1]} px and was given one of "
                f"{frame.picture.width}x{frame.picture.height}: start a new recording"
            )
        with self._changed:
            self._raise_if_closed()
        if (tick := self._held.push(frame)) is not None:
            self._commit(tick)

    def clear(self, generation: int) -> int:
        return self._held.clear(generation)

    def unsent(self) -> int:
        return self._held.unsent()

    async def ready(self) -> None:
        """Wait until a frame can be put without anything being dropped.

        Raises:
            SinkClosed: the file can take nothing any more.
        """
        while True:
            with self._changed:
                self._raise_if_closed()
                # One place is kept for the frame that is held, which closing commits without a wait.
                if self._pictures_waiting < MAX_PICTURES - 1 and len(self._waiting) < MAX_TICKS - 1:
                    return
                self._room = room = self._loop.create_future()
            await room

    async def aclose(self) -> None:
        """Write what is left and give the file its name; without a single frame there is no file.

        Raises:
            SinkClosed: that was not possible, and nobody has been told yet; the message says why and what is left.
        """
        with self._changed:
            first_call = not self._closing
        if first_call and (tick := self._held.flush()) is not None:
            self._commit(tick)
        with self._changed:
            self._closing = True
            self._changed.notify()
        _, late = await asyncio.wait({self._done}, timeout=CLOSE_TIMEOUT_S)
        if late:
            raise SinkClosed(f"{self._out} was not finished within {CLOSE_TIMEOUT_S:.0f} s; {self._left_over()}")
        with self._changed:
            if self._failure is not None and not self._failure_told:
                self._failure_told = True
                raise SinkClosed(self._failure)

    async def discard(self) -> None:
        """Stop at once and leave no file behind."""
        with self._changed:
            self._closing = self._discarding = True
            self._waiting.clear()
            self._changed.notify()
        await asyncio.wait({self._done}, timeout=CLOSE_TIMEOUT_S)

    def _raise_if_closed(self) -> None:
        if self._failure is not None:
            self._failure_told = True
            raise SinkClosed(self._failure)
        if self._closing:
            raise SinkClosed(f"the recording {self._out} is closed")

    def _commit(self, held: Tick) -> None:
        """Hand a frame that is held no longer to the thread; when it is behind, the picture goes first."""
        picture: Picture | None = held.picture
        with self._changed:
            if len(self._waiting) >= MAX_TICKS:
                self.ticks_dropped += 1
                return
            if self._pictures_waiting >= MAX_PICTURES:
                self.pictures_dropped += 1
                picture = None
            else:
                self._pictures_waiting += 1
            self._waiting.append(_Tick(held.tick, picture, held.sound))
            self._changed.notify()

    # ---- the thread ----

    def _run(self) -> None:
        self._record()
        if self.pictures_dropped or self.ticks_dropped:
            log.warning(
                "%s: the encoder fell behind; %d pictures and %d ticks of sound were left out",
                self._out,
                self.pictures_dropped,
                self.ticks_dropped,
            )
        self._resolve(self._done)

    def _record(self) -> None:
        try:
            if not self._write() or self._discarding:
                self._partial.unlink(missing_ok=True)
                log.info("nothing was recorded to %s: it was closed before the first frame, or discarded", self._out)
                return
            with self._partial.open("rb") as written:
                os.fsync(written.fileno())
            self._partial.replace(self._out)
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)
        except Exception as error:  # a thread has no caller that would see it: the sink's owner is told by ``put``
            log.exception("recording %s failed", self._out)
            self._fail(error)

    def _write(self) -> bool:
        """Encode until closed. Returns whether anything came."""
        width, height = self._size
        with Mp4File(self._partial, width, height, self._provenance, fragmented=self._fragmented) as file:
            while (taken := self._take()) is not None:
                file.write(*taken)
        return not file.empty

    def _take(self) -> _Tick | None:
        """The next tick; None when the recording is being closed and all is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            if taken.picture is not None:
                self._pictures_waiting -= 1
            self._tell_room()
            return taken

    def _fail(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if not self._fragmented:
            # Without its index it can be played by nothing, and on a full disk its space is wanted.
            self._partial.unlink(missing_ok=True)
        message = f"recording to {self._out} stopped: {reason}; {self._left_over()}"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message += "; free some space or record to another disk"
        with self._changed:
            self._failure = message
            self._waiting.clear()
            self._pictures_waiting = 0
            self._tell_room()

    def _left_over(self) -> str:
        return f"what there is, is in {self._partial}" if self._partial.exists() else "nothing of it was kept"

    def _tell_room(self) -> None:
        if self._room is not None:
            self._resolve(self._room)
            self._room = None

    def _resolve(self, waited_for: asyncio.Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(lambda: None if waited_for.done() else waited_for.set_result(None))
