"""What a benchmark's page recorded, on this machine's monotonic clock.

In: the batches of `bench.take()` (page.js) and the exchanges that relate the page's clock with ours. Out: levels of the
microphone and of what was played, with the time of each block; pictures and events with theirs. Times are seconds of
``time.monotonic()``.

Three times are told apart. *Handed on*: a block of the microphone was rendered, and so given to WebRTC. *Heard*: a
block that the page plays reaches the loudspeaker, which is when the player pulled it out of the jitter buffer plus the
output latency that the browser states. *Shown*: the browser's expected display time of a picture.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Array, ClockOffset, NotMeasured, clock_offset

RATE_HZ = 48_000
MIC_BLOCK_FRAMES = 64
EAR_BLOCKS = 10
"""Blocks in a frame of 10 ms of what is played."""
EAR_BLOCK_S = 0.001


@dataclass(frozen=True, slots=True)
class Event:
    """Something the page was told: a message of the server's, or a change of the connection."""

    at: float
    type: str
    detail: Any


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture that the page showed.

    Args:
        presented: the browser's count of pictures it presented, this one included.
        luma: uint8 [pixels of the region], empty where no region was read.
    """

    at: float
    presented: int
    luma: npt.NDArray[np.uint8]


@dataclass
class Recording:
    """Grows with `add`. Blocks of the microphone are counted from context frame ``first_frame`` on; blocks of what is
    played, a millisecond each, from the first one that was heard."""

    events: list[Event] = field(default_factory=list)
    pictures: list[Shown] = field(default_factory=list)
    lost_blocks: int = 0
    """Blocks of the microphone that never came from the worklet; silence stands in their place."""
    latency_s: tuple[float, float] = (0.0, 0.0)
    """The context's own base and output latency, as the browser states them."""
    first_frame: int = -1
    _next_frame: int = 0
    _mic: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _bursts: list[tuple[float, float]] = field(default_factory=list)
    _heard: list[tuple[float, float]] = field(default_factory=list)
    _peaks: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _exchanges: list[tuple[float, float, float]] = field(default_factory=list)

    def exchanged(self, sent: float, page_ms: float, returned: float) -> None:
        """One question for the page's clock: asked and answered by ours, in seconds."""
        self._exchanges.append((sent, page_ms / 1000, returned))

    @property
    def clock(self) -> ClockOffset:
        """From the page's ``performance.now()`` (s) to ours. Both count the same oscillator: one offset holds."""
        return clock_offset(self._exchanges)

    def add(self, batch: Mapping[str, Any]) -> None:
        offset = self.clock.offset
        for at_ms, type_, detail in [(event["at"], event["type"], event["detail"]) for event in batch["events"]]:
            self.events.append(Event(at_ms / 1000 + offset, type_, detail))
        self.latency_s = tuple(batch["latency"])
        self._bursts += [(frame, (epoch_ms + batch["origin"]) / 1000) for frame, epoch_ms in batch["bursts"]]
        self._heard += [(at_ms / 1000, length_ms / 1000) for at_ms, length_ms in batch["heard"]]
        self._peaks.append(np.frombuffer(base64.b64decode(batch["peaks"]), np.float32))
        self._add_levels(batch)
        self._add_pictures(batch, offset)

    def _add_levels(self, batch: Mapping[str, Any]) -> None:
        frames = batch["frames"]
        if not frames:
            return
        levels = np.frombuffer(base64.b64decode(batch["mic"]), np.float32)
        blocks = levels.size // len(frames)
        for number, frame in enumerate(frames):
            if self.first_frame < 0:
                self.first_frame = self._next_frame = frame
            lost = (frame - self._next_frame) // MIC_BLOCK_FRAMES
            if lost > 0:
                self.lost_blocks += lost
                self._mic.append(np.zeros(lost, np.float32))
            self._mic.append(levels[number * blocks : (number + 1) * blocks])
            self._next_frame = frame + blocks * MIC_BLOCK_FRAMES

    def _add_pictures(self, batch: Mapping[str, Any], offset: float) -> None:
        luma = np.frombuffer(base64.b64decode(batch["luma"]), np.uint8)
        read = 0
        for shown_ms, presented, pixels in batch["pictures"]:
            self.pictures.append(Shown(shown_ms / 1000 + offset, presented, luma[read : read + pixels]))
            read += pixels

    # -- the microphone

    @property
    def mic(self) -> Array:
        """Peaks of what was played into the microphone, [blocks], 0 to 1."""
        return np.concatenate([np.zeros(0, np.float32), *self._mic]).astype(np.float64)

    def mic_block(self, frame: int) -> int:
        """The microphone's block with this context frame."""
        return (frame - self.first_frame) // MIC_BLOCK_FRAMES

    def handed_on(self, block: int) -> float:
        """When this block of the microphone was given to WebRTC."""
        frames = np.array([frame for frame, _ in self._bursts])
        at = int(np.searchsorted(frames, self.first_frame + block * MIC_BLOCK_FRAMES, side="right")) - 1
        if at < 0:
            raise NotMeasured("the block was rendered before the recording began")
        return self._bursts[at][1] + self.clock.offset

    def mic_between(self, start: float, end: float) -> Array:
        """The microphone's levels that were handed on between two times."""
        times = np.array([at for _, at in self._bursts]) + self.clock.offset
        first, last = (int(np.searchsorted(times, at)) for at in (start, end))
        if first == last:
            return np.zeros(0)
        frames = [round(self._bursts[at][0]) for at in (first, last - 1)]
        return self.mic[self.mic_block(frames[0]) : self.mic_block(frames[1])]

    # -- what is played

    @property
    def played(self) -> Array:
        """Peaks of what the page plays, [blocks of a millisecond], 0 to 1."""
        return np.concatenate([np.zeros(0, np.float32), *self._peaks]).astype(np.float64)

    @property
    def output_latency_s(self) -> float:
        return sum(self.latency_s)

    @property
    def gaps(self) -> int:
        """How often more than two frames' time passed between two frames of what is played."""
        times = np.array([at for at, _ in self._heard])
        return int((np.diff(times) > 0.02).sum())

    def heard(self, block: int) -> float:
        """When this block is at the loudspeaker."""
        at, length = self._heard[min(block // EAR_BLOCKS, len(self._heard) - 1)]
        within = (block - min(block // EAR_BLOCKS, len(self._heard) - 1) * EAR_BLOCKS) / EAR_BLOCKS * length
        return at + within + self.output_latency_s + self.clock.offset

    def block_heard_at(self, at: float) -> int:
        """The first block that is heard at this time of ours or later."""
        times = np.array([time for time, _ in self._heard]) + self.output_latency_s + self.clock.offset
        frame = max(0, int(np.searchsorted(times, at, side="right")) - 1)
        within = int(np.ceil(max(0.0, at - times[frame]) / self._heard[frame][1] * EAR_BLOCKS - 1e-6))
        return frame * EAR_BLOCKS + min(within, EAR_BLOCKS)

    def loudest_around(self, times: Sequence[float], before_s: float, after_s: float) -> Array:
        """The highest peak that was heard around each of these times, [n]; NaN where not all of it was recorded."""
        if not self._heard:
            return np.full(len(times), np.nan)
        stamps = np.array([at for at, _ in self._heard]) + self.output_latency_s + self.clock.offset
        frames = np.concatenate(self._peaks).reshape(-1, EAR_BLOCKS).max(axis=1).astype(np.float64)
        asked = np.asarray(times, np.float64)
        first = np.searchsorted(stamps, asked - before_s, side="right") - 1
        last = np.searchsorted(stamps, asked + after_s, side="right")
        known = (first >= 0) & (last < stamps.size)
        spans = zip(first, last, known, strict=True)
        return np.array([frames[start:end].max() if whole else np.nan for start, end, whole in spans])
