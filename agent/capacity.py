"""How many more conversations this process can hold without making the others late.

In: conversations as they come and go, the ticks that the playouts release (agent/metrics.py), and the processor time
that the process uses. Out: a load from 0 to 1, and for one more conversation a yes or the reason why not. Used from any
thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

WINDOW_S = 5.0
"""What is measured, is measured over this long."""
LATE_SHARE = 0.02
"""Of all ticks; when more are late, one more conversation would make it worse."""
LEAST_TICKS = 50
"""Fewer say nothing yet."""
USABLE_SHARE = 0.9
"""Of the processors; the rest is for what comes in bursts."""
PROMISE_S = 20.0
"""How long a conversation that was accepted may take to begin."""


class _Reading(NamedTuple):
    at_s: float
    used_s: float
    ticks: int
    late: int


class Capacity:
    """One for the process.

    Args:
        limit: conversations at most, whatever is measured.
        measured: whether what is measured counts at all.
        cores: processors that the process may use.
        ticks: how many ticks were released so far, and how many of them late.
        clock: seconds, monotonic.
        used: seconds of processor time that the process has used.
    """

    def __init__(
        self,
        limit: int,
        cores: float,
        ticks: Callable[[], tuple[int, int]],
        *,
        measured: bool = True,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self.limit = limit
        self._cores = cores
        self._ticks = ticks
        self._measured = measured
        self._clock = clock
        self._used = used
        self._lock = threading.Lock()
        self._promised: dict[str, float] = {}
        self._open: set[str] = set()
        self._readings: deque[_Reading] = deque()

    def promise(self, job: str) -> str | None:
        """Keep a place for a conversation, unless there is none.

        Returns:
            None, or why not.
        """
        self.measure()
        with self._lock:
            refusal = self._refusal()
            if refusal is None:
                self._promised[job] = self._clock()
            return refusal

    def begin(self, job: str) -> None:
        """The conversation is there."""
        with self._lock:
            self._promised.pop(job, None)
            self._open.add(job)

    def end(self, job: str) -> None:
        """It is over, or will not be."""
        with self._lock:
            self._promised.pop(job, None)
            self._open.discard(job)

    @property
    def open(self) -> int:
        """Conversations that go on now."""
        return len(self._open)

    def load(self) -> float:
        """0: nothing to do; 1: full."""
        self.measure()
        with self._lock:
            if self._refusal() is not None:
                return 1.0
            used = self._cores_used() / (self._cores * USABLE_SHARE) if self._measured else 0.0
            return min(1.0, max(self._taken() / self.limit, used))

    def measure(self) -> None:
        """Take a reading; called about twice a second."""
        with self._lock:
            now = self._clock()
            ticks, late = self._ticks()
            self._readings.append(_Reading(now, self._used(), ticks, late))
            while now - self._readings[0].at_s > WINDOW_S:
                self._readings.popleft()
            for job, at_s in list(self._promised.items()):
                if now - at_s > PROMISE_S:
                    del self._promised[job]

    def _taken(self) -> int:
        return len(self._promised) + len(self._open)

    def _refusal(self) -> str | None:
        taken = self._taken()
        if taken >= self.limit:
            return f"all {self.limit} conversations of this worker are taken (MIEN_MAX_SESSIONS)"
        if not self._measured or not self._open:
            return None
        first, last = self._readings[0], self._readings[-1]
        ticks, late = last.ticks - first.ticks, last.late - first.late
        if ticks >= LEAST_TICKS and late > ticks * LATE_SHARE:
            return f"{late} of the last {ticks} ticks came late: one more conversation would make the others stutter"
        used = self._cores_used()
        share = used / len(self._open)
        if used + share * (1 + len(self._promised)) > self._cores * USABLE_SHARE:
            return f"{len(self._open)} conversations use {used:.1f} of {self._cores:.1f} processors"
        return None

    def _cores_used(self) -> float:
        first, last = self._readings[0], self._readings[-1]
        return (last.used_s - first.used_s) / (last.at_s - first.at_s) if last.at_s - first.at_s > WINDOW_S / 2 else 0.0
