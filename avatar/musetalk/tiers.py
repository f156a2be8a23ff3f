"""At which rate each conversation's lips move when the GPU is too slow for all: pure policy in its caller's time.

In: who speaks, and whether each picture came in time. Out: a tier for each conversation. Down is quick: an utterance
that begins where more speak than the device serves has lips at 12.5 a second from its first picture, so that nothing
becomes late. It goes round: everybody who speaks has lips at 12.5 before anybody has none. Up is one conversation at a
time, only where the device has room for it, slow after late pictures, and slower each time that it was too early
(hysteresis).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from avatar.frames import FPS

WINDOW_S = 1.0
LATE_SHARE = 0.04
"""Of the pictures within the window: one a second of one talker."""
LEAST_LATE = 3
"""Fewer late pictures than these are an accident."""
REVIEW_S = 0.5
CALM_S = 3.0
"""Nobody rises sooner after a late picture."""
CALM_MOST_S = 48.0
SETTLED_S = 10.0
"""After this long without a late picture, whoever was lowered because many spoke rises as soon as there is room."""
STEP_HZ = FPS / 2
"""What each step down saves."""
TALKING_S = 0.2
"""Who asked for a picture within this long speaks; a playout asks for one every 40 ms."""
ROOM_SHARE = 0.93
"""Of the device's rate: what those who speak may use together after one has risen, or begun at the full rate."""
FORESEEN_SHARE = 0.95
"""Of the device's rate: where more is asked for, pictures will be late once the playouts' lead is used up; so a step
down comes before."""


class Tier(IntEnum):
    """What a conversation's speech looks like; a larger one is worse."""

    FULL = 0
    """25 lip pictures a second."""
    HALF = 1
    """12.5 lip pictures a second, the head still moves at 25."""
    IDLE = 2
    """The same portrait's idle cycle, lips at rest."""
    STILL = 3
    """Its still picture: the GPU does not answer."""

    @property
    def lips_hz(self) -> float:
        return (FPS, FPS / 2, 0.0, 0.0)[self]


@dataclass(eq=False, slots=True)
class _Talker:
    tier: Tier = Tier.FULL
    spoke_at: float = -math.inf
    spoken: int = 0
    """Pictures of its speech that were asked for, at whatever tier."""
    spoken_low: int = 0
    shown: deque[tuple[float, bool]] = field(default_factory=deque)
    """When, and whether late."""

    @property
    def low_share(self) -> float:
        """Of its speech that had fewer lips than it should."""
        return self.spoken_low / max(1, self.spoken)

    def forget(self, before_s: float) -> None:
        while self.shown and self.shown[0][0] < before_s:
            self.shown.popleft()


