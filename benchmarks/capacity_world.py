"""Conversations on one GPU in virtual time: the real scheduler, tiers and admission; a device of stated times.

In: a device, how conversations speak, a seed. Out: for each conversation what its viewers saw. Each conversation asks
as its playout does (`avatar/playout.py`): five ticks ahead, an utterance's first picture three ticks after its audio,
once more at the next tick where that one did not come, at most 200 ms long; a picture that is not there at its tick is
late, and is given up. The device works as `avatar/musetalk/engine.py` does: one batch computes, the next is chosen just
before it is free, and a batch is copied out beside the next.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from avatar.musetalk.admission import Admission
from avatar.musetalk.scheduler import Request, Scheduler, Speeds
from avatar.musetalk.tiers import Tier, Tiers
from avatar.renderer import Refused

TICK_S = 0.04
LEAD_TICKS, START_TICKS, GRACE_S = 5, 3, 0.2
EASE_TICKS = 3
"""Pictures after the last one of an utterance in which the mouth eases shut."""


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


@dataclass(frozen=True, slots=True)
class Manner:
    """How a conversation goes: medians and spreads of log-normal utterances and pauses, in seconds, cut to a range."""

    utterance_s: float = 5.0
    utterance_spread: float = 0.6
    utterance_range_s: tuple[float, float] = (0.8, 30.0)
    pause_s: float = 8.0
    pause_spread: float = 0.6
    pause_range_s: tuple[float, float] = (1.0, 60.0)

    def utterance(self, chance: random.Random) -> float:
        return _between(self.utterance_range_s, self.utterance_s * chance.lognormvariate(0, self.utterance_spread))

    def pause(self, chance: random.Random) -> float:
        return _between(self.pause_range_s, self.pause_s * chance.lognormvariate(0, self.pause_spread))


ENDLESS = Manner(1e9, 0.0, (1e9, 1e9), 0.0, 0.0, (0.0, 0.0))
"""A strict talker: 25 pictures a second without a pause."""


def _between(limits: tuple[float, float], value: float) -> float:
    return min(limits[1], max(limits[0], value))


@dataclass(eq=False, slots=True)
class Seen:
    """What one conversation's viewers saw."""

    pictures: int = 0
    """Ticks of speech."""
    late: int = 0
    stale_s: float = 0.0
    """Summed over the ticks of speech: how old the picture shown was beyond its time."""
    tier_ticks: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    first_s: list[float] = field(default_factory=list)
    """From an utterance's audio to its first lip picture."""

    @property
    def lateness_ms(self) -> float:
        """Of the mean picture."""
        return 1000 * self.stale_s / self.pictures if self.pictures else 0.0


@dataclass(eq=False, slots=True)
class _Asked:
    request: Request | None
    """None: nothing is to be made (a tier below)."""
    answered_s: float | None = None


class World:
    """One GPU and whoever is on it."""

    def __init__(self, device: Device, seed: int = 0, *, tiers: bool = True) -> None:
        self.device = device
        self.now_s = 0.0
        self.busy_s = 0.0
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
        self.answers: dict[Request, _Asked] = {}

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
        self.admission.leave(session)
        self.tiers.leave(session)
        for request in self.scheduler.leave(session):
            self.answers.pop(request, None)

    def ask(self, request: Request, asked: _Asked) -> None:
        self.answers[request] = asked
        self.scheduler.add(request)
        self._wake()

    def give_up(self, request: Request) -> None:
        self.answers.pop(request, None)
        self.scheduler.drop(request)

    def review(self) -> None:
        if self._tiered:
            self.tiers.review(self.now_s)

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


