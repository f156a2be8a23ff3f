"""Conversations on a GPU in virtual time: how they speak, what they ask, and what their viewers see.

In: a world (`capacity_world.py`), how the conversation goes. Out: for each conversation what its viewers saw. Each asks
as its playout does (`avatar/playout.py`): five ticks ahead, an utterance's first picture three ticks after its audio,
once more at the next tick where that one did not come, at most 200 ms long; a picture that is not there at its tick is
late, and is given up. Where its lips move at 12.5, each second picture takes the mouth of the one before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from avatar.musetalk.scheduler import Request
from avatar.musetalk.tiers import Tier
from benchmarks.capacity_world import Asked, World

TICK_S = 0.04
LEAD_TICKS, START_TICKS, GRACE_S = 5, 3, 0.2
EASE_TICKS = 3
"""Pictures after the last one of an utterance in which the mouth eases shut."""


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
        self._asked: dict[int, Asked] = {}
        self._gone = False
        self._began_s = 0.0
        self._length = 0
        world.tiers.join(session)
        world.thinned[session] = self._thin
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
        came = first is not None and first.there
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
        missed = asked is None or not asked.there
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
            self._world.admission.talked(self._session, TICK_S)
        self._world.review()
        self._ask(tick + LEAD_TICKS, tick + 1 + LEAD_TICKS, start)
        self._world.at(self._due_s(tick + 1), lambda: self._tick(tick + 1, start, stale))

    def _ask(self, first: int, stop: int, start: int) -> None:
        self._world.tiers.spoke(self._session, self._world.now_s)
        self._world.review()
        tier = self._world.tiers.tier(self._session)
        for tick in range(first, stop):
            n = tick - start
            if n >= self._length + EASE_TICKS:
                return
            if tier >= Tier.IDLE or (tier is Tier.HALF and n % 2):
                self._asked[n] = Asked(None, before=None if tier >= Tier.IDLE else self._asked.get(n - 1))
                continue
            request = Request(self._session, self._due_s(tick), n < 2, self._world.now_s)
            asked = Asked(request)
            self._asked[n] = asked
            self._world.ask(request, asked)

    def _thin(self) -> None:
        """As `dispatch.Dispatch.thin`: each second one of the pictures that wait goes along with the one before."""
        for n, asked in self._asked.items():
            if n % 2 and asked.request is not None and self._world.scheduler.drop(asked.request):
                self._world.answers.pop(asked.request)
                asked.request, asked.before = None, self._asked.get(n - 1)

    def _forget(self) -> None:
        for asked in self._asked.values():
            if asked.request is not None and asked.answered_s is None:
                self._world.give_up(asked.request)
        self._asked.clear()