class Tiers:
    """The tiers of all conversations of one device.

    Args:
        fps: what the device makes a second; see `Speeds.fps`.
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._talkers: dict[int, _Talker] = {}
        self._begun: list[int] = []
        """Who has begun to speak since the last review."""
        self._calm_s = CALM_S
        self._late_at = -math.inf
        self._rose_at = -math.inf
        self._review_at = -math.inf

    def join(self, session: int) -> None:
        self._talkers[session] = _Talker()

    def leave(self, session: int) -> None:
        self._talkers.pop(session, None)

    def tier(self, session: int) -> Tier:
        talker = self._talkers.get(session)
        return Tier.FULL if talker is None else talker.tier

    def spoke(self, session: int, now_s: float) -> None:
        """A picture of its speech was asked for, whatever its tier."""
        talker = self._talkers.get(session)
        if talker is None:
            return
        if not self._speaks(talker, now_s):
            self._begun.append(session)
        talker.spoke_at = now_s
        talker.spoken += 1
        talker.spoken_low += talker.tier > Tier.FULL

    def shown(self, session: int, late: bool, now_s: float) -> None:
        """A picture of its speech was made in time, or was not."""
        talker = self._talkers.get(session)
        if talker is not None:
            talker.shown.append((now_s, late))
        if late:
            self._late_at = now_s

    def review(self, now_s: float) -> dict[int, Tier]:
        """Change what is to be changed; to be called often. Returns the conversations whose tier is another now."""
        changed = self._begin(now_s)
        if now_s - self._review_at < REVIEW_S:
            return changed
        self._review_at = now_s
        return changed | self._look_back(now_s)

    def _begin(self, now_s: float) -> dict[int, Tier]:
        """Those who begin to speak have the tier that there is room for, and if need be others step down for them."""
        changed: dict[int, Tier] = {}
        begun = [session for session in self._begun if session in self._talkers]
        waiting_hz = sum(self._talkers[session].tier.lips_hz for session in begun)
        """Of those who have begun and are not decided on yet."""
        for session in begun:
            talker = self._talkers[session]
            waiting_hz -= talker.tier.lips_hz
            if talker.tier > Tier.HALF:
                continue
            others_hz = self.demand_hz(now_s) - talker.tier.lips_hz - waiting_hz
            room = others_hz + Tier.FULL.lips_hz <= ROOM_SHARE * self.fps
            if talker.tier is Tier.FULL and not room:
                talker.tier = changed[session] = Tier.HALF
            elif talker.tier is Tier.HALF and room and now_s - self._late_at >= self._wait_s(now_s):
                talker.tier = changed[session] = Tier.FULL
        if self._begun:
            self._begun.clear()
            changed |= self._foresee(now_s)
        return changed

    def _foresee(self, now_s: float) -> dict[int, Tier]:
        over_hz = self.demand_hz(now_s) - FORESEEN_SHARE * self.fps
        return self._lower(over_hz, now_s) if over_hz > 0 else {}

    def _look_back(self, now_s: float) -> dict[int, Tier]:
        for talker in self._talkers.values():
            talker.forget(now_s - WINDOW_S)
        shown = sum(len(talker.shown) for talker in self._talkers.values())
        late = sum(late for talker in self._talkers.values() for _, late in talker.shown)
        if late >= LEAST_LATE and late > LATE_SHARE * shown:
            if now_s - self._rose_at < 2 * self._calm_s:
                self._calm_s = min(CALM_MOST_S, 2 * self._calm_s)
            return self._lower(late / shown * len(self._with_lips(now_s)) * STEP_HZ, now_s)
        lowered = self._foresee(now_s)
        if lowered:
            return lowered
        if now_s - max(self._late_at, self._rose_at) >= self._wait_s(now_s):
            return self._raise(now_s)
        return {}

    def _wait_s(self, now_s: float) -> float:
        """How long after a late picture nobody rises, and how far rises lie apart."""
        return self._calm_s if now_s - self._late_at < max(SETTLED_S, self._calm_s) else REVIEW_S

    def _lower(self, save_hz: float, now_s: float) -> dict[int, Tier]:
        """Steps down that save so many pictures a second; the best tier, the most late pictures, and who has stepped
        down least so far, first."""
        lips = self._with_lips(now_s)
        lips.sort(
            key=lambda session: (
                self.tier(session),
                -sum(late for _, late in self._talkers[session].shown),
                self._talkers[session].low_share,
            )
        )
        lowered = {}
        for session in lips[: math.ceil(save_hz / STEP_HZ)]:
            talker = self._talkers[session]
            talker.tier = Tier(talker.tier + 1)
            talker.shown.clear()
            lowered[session] = talker.tier
        return lowered

    def _with_lips(self, now_s: float) -> list[int]:
        """Who speaks, and not without lips."""
        return [
            session
            for session, talker in self._talkers.items()
            if self._speaks(talker, now_s) and talker.tier < Tier.IDLE
        ]

    def _raise(self, now_s: float) -> dict[int, Tier]:
        """One of those who are worst off; first who speaks."""
        low = [session for session, talker in self._talkers.items() if talker.tier is not Tier.FULL]
        if not low:
            if now_s - self._late_at >= self._calm_s:
                self._calm_s = CALM_S
            return {}
        session = max(
            low,
            key=lambda one: (
                self._speaks(self._talkers[one], now_s),
                self.tier(one),
                self._talkers[one].low_share,
            ),
        )
        talker = self._talkers[session]
        better = Tier(talker.tier - 1)
        rise_hz = (better.lips_hz - talker.tier.lips_hz) if self._speaks(talker, now_s) else 0.0
        if self.demand_hz(now_s) + rise_hz > ROOM_SHARE * self.fps:
            return {}
        talker.tier = better
        self._rose_at = now_s
        return {session: better}

    def demand_hz(self, now_s: float) -> float:
        """Pictures a second that those who speak now ask for."""
        return sum(talker.tier.lips_hz for talker in self._talkers.values() if self._speaks(talker, now_s))

    def _speaks(self, talker: _Talker, now_s: float) -> bool:
        return now_s - talker.spoke_at < TALKING_S
