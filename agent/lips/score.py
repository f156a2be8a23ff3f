"""Apertures seen in a video against the phones of its speech: numbers in, numbers out.

One `Score` is of one speaker, over all of the speaker's videos. Bounds are in `BOUNDS`; `failures` says which are
missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.lips.phones import OPEN_VOWEL, Phone
from agent.lips.reference import Curves, at, curves, timed
from avatar.frames import MienError

Floats = npt.NDArray[np.float64]

CLOSED_SHARE = 0.1
"""Closed is at most this share of the speaker's own 95th percentile of apertures."""
NARROW_SHARE = 0.3
"""At /f v/ the lips leave at most this share, for the teeth to be seen."""
REACH_MS = 40
LAGS_MS = np.arange(-200, 201, 10)
SHORTEST_VOWEL_MS = 50
FEWEST_BILABIALS = 5


class NotScored(MienError):
    """There is too little to judge."""


@dataclass(frozen=True, eq=False, slots=True)
class Take:
    """One video's apertures and the phones of its sound, on one time line.

    Args:
        times_ms: middles of the pictures, [n]. apertures: any unit, [n].
    """

    times_ms: Floats
    apertures: Floats
    phones: Sequence[Phone]


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``n``."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n if self.n else float("nan")


@dataclass(frozen=True, slots=True)
class Score:
    """How well lips follow speech.

    Args:
        r: correlation of aperture and reference opening over all pictures; r_speech: over those in speech.
        lag_ms: by how much the pictures come after the sound (negative: before it).
        bilabials: closed within ±40 ms of a /p b m/. labiodentals: narrow within ±40 ms of an /f v/.
        false_closures: open vowels whose middle is shown closed (fewer is better).
        p95: the speaker's 95th percentile of apertures, in the unit that was given.
        pictures: how many.
    """

    r: float
    r_speech: float
    lag_ms: float
    bilabials: Share
    labiodentals: Share
    false_closures: Share
    p95: float
    pictures: int


def score(takes: Sequence[Take]) -> Score:
    """Judge one speaker.

    Raises:
        NotScored: the mouth never moves, or too few of its sounds need closed lips.
    """
    wanted = [curves(take.phones, float(take.times_ms[-1]) + max(LAGS_MS)) for take in takes]
    seen = np.concatenate([take.apertures for take in takes])
    p95 = float(np.percentile(seen, 95))
    if p95 <= 0.0:
        raise NotScored("the mouth never opens: its 95th percentile aperture is 0")
    opening = _sampled(takes, wanted, "opening")
    in_speech = _sampled(takes, wanted, "speech") > 0.5
    counts = {"bilabial": [0, 0], "labiodental": [0, 0], "open": [0, 0]}
    for take in takes:
        for sound, start_ms, end_ms in timed(take.phones):
            near = take.apertures[(take.times_ms >= start_ms - REACH_MS) & (take.times_ms <= end_ms + REACH_MS)]
            middle = take.apertures[np.abs(take.times_ms - (start_ms + end_ms) / 2) <= 20]
            if sound.bilabial and near.size:
                _count(counts["bilabial"], near.min() <= CLOSED_SHARE * p95)
            if sound.labiodental and near.size:
                _count(counts["labiodental"], near.min() <= NARROW_SHARE * p95)
            if sound.vowel and sound.opening >= OPEN_VOWEL and end_ms - start_ms >= SHORTEST_VOWEL_MS and middle.size:
                _count(counts["open"], middle.max() <= CLOSED_SHARE * p95)
    if counts["bilabial"][1] < FEWEST_BILABIALS:
        raise NotScored(f"the speech has {counts['bilabial'][1]} of /p b m/: at least {FEWEST_BILABIALS} are needed")
    return Score(
        r=correlation(seen, opening),
        r_speech=correlation(seen[in_speech], opening[in_speech]),
        lag_ms=_lag(takes, wanted, seen),
        bilabials=Share(*counts["bilabial"]),
        labiodentals=Share(*counts["labiodental"]),
        false_closures=Share(*counts["open"]),
        p95=p95,
        pictures=len(seen),
    )


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r; 0 where one of them does not vary."""
    if a.size < 2 or float(a.std()) == 0.0 or float(b.std()) == 0.0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _sampled(takes: Sequence[Take], wanted: Sequence[Curves], name: str, lag_ms: float = 0.0) -> Floats:
    return np.concatenate(
        [at(getattr(curve, name), take.times_ms - lag_ms) for take, curve in zip(takes, wanted, strict=True)]
    )


def _lag(takes: Sequence[Take], wanted: Sequence[Curves], seen: Floats) -> float:
    """Where the correlation is highest, by a parabola through its peak."""
    r = [correlation(seen, _sampled(takes, wanted, "opening", float(lag))) for lag in LAGS_MS]
    best = int(np.argmax(r))
    if not 0 < best < len(r) - 1:
        return float(LAGS_MS[best])
    before, peak, after = r[best - 1 : best + 2]
    curvature = before - 2 * peak + after
    return float(LAGS_MS[best]) + (5.0 * (before - after) / curvature if curvature else 0.0)


def _count(counts: list[int], hit: bool | np.bool) -> None:
    counts[0] += bool(hit)
    counts[1] += 1


@dataclass(frozen=True, slots=True)
class Bound:
    """``least`` of what is measured (``most``: at most it)."""

    what: str
    least: float | None = None
    most: float | None = None
    goal: float | None = None


BOUNDS: Mapping[str, Bound] = {
    "r": Bound("opening r, all pictures", least=0.83, goal=0.88),
    "r_speech": Bound("opening r, in speech", least=0.77, goal=0.82),
    "bilabials": Bound("closed at /p b m/", least=0.85, goal=0.92),
    "labiodentals": Bound("narrow at /f v/", least=0.60, goal=0.75),
    "false_closures": Bound("open vowels shown closed", most=0.05),
    "lag_ms": Bound("lag, ms", least=-20.0, most=20.0),
}


def value(score: Score, name: str) -> float:
    """A bounded number of a score."""
    found = getattr(score, name)
    return found.value if isinstance(found, Share) else float(found)


def failures(score: Score) -> list[str]:
    """Which bounds it misses, in words; empty if the lips pass."""
    missed = []
    for name, bound in BOUNDS.items():
        got = value(score, name)
        if isinstance(getattr(score, name), Share) and not getattr(score, name).n:
            continue
        if bound.least is not None and got < bound.least:
            missed.append(f"{bound.what}: {got:.2f}, at least {bound.least:g}")
        elif bound.most is not None and got > bound.most:
            missed.append(f"{bound.what}: {got:.2f}, at most {bound.most:g}")
    return missed
