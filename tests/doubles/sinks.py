"""Hostile sinks: they keep what they are given, and send it late, never, or not to the end."""

from __future__ import annotations

from collections.abc import Callable

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, Frame, SinkClosed
from rooms.memory import MemorySink


class PacketSink(MemorySink):
    """A sound card: takes 10 ms packets by its own clock, which runs a little off ours.

    Args:
        clock: seconds, as the playout's.
        drift: 0.001 means that it plays 0.1% too fast.
        held_ms: how much it wants in its queue before it begins.
    """

    name = "packets"

    def __init__(self, clock: Callable[[], float], *, drift: float = 0.0, held_ms: int = 20) -> None:
        super().__init__()
        self.delay_ms = held_ms
        self.cleared = False
        """Whether anything unsent was silenced."""
        self._clock = clock
        self._rate = 1 + drift
        self._began: float | None = None
        self._put = 0
        self._starved = 0

    def put(self, frame: Frame) -> None:
        self._sent()
        if self._began is None:
            self._began = self._clock() + self.delay_ms / 1000
        super().put(frame)
        self._put += TICK_SAMPLES

    def clear(self, generation: int) -> int:
        super().clear(generation)
        self.cleared = self.cleared or self.unsent() > 0
        return self.unsent()

    def unsent(self) -> int:
        return self._put - self._sent()

    def _sent(self) -> int:
        if self._began is None:
            return 0
        packets = int(max(0.0, self._clock() - self._began) * self._rate * 100)
        due = packets * (SAMPLE_RATE_HZ // 100) - self._starved
        if due > self._put:
            # It ran dry: silence was played, and the queue's place moves.
            self._starved += due - self._put
            due = self._put
        return due


class StuckSink(MemorySink):
    """Accepts and never sends; its queue is bounded, so what is unsent stops growing."""

    name = "stuck"
    delay_ms = 0

    def unsent(self) -> int:
        return min(len(self.frames), 5) * TICK_SAMPLES

    def clear(self, generation: int) -> int:
        unsent = self.unsent()
        super().clear(generation)
        return unsent


class LostSink(MemorySink):
    """Is gone after so many frames."""

    name = "lost"

    def __init__(self, frames: int, error: Exception | None = None) -> None:
        super().__init__()
        self._left = frames
        self._error = error or SinkClosed("the peer is gone")

    def put(self, frame: Frame) -> None:
        if not self._left:
            raise self._error
        self._left -= 1
        super().put(frame)
