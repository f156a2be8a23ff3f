"""Which pictures go into the next GPU batch: pure policy in its caller's time. No torch, no numpy, no thread.

In: picture requests of all conversations, each with the moment at which it is shown; what the device takes for a batch
of each size (calibrated). Out: the next batch, and when to choose it. The earliest deadline goes first, whoever asked;
the first pictures of a new utterance go in a small batch of their own, as long as that makes no other late. Who does
not speak asks for nothing, and so costs nothing. Not known here: what a picture is, who owns the GPU, who may speak
(`admission.py`), at which rate (`tiers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

AHEAD_S = 0.003
"""The next batch is chosen this long before the device is expected to be free: late enough that a new utterance waits
for one batch at most, early enough that the device never waits for the host."""
OPENING_JOBS = 4
"""A batch of first pictures is no larger: of the following ones each has a tick more time."""
DEBT_WEIGHT, DEBT_RATE = 20.0, 0.04
"""A conversation whose mean picture of the last second was 1 ms late is served as if it were due 20 ms earlier."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """What the device takes, measured with the next batch always waiting.

    Args:
        batch_s: for each batch size (ascending) the seconds from one batch to the next.
        encode_s: seconds of a picture's share of the speech encoder.
        deliver_s: seconds from a batch's end until its pictures are where they are shown.

    Raises:
        ValueError: no size, or a time that is not above 0.
    """

    batch_s: Mapping[int, float]
    encode_s: float = 0.0
    deliver_s: float = 0.0

    def __post_init__(self) -> None:
        sizes = list(self.batch_s)
        if not sizes or sizes[0] < 1 or any(low >= high for low, high in pairwise(sizes)):
            raise ValueError(f"batch sizes are ascending and at least 1, not {sizes}")
        if min(self.batch_s.values()) <= 0 or self.encode_s < 0:
            raise ValueError(f"a batch takes time: {dict(self.batch_s)}, encoder {self.encode_s}")

    @property
    def largest(self) -> int:
        return max(self.batch_s)

    def time_s(self, jobs: int) -> float:
        """Of a batch of this many jobs, padded to the next size; beyond the largest, of several."""
        whole, rest = divmod(jobs, self.largest)
        seconds = whole * self.batch_s[self.largest] + jobs * self.encode_s
        if rest:
            seconds += next(time for size, time in self.batch_s.items() if size >= rest)
        return seconds

    @property
    def fps(self) -> float:
        """Pictures a second, in batches of the best size."""
        return max(size / self.time_s(size) for size in self.batch_s)


@dataclass(eq=False, slots=True)
class Request:
    """One picture that somebody waits for.

    Args:
        session: whose.
        deadline_s: when it is shown.
        opening: one of the first pictures of an utterance.
        asked_s: when it was asked for.
    """

    session: int
    deadline_s: float
    opening: bool = False
    asked_s: float = 0.0


R = TypeVar("R", bound=Request)


class Scheduler(Generic[R]):
    """The requests that wait, and what the device is busy with. All times are of the caller's clock, in seconds."""

    def __init__(self, speeds: Speeds) -> None:
        self.speeds = speeds
        self._waiting: dict[R, None] = {}
        self._debt_s: dict[int, float] = {}
        self.free_s = 0.0
        """When the device is expected to have done all that it was given."""

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def add(self, request: R) -> None:
        self._waiting[request] = None

    def drop(self, request: R) -> bool:
        """Nobody wants it any more; False when it is in a batch already, or was answered."""
        waited = request in self._waiting
        self._waiting.pop(request, None)
        return waited

    def leave(self, session: int) -> list[R]:
        """A conversation is over; returns its requests, which wait no longer."""
        gone = [request for request in self._waiting if request.session == session]
        for request in gone:
            del self._waiting[request]
        self._debt_s.pop(session, None)
        return gone

    def settle(self, session: int, late_s: float) -> None:
        """A picture was answered, or given up, this late (0: in time). While not all can be in time, who had to wait
        longer than others goes first."""
        self._debt_s[session] = (1 - DEBT_RATE) * self._debt_s.get(session, 0.0) + DEBT_RATE * max(0.0, late_s)

    def due_s(self, now_s: float) -> float | None:
        """When to `pick`: at once if the device is idle, else just before it is free; None: nothing waits."""
        return max(now_s, self.free_s - AHEAD_S) if self._waiting else None

    def pick(self, now_s: float) -> list[R]:
        """Take the next batch out, at most of the largest size; empty when nothing waits.

        What cannot be in time any more yields to what can, and is served when nothing else waits.
        """
        began_s = max(now_s, self.free_s)
        start_s = began_s + self.speeds.deliver_s
        order = sorted(self._waiting, key=lambda request: request.deadline_s)
        if not self._in_time(order, start_s):
            # Small batches for the most urgent would cost the rate that all live on: full ones, of what they can serve.
            full_s = self.speeds.time_s(min(len(order), self.speeds.largest))
            soonest_s = self.speeds.time_s(1)
            order = (
                [request for request in order if request.deadline_s >= start_s + full_s]
                or [request for request in order if request.deadline_s >= start_s + soonest_s]
                or order
            )
            order.sort(key=lambda request: request.deadline_s - DEBT_WEIGHT * self._debt_s.get(request.session, 0.0))
        batch = self._openings(order, start_s) or order[: self._count(len(order))]
        for request in batch:
            del self._waiting[request]
        if batch:
            self.free_s = began_s + self.speeds.time_s(len(batch))
        return batch

    def spare(self, now_s: float, seconds: float) -> bool:
        """Whether the device may do something else for so long, after what it has, and all that waits is in time."""
        start_s = max(now_s, self.free_s) + self.speeds.deliver_s + seconds
        return self._in_time(sorted(self._waiting, key=lambda request: request.deadline_s), start_s)

    def freed(self, now_s: float, *, behind_s: float = 0.0, busy: bool = False) -> None:
        """A batch is done: what was expected is put right.

        Args:
            behind_s: how much later it ended than expected.
            busy: the device goes on with another one.
        """
        self.free_s = self.free_s + behind_s if busy else now_s

    def _openings(self, order: Sequence[R], start_s: float) -> list[R]:
        """The first pictures of utterances, if the others can be in time after a small batch of them.

        If not, they go first in a batch that is filled up with the others.
        """
        openings = [request for request in order if request.opening][: min(OPENING_JOBS, self.speeds.largest)]
        if not openings:
            return []
        chosen = set(openings)
        others = [request for request in order if request not in chosen]
        if self._in_time(others, start_s + self.speeds.time_s(len(openings))):
            return openings
        return [*openings, *others][: max(len(openings), self._count(len(order)))]

    def _in_time(self, order: Sequence[R], start_s: float) -> bool:
        """Whether all of these can be served in time from then on, in full batches."""
        size = self.speeds.largest
        for first in range(0, len(order), size):
            batch = order[first : first + size]
            start_s += self.speeds.time_s(len(batch))
            if start_s > min(request.deadline_s for request in batch):
                return False
        return True

    def _count(self, waiting: int) -> int:
        """How many to take: as many as a second of the device serves most of."""
        most = min(waiting, self.speeds.largest)
        counts = [size for size in self.speeds.batch_s if size < most] + [most]
        return max(counts, key=lambda count: (count / self.speeds.time_s(count), count))
