"""One utterance on its way through the playout: its samples, and where it stands."""

from __future__ import annotations

from collections import deque

import numpy as np

from avatar.frames import TICK_SAMPLES, Pcm
from avatar.resample import Decimator

RECENT_TICKS = 25
"""How many ticks can be given back: what a sink holds, and what waits unheard in the buffer of its receiver."""


class Segment:
    """Speech is taken in whole ticks, so that picture n always stands for samples 40 * n to 40 * (n + 1) ms; only
    the last tick of a complete segment may be shorter."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False
        self.started = False
        self.announced = False
        self.dry = False
        self.pushed = 0
        """Samples that came, at 48 kHz."""
        self.taken = 0
        """Samples that were released."""
        self.released_to = 0
        """Where its last sample released stands on the media time line, in samples; set by the ledger."""
        self.pushed_at = 0.0
        """When its first sample came."""
        self.ready_at = 0.0
        """When its first whole tick was there."""
        self.drawable_at: float | None = None
        """When its first picture's sound was there, lookahead included."""
        self.start_tick = 0
        self._chunks: deque[Pcm] = deque()
        self._recent: deque[Pcm] = deque(maxlen=RECENT_TICKS)
        self._decimator = Decimator()

    def push(self, pcm: Pcm, now: float, start_tick: int, needed: float) -> Pcm:
        """Add samples at 48 kHz; returns the same at 16 kHz, as far as it is settled.

        Args:
            needed: samples that the first picture takes, lookahead included.
        """
        if not self.pushed and pcm.size:
            self.pushed_at = now
        had_tick = self.has_tick
        if pcm.size:
            self._chunks.append(pcm)
            self.pushed += pcm.size
        self._became_ready(had_tick, now, start_tick)
        if self.drawable_at is None and self.pushed >= needed:
            self.drawable_at = now
        return self._decimator.push(pcm)

    def end(self, now: float, start_tick: int) -> None:
        """No more comes."""
        had_tick = self.has_tick
        self.ended = True
        self._became_ready(had_tick, now, start_tick)
        if self.drawable_at is None:
            self.drawable_at = now

    def _became_ready(self, had_tick: bool, now: float, start_tick: int) -> None:
        if not had_tick and self.has_tick and not self.started:
            self.ready_at = now
            self.start_tick = start_tick

    def waited_enough(self, now: float, lookahead_ms: float, grace_ms: float) -> bool:
        """Whether its voice has waited long enough for its first picture, or for the sound that the picture takes."""
        if self.drawable_at is not None and now - self.drawable_at >= grace_ms / 1000:
            return True
        return now - self.ready_at >= (lookahead_ms + grace_ms) / 1000

    @property
    def waiting(self) -> int:
        return self.pushed - self.taken

    @property
    def picture(self) -> int:
        """The index of the picture that goes with the tick taken last."""
        return (self.taken - 1) // TICK_SAMPLES

    @property
    def has_tick(self) -> bool:
        return self.has_tick_at(self.taken)

    @property
    def exhausted(self) -> bool:
        return self.exhausted_at(self.taken)

    def has_tick_at(self, taken: int) -> bool:
        waiting = self.pushed - taken
        return waiting >= TICK_SAMPLES or (self.ended and waiting > 0)

    def exhausted_at(self, taken: int) -> bool:
        return self.ended and taken >= self.pushed

    def take_tick(self) -> Pcm:
        """The next 40 ms, int16 [up to TICK_SAMPLES]."""
        parts, missing = [], TICK_SAMPLES
        while missing and self._chunks:
            chunk = self._chunks[0]
            if chunk.size <= missing:
                parts.append(self._chunks.popleft())
            else:
                parts.append(chunk[:missing])
                self._chunks[0] = chunk[missing:]
            missing -= parts[-1].size
        taken = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        self.taken += taken.size
        self._recent.append(taken)
        return taken

    def give_back(self) -> None:
        """Undo the last `take_tick`, as far as it is remembered."""
        if self._recent:
            tick = self._recent.pop()
            self._chunks.appendleft(tick)
            self.taken -= tick.size

    def peek(self, samples: int) -> Pcm:
        """Up to this many of the next samples, without taking them."""
        parts, missing = [], samples
        for chunk in self._chunks:
            if missing <= 0:
                break
            parts.append(chunk[:missing])
            missing -= parts[-1].size
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)
