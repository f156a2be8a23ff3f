"""Whether one more conversation fits on the GPU without making the others late: pure policy in its caller's time.

In: the calibrated rate, who talks for how long, and how full the device's memory is. Out: a yes, or why not and when to
ask again. Conversations do not all talk at once: each is taken at the share of time in which its avatar has been heard
to talk so far, and the sum with a margin of two standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from avatar.frames import FPS
from avatar.renderer import Refused

USABLE_SHARE = 0.9
"""Of the calibrated rate; the rest is for batches that are not full, and for jitter."""
VRAM_SHARE = 0.8
MARGIN_SD = 2.0
TALK_SHARE = 0.5
"""Of a conversation that has just begun: as if for `TALK_KNOWN_S` its avatar had talked half of the time."""
TALK_KNOWN_S = 60.0
RETRY_S = 20.0
RETRY_VRAM_S = 60.0


@dataclass(frozen=True, slots=True)
class Vram:
    """Bytes of the device's memory."""

    used: int
    total: int


@dataclass(eq=False, slots=True)
class _Life:
    since_s: float
    talked_s: float = 0.0

    def share(self, now_s: float) -> float:
        """Of its time in which the avatar talks."""
        lived_s = max(0.0, now_s - self.since_s)
        return min(1.0, (TALK_SHARE * TALK_KNOWN_S + self.talked_s) / (TALK_KNOWN_S + lived_s))


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
        need_hz, have_hz = self.need_hz(now_s, more=1), USABLE_SHARE * self.fps
        if not patient and need_hz > have_hz:
            return Refused(
                f"the GPU makes {self.fps:.0f} pictures a second, of which {have_hz:.0f} may be promised; "
                f"{len(self)} conversations and one more need {need_hz:.0f}",
                RETRY_S,
            )
        return None

    def need_hz(self, now_s: float, more: int = 0) -> float:
        """Pictures a second to reckon with for those there and so many new ones."""
        shares = [life.share(now_s) for life in self._lives.values()] + [TALK_SHARE] * more
        if self._strict:
            return float(FPS * len(shares))
        deviation = math.sqrt(sum(share * (1 - share) for share in shares))
        return FPS * min(float(len(shares)), sum(shares) + MARGIN_SD * deviation)

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

    def leave(self, session: int) -> None:
        self._lives.pop(session, None)
