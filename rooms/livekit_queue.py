"""How much livekit's queue of sound still holds. It does not tell; this reckons it, and corrects itself.

In: what the queue is given and when, when that was taken, and clears. Out: when the queue will have been sent.

The queue sends 10 ms every 10 ms, silence when it is empty. So the clock tells when it will be empty, unless a piece
was taken too late, as happens on a busy machine: then silence went out in its place, and everything behind it leaves
later from then on, by as much as a piece is long. But it tells of each piece once it holds no more than a threshold,
piece included. How much later than reckoned that word comes, the smallest of several times (the word itself is late
where the processor is busy), is what the reckoning is off; and where it comes sooner, the queue holds less than was
reckoned.
"""

from __future__ import annotations

from collections import deque

WORDS = 12
"""As many pieces, half a second of them, are looked at before a correction."""
OFF_S = 0.005
"""Less is not worth one: the queue itself goes by steps of 10 ms."""


class SoundQueue:
    """All times in seconds of one monotonic clock.

    Args:
        threshold_s: it tells that a piece was taken when it holds no more than this.
    """

    def __init__(self, threshold_s: float) -> None:
        self.empty_at = -1.0
        """When all that it was given will have been sent."""
        self._threshold_s = threshold_s
        self._expected_at: float | None = None
        self._late_s: deque[float] = deque(maxlen=WORDS)

    def give(self, now: float, length_s: float) -> float:
        """A piece is handed to it; returns when the piece's first sample leaves."""
        leaves_at = max(now, self.empty_at)
        self.empty_at = leaves_at + length_s
        self._expected_at = max(now, self.empty_at - self._threshold_s)
        return leaves_at

    def taken(self, now: float) -> None:
        """It told of the piece last given."""
        if self._expected_at is None:
            return  # a clear came between: this says nothing of what it holds
        self._late_s.append(now - self._expected_at)
        if len(self._late_s) == WORDS:
            off_s = min(self._late_s)
            if abs(off_s) > OFF_S:
                self.empty_at += off_s
            self._late_s.clear()

    def clear(self, now: float) -> None:
        """It was emptied."""
        self.empty_at = now
        self._expected_at = None
        self._late_s.clear()

    def forget(self) -> None:
        """Nobody will send what it holds."""
        self.clear(-1.0)
