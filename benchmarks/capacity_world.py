"""One GPU in virtual time: the real scheduler, tiers and admission; a device of stated times.

In: a device, a seed, what conversations ask (`capacity_talker.py`). Out: when each picture is there. The device works
as `avatar/musetalk/dispatch.py` does: one batch computes, the next is chosen just before it is free, and a batch is
copied out beside the next.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from avatar.musetalk.admission import Admission
from avatar.musetalk.scheduler import Request, Scheduler, Speeds
from avatar.musetalk.tiers import Tier, Tiers
from avatar.renderer import Refused


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, as far as timing goes.

    Args:
        copy_s: from a batch's end until its pictures are with the conversations.
        jitter: standard deviation of a batch's time, as a share of it; batches are never faster than stated.
        stall: share of batches that take ``stall_s`` longer.
        source: where the times come from, and whether they were measured.
    """

    name: str
    speeds: Speeds
    source: str
    copy_s: float = 0.005
    jitter: float = 0.03
    stall: float = 0.0
    stall_s: float = 0.0


@dataclass(eq=False, slots=True)
class Asked:
    request: Request | None
    """None: nothing is to be made (a tier below)."""
    answered_s: float | None = None
    before: Asked | None = None
    """Whose mouth it takes, where the lips move at 12.5."""

    @property
    def there(self) -> bool:
        """Whether there is something to show."""
        if self.request is not None:
            return self.answered_s is not None
        return self.before is None or self.before.there


class World:
    """One GPU and whoever is on it."""

    def __init__(self, device: Device, seed: int = 0, *, tiers: bool = True) -> None:
        self.device = device
        self.now_s = 0.0
        self.busy_s = 0.0
        self.changes = 0
        """Of tiers."""
        self.pictures = 0
        """Made, whoever wanted them."""
        self.batches: dict[int, int] = {}
        self.refused: list[Refused] = []
        self.scheduler: Scheduler[Request] = Scheduler(device.speeds)
        self.tiers = Tiers(device.speeds.fps)
        self.admission = Admission(device.speeds.fps)
        self.chance = random.Random(seed)
        self._tiered = tiers
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._free_s = 0.0
        self._in_flight = 0
        self._pick_at: float | None = None
        self.answers: dict[Request, Asked] = {}
        self.thinned: dict[int, Callable[[], None]] = {}
        """Of each conversation: told that its lips move at 12.5 from now on."""

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._number), call))

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, call = heapq.heappop(self._events)
            call()
        self.now_s = until_s

    def admit(self, session: int) -> Refused | None:
        """Let one more in, unless the policy refuses."""
        refused = self.admission.refusal(self.now_s)
        if refused is not None:
            self.refused.append(refused)
            return refused
        self.admission.join(session, self.now_s)
        return None

    def leave(self, session: int) -> None:
        self.admission.leave(session, self.now_s)
        self.tiers.leave(session)
        self.thinned.pop(session, None)
        for request in self.scheduler.leave(session):
            self.answers.pop(request, None)

    def ask(self, request: Request, asked: Asked) -> None:
        self.answers[request] = asked
        self.scheduler.add(request)
        self._wake()

    def give_up(self, request: Request) -> None:
        self.answers.pop(request, None)
        self.scheduler.drop(request)

    def review(self) -> None:
        if not self._tiered:
            return
        for session, tier in self.tiers.review(self.now_s).items():
            self.changes += 1
            if tier is Tier.HALF:
                self.thinned[session]()

    # -- the device

    def _wake(self) -> None:
        due = self.scheduler.due_s(self.now_s)
        if due is None or self._in_flight >= 2 or (self._pick_at is not None and self._pick_at <= due):
            return
        self._pick_at = due
        self.at(due, lambda: self._pick(due))

    def _pick(self, due_s: float) -> None:
        if self._pick_at != due_s:
            return
        self._pick_at = None
        if self._in_flight >= 2:
            return
        batch = self.scheduler.pick(self.now_s)
        if not batch:
            return
        took_s = self.device.speeds.time_s(len(batch)) * (1 + abs(self.chance.gauss(0, self.device.jitter)))
        if self.chance.random() < self.device.stall:
            took_s += self.device.stall_s
        self._free_s = max(self.now_s, self._free_s) + took_s
        self.busy_s += took_s
        self.pictures += len(batch)
        self.batches[len(batch)] = self.batches.get(len(batch), 0) + 1
        self._in_flight += 1
        expected_s = self.scheduler.free_s
        self.at(self._free_s, lambda: self._finished(expected_s))
        self.at(self._free_s + self.device.copy_s, lambda: self._answered(batch))
        self._wake()

    def _finished(self, expected_s: float) -> None:
        self._in_flight -= 1
        self.scheduler.freed(self.now_s, behind_s=self.now_s - expected_s, busy=self._in_flight > 0)
        self._wake()

    def _answered(self, batch: list[Request]) -> None:
        for request in batch:
            asked = self.answers.pop(request, None)
            if asked is not None:
                asked.answered_s = self.now_s
                self.scheduler.settle(request.session, self.now_s - request.deadline_s)
