"""An independent client of an RTMP server: FFmpeg, through PyAV. What the server gives, with its times, comes out.

It reads on a thread of its own, from the moment the stream is there until it ends or is told to stop; when the server
goes away, what it got until then stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import av
import av.error
import numpy as np
import numpy.typing as npt

from avatar.frames import SAMPLE_RATE_HZ

_OPEN_S = 10.0
_COME_AGAIN_S = 0.02
_SEAM_MS = 2.0


@dataclass(frozen=True, slots=True)
class Got:
    """One packet.

    Args:
        at_s: when it came, on the monotonic clock.
    """

    kind: Literal["video", "audio"]
    time_ms: float
    keyframe: bool
    at_s: float


@dataclass
class Reader:
    """Args:
    decode: also decode: ``luma`` and ``sound`` are filled.
    pictures: where it decodes, pictures too.
    keep_every_ms: of those one this often is kept, in ``kept``; 0 keeps none.
    """

    url: str
    decode: bool = False
    pictures: bool = True
    keep_every_ms: float = 0.0
    packets: list[Got] = field(default_factory=list)
    luma: list[tuple[float, float]] = field(default_factory=list)
    """(time in ms, mean of the Y plane) of each picture."""
    kept: list[tuple[float, npt.NDArray[np.uint8]]] = field(default_factory=list)
    """(time in ms, Y plane) of those that were to be kept."""
    sizes: set[tuple[int, int]] = field(default_factory=set)
    codecs: tuple[str, ...] = ()
    problem: str | None = None
    loud: list[tuple[float, float]] = field(default_factory=list)
    """(when it came on the monotonic clock, peak) of each decoded piece of sound."""
    _sound: list[tuple[float, npt.NDArray[np.float32]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> Reader:
        self._thread.start()
        return self

    def stop(self) -> Reader:
        self._stop.set()
        self._thread.join(_OPEN_S)
        assert not self._thread.is_alive(), "the reader is stuck"
        return self

    def finished(self) -> Reader:
        """Wait for the end of a file."""
        self._thread.join(_OPEN_S)
        assert not self._thread.is_alive(), "the reader is stuck"
        return self

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def until(self, pictures: int, timeout_s: float) -> bool:
        """Wait until it has so many pictures; whether it came to that."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if len(self.of("video")) >= pictures:
                return True
            if not self._thread.is_alive():
                break
            time.sleep(0.02)
        return len(self.of("video")) >= pictures

    def of(self, kind: Literal["video", "audio"]) -> list[Got]:
        return [packet for packet in list(self.packets) if packet.kind == kind]

    def steps_ms(self, kind: Literal["video", "audio"]) -> npt.NDArray[np.float64]:
        return np.diff([packet.time_ms for packet in self.of(kind)])

    def sound(self) -> tuple[float, npt.NDArray[np.float32]]:
        """The time in ms of the first sample, and all samples, silence where there were none."""
        return joined(self._sound)

    def _run(self) -> None:
        try:
            with av.open(self.url, timeout=_OPEN_S) as container:
                self.codecs = tuple(stream.codec_context.name for stream in container.streams)
                for packet in container.demux():
                    if self._stop.is_set():
                        return
                    if packet.pts is None:
                        continue
                    kind = packet.stream.type
                    if kind not in ("video", "audio"):
                        continue
                    time_ms = float(packet.pts * packet.time_base) * 1000
                    self.packets.append(Got(kind, time_ms, packet.is_keyframe, time.monotonic()))  # type: ignore[arg-type]
                    if self.decode and (self.pictures or kind == "audio"):
                        self._decoded(packet)
        except av.error.FFmpegError as error:
            self.problem = str(error)

    def _decoded(self, packet: av.Packet[Any]) -> None:
        for frame in packet.decode():
            if frame.pts is None or frame.time_base is None:
                continue
            time_ms = float(frame.pts * frame.time_base) * 1000
            if isinstance(frame, av.VideoFrame):
                self.sizes.add((frame.width, frame.height))
                luma = frame.to_ndarray()[: frame.height]
                self.luma.append((time_ms, float(luma.mean())))
                due = not self.kept or time_ms - self.kept[-1][0] >= self.keep_every_ms
                if self.keep_every_ms and due:
                    self.kept.append((time_ms, np.array(luma, np.uint8)))
            elif isinstance(frame, av.AudioFrame):
                samples = frame.to_ndarray()[0].astype(np.float32)
                self._sound.append((time_ms, samples))
                self.loud.append((time.monotonic(), float(np.abs(samples).max())))