class Talker:
    """One conversation: it speaks and pauses until it leaves, and asks for its pictures tick by tick.

    Args:
        phase_s: where its ticks lie.
    """

    def __init__(self, world: World, session: int, manner: Manner, phase_s: float, *, talks_at_once: bool) -> None:
        self.seen = Seen()
        self._world = world
        self._session = session
        self._manner = manner
        self._phase_s = phase_s
        self._chance = random.Random(world.chance.random())
        self._asked: dict[int, _Asked] = {}
        self._gone = False
        self._began_s = 0.0
        self._length = 0
        world.tiers.join(session)
        pause_s = 0.0 if talks_at_once else manner.pause(self._chance) * self._chance.random()
        world.at(world.now_s + pause_s, self._speak)

    def leave(self) -> None:
        self._gone = True
        self._forget()
        self._world.leave(self._session)

    def _due_s(self, tick: int) -> float:
        return self._phase_s + tick * TICK_S

    def _speak(self) -> None:
        """An utterance's audio is there, as far as its first pictures need it."""
        if self._gone:
            return
        self._began_s = self._world.now_s
        self._length = max(1, round(self._manner.utterance(self._chance) / TICK_S))
        following = int((self._world.now_s - self._phase_s) / TICK_S) + 1
        start = following + START_TICKS
        self._ask(start, following + LEAD_TICKS, start)
        for tick in range(following, start):
            self._world.at(self._due_s(tick), lambda tick=tick: self._ask_at(tick, start))  # type: ignore[misc]
        self._world.at(self._due_s(start), lambda: self._open(start))

    def _ask_at(self, tick: int, start: int) -> None:
        """A tick between an utterance's audio and its planned start: ask for one picture more."""
        if not self._gone:
            self._ask(tick + LEAD_TICKS, tick + 1 + LEAD_TICKS, start)

    def _open(self, tick: int) -> None:
        """The tick at which picture 0 is planned."""
        if self._gone:
            return
        first = self._asked.get(0)
        came = first is not None and (first.answered_s is not None or first.request is None)
        if came or self._world.now_s - self._began_s >= GRACE_S:
            if first is not None and first.answered_s is not None:
                self.seen.first_s.append(first.answered_s - self._began_s)
            elif not came:
                self.seen.first_s.append(self._world.now_s - self._began_s + TICK_S)
            self._tick(tick, tick, 0)
            return
        self._forget()
        self._ask(tick + 1, tick + 1 + LEAD_TICKS, tick + 1)
        self._world.at(self._due_s(tick + 1), lambda: self._open(tick + 1))

    def _tick(self, tick: int, start: int, stale: int) -> None:
        """A tick of speech, or of the mouth that eases shut."""
        if self._gone:
            return
        n = tick - start
        if n >= self._length + EASE_TICKS:
            self._forget()
            self._world.at(self._world.now_s + self._manner.pause(self._chance), self._speak)
            return
        asked = self._asked.pop(n, None)
        missed = asked is None or (asked.request is not None and asked.answered_s is None)
        if asked is not None and asked.request is not None and asked.answered_s is None:
            self._world.give_up(asked.request)
            self._world.scheduler.settle(self._session, TICK_S)
        stale = stale + 1 if missed else 0
        if n < self._length:
            tier = self._world.tiers.tier(self._session)
            self.seen.pictures += 1
            self.seen.tier_ticks[tier] += 1
            self.seen.late += missed
            self.seen.stale_s += stale * TICK_S
            if tier < Tier.IDLE:
                self._world.tiers.shown(self._session, missed, self._world.now_s)
            self._world.tiers.spoke(self._session, self._world.now_s)
            self._world.admission.talked(self._session, TICK_S)
        self._world.review()
        self._ask(tick + LEAD_TICKS, tick + 1 + LEAD_TICKS, start)
        self._world.at(self._due_s(tick + 1), lambda: self._tick(tick + 1, start, stale))

    def _ask(self, first: int, stop: int, start: int) -> None:
        tier = self._world.tiers.tier(self._session)
        for tick in range(first, stop):
            n = tick - start
            if n >= self._length + EASE_TICKS:
                return
            if tier >= Tier.IDLE or (tier is Tier.HALF and n % 2):
                self._asked[n] = _Asked(None)
                continue
            request = Request(self._session, self._due_s(tick), n < 2, self._world.now_s)
            asked = _Asked(request)
            self._asked[n] = asked
            self._world.ask(request, asked)

    def _forget(self) -> None:
        for asked in self._asked.values():
            if asked.request is not None and asked.answered_s is None:
                self._world.give_up(asked.request)
        self._asked.clear()
