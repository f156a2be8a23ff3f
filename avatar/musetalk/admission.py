"""Whether one more conversation fits on the GPU without making the others late: pure policy in its caller's time.

In: the calibrated rate, who talks for how long, and how full the device's memory is. Out: a yes, or why not and when to
ask again. Conversations do not all talk at once: each is taken at the share of time in which its avatar has been heard
to talk so far, and from these shares comes how often how many talk together. When more do than the device serves at 25
pictures a second, some have lips at 12.5 (`tiers.py`), and nobody is late; how much of the speech may look like that is
what limits how many are let in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from avatar.frames import FPS
from avatar.renderer import Refused

USABLE_SHARE = 0.9
"""Of the calibrated rate, where all talk at once; the rest is for batches that are not full, and for jitter."""
CROWDED_SHARE = 0.84
"""Of the calibrated rate, where they talk by chance: mouths that ease shut ask for pictures too, and whoever stepped
down does not rise in the same moment. With it `Crowding` says what `benchmarks.capacity` then sees, or a little more.
"""
VRAM_SHARE = 0.8
HALF_SHARE = 0.2
"""Of the speech: so much of it may have lips at 12.5 a second because many talk at once."""
NONE_SHARE = 0.001
"""Of the speech: so much may be without lips, because even at 12.5 too many talk at once."""
TALK_SHARE = 0.5
"""What is expected of conversations before any was heard: as if for `TALK_HEARD_S` their avatars had talked half of the
time. What all of them did since is what is expected of the next."""
TALK_HEARD_S = 600.0
TALK_REMEMBERED_S = 3600.0
"""So much of conversations that are over is remembered."""
TALK_KNOWN_S = 60.0
"""A conversation counts as if it had gone on for so long in the manner that is expected."""
RETRY_S = 20.0
RETRY_VRAM_S = 60.0


@dataclass(frozen=True, slots=True)
class Vram:
    """Bytes of the device's memory."""

    used: int
    total: int


@dataclass(frozen=True, slots=True)
class Crowding:
    """What becomes of the speech where conversations talk together by chance.

    Args:
        half: the share of it that has lips at 12.5 a second.
        none: the share that has none.
    """

    half: float
    none: float

    @classmethod
    def of(cls, shares: Iterable[float], rate_hz: float) -> Crowding:
        """Of conversations that talk for these shares of their time, each for itself, on a device of this rate."""
        chance = [1.0]
        """Of 0, 1, 2 … of them talking."""
        for share in shares:
            chance = [
                idle * (1 - share) + more * share for idle, more in zip([*chance, 0.0], [0.0, *chance], strict=True)
            ]
        talking = sum(talkers * likely for talkers, likely in enumerate(chance))
        if not talking:
            return cls(0.0, 0.0)
        half = none = 0.0
        for talkers, likely in enumerate(chance):
            without = max(0, talkers - int(rate_hz / (FPS / 2)))
            over_hz = FPS * talkers - rate_hz
            half += likely * max(0, min(talkers, math.ceil(over_hz / (FPS / 2))) - without)
            none += likely * without
        return cls(half / talking, none / talking)


@dataclass(eq=False, slots=True)
class _Life:
    since_s: float
    talked_s: float = 0.0


class Admission:
    """Who is on one device.

    Args:
        fps: what it makes a second; see `Speeds.fps`.
        strict: reckon with all talking at once.
    """

    def __init__(self, fps: float, *, strict: bool = False) -> None:
        self.fps = fps
        self._strict = strict
        self._lives: dict[int, _Life] = {}
        self._past_s = TALK_HEARD_S
        self._past_talked_s = TALK_SHARE * TALK_HEARD_S

    def __len__(self) -> int:
        return len(self._lives)

    def refusal(self, now_s: float, vram: Vram | None = None, *, patient: bool = False) -> Refused | None:
        """Why one more does not fit, or None; ``patient``: it needs memory and no speed."""
        if vram is not None and vram.used > VRAM_SHARE * vram.total:
            return Refused(
                f"the GPU's memory is {vram.used / vram.total:.0%} full "
                f"({vram.used / 2**30:.1f} of {vram.total / 2**30:.1f} GiB, limit {VRAM_SHARE:.0%})",
                RETRY_VRAM_S,
            )
        if patient:
            return None
        have_hz = (USABLE_SHARE if self._strict else CROWDED_SHARE) * self.fps
        rate = f"the GPU makes {self.fps:.0f} pictures a second, of which {have_hz:.0f} may be promised; "
        if self._strict:
            need_hz = FPS * (len(self) + 1)
            return None if need_hz <= have_hz else Refused(f"{rate}{len(self)} and one more need {need_hz}", RETRY_S)
        crowding = Crowding.of(self.shares(now_s, more=1), have_hz)
        if crowding.none > NONE_SHARE:
            return Refused(
                f"{rate}with {len(self)} conversations and one more {crowding.none:.1%} of the speech would have no "
                f"lips, and at most {NONE_SHARE:.1%} may",
                RETRY_S,
            )
        if crowding.half > HALF_SHARE and self._lives:  # who is alone takes nothing from others
            return Refused(
                f"{rate}with {len(self)} conversations and one more {crowding.half:.0%} of the speech would have lips "
                f"at {FPS / 2:g} a second, and at most {HALF_SHARE:.0%} may",
                RETRY_S,
            )
        return None

    def shares(self, now_s: float, more: int = 0) -> Sequence[float]:
        """Of its time in which each of those there talks, and so many new ones."""
        lived_s = {session: max(0.0, now_s - life.since_s) for session, life in self._lives.items()}
        talked_s = self._past_talked_s + sum(life.talked_s for life in self._lives.values())
        expected = min(1.0, talked_s / (self._past_s + sum(lived_s.values())))
        return [
            min(1.0, (expected * TALK_KNOWN_S + life.talked_s) / (TALK_KNOWN_S + lived_s[session]))
            for session, life in self._lives.items()
        ] + [expected] * more

    def join(self, session: int, now_s: float) -> None:
        self._lives[session] = _Life(now_s)

    def talked(self, session: int, seconds: float) -> None:
        """So much of its speech was shown, whatever the tier."""
        life = self._lives.get(session)
        if life is not None:
            life.talked_s += seconds

    def keep(self, other: Admission) -> None:
        """Who was on the device before it was started again is on it still."""
        self._lives.update(other._lives)
        self._past_s, self._past_talked_s = other._past_s, other._past_talked_s

    def leave(self, session: int, now_s: float) -> None:
        """It is over; how much its avatar talked is remembered."""
        life = self._lives.pop(session, None)
        if life is None:
            return
        self._past_s += max(0.0, now_s - life.since_s)
        self._past_talked_s += life.talked_s
        if self._past_s > TALK_REMEMBERED_S:
            self._past_talked_s *= TALK_REMEMBERED_S / self._past_s
            self._past_s = TALK_REMEMBERED_S