class Follower:
    """A client that stays: whenever the server has gone it comes again, as soon as there is one.

    It may well be there before the stream is, and then gets that from its very first packet on.
    """

    def __init__(self, url: str, *, pictures: bool) -> None:
        self._url = url
        self._pictures = pictures
        self._visits: list[Reader] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> Follower:
        self._thread.start()
        return self

    def there(self, timeout_s: float) -> bool:
        """Wait until it gets pictures; whether it came to that."""
        end = time.monotonic() + timeout_s
        while not (seen := any(each.of("video") for each in list(self._visits))) and time.monotonic() < end:
            time.sleep(0.02)
        return seen

    def stop(self) -> list[Reader]:
        """The visits at which it saw something, in order."""
        self._stop.set()
        self._thread.join(2 * _OPEN_S)
        assert not self._thread.is_alive(), "the follower is stuck"
        return [each for each in self._visits if each.of("video")]

    def _run(self) -> None:
        while not self._stop.is_set():
            reader = Reader(self._url, decode=True, pictures=self._pictures).start()
            self._visits.append(reader)
            while reader.running and not self._stop.wait(_COME_AGAIN_S):
                pass
            reader.stop()
            self._stop.wait(_COME_AGAIN_S)


def flash_offsets_ms(reader: Reader) -> list[float]:
    """For each flash, how much later its beep begins (negative: earlier).

    Pictures are black and white and belong to beeps as benchmarks/flash.py makes them.
    """
    times = np.array([time_ms for time_ms, _ in reader.luma])
    bright = np.array([luma for _, luma in reader.luma])
    middle = (bright.min() + bright.max()) / 2
    flashes = times[1:][(bright[1:] > middle) & (bright[:-1] <= middle)]
    first_ms, sound = reader.sound()
    block = SAMPLE_RATE_HZ // 1000
    level = np.abs(sound[: sound.size // block * block]).reshape(-1, block).max(axis=1)
    loud = level > 0.3 * level.max()
    onsets = [first_ms + at for at in np.flatnonzero(loud[1:] & ~loud[:-1]) + 1 if not loud[max(0, at - 60) : at].any()]
    return [
        float(min((onset - flash for onset in onsets), key=abs))
        for flash in flashes
        if any(abs(onset - flash) < 500 for onset in onsets)
    ]


def joined(pieces: Sequence[tuple[float, npt.NDArray[np.float32]]]) -> tuple[float, npt.NDArray[np.float32]]:
    """Decoded pieces of sound with their times in ms, as one: the time of its first sample, and all samples.

    FLV counts whole milliseconds. A piece that is not two of them away from where the last one ended follows it
    without a seam: half a millisecond more here and less there turns a tone above 575 Hz into another.
    """
    first_ms = pieces[0][0]
    whole = np.zeros(_samples(pieces[-1][0] + _SEAM_MS - first_ms) + pieces[-1][1].size, np.float32)
    end = 0
    for time_ms, samples in pieces:
        at = _samples(time_ms - first_ms)
        at = end if abs(at - end) < _samples(_SEAM_MS) else at
        end = at + samples.size
        whole[at:end] = samples
    return first_ms, whole[:end]


def _samples(ms: float) -> int:
    return round(ms * SAMPLE_RATE_HZ / 1000)
