"""How the figure holds itself at a tick: breath, head, gaze, blinks and brows, as plain numbers.

In: the tick, the conversation's seed, how much of each expression the face wears, and what its voice does to it. Out: a
`Pose`. Everything is a function of these alone, so any picture can be asked for again, in any order, and idle motion
runs through speech without a jump. Lengths are shares of the picture's height; y points down.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from avatar.renderer import Expression


@dataclass(frozen=True, slots=True)
class Pose:
    """Where everything is. Zero is the figure at rest, looking at the viewer.

    Args:
        head_x, head_y: shift of the head.
        roll: tilt of the head in radians, positive towards the picture's right.
        yaw, pitch: turn of the head to the picture's right and downwards: how far the tip of the nose travels.
        lean: how much nearer the figure comes; 0.02 makes it 2% larger.
        breath: how far the shoulders are raised.
        gaze_x, gaze_y: where the eyes look, -1 to 1, right and down.
        lids: 0 open as at rest, 1 shut, below 0 wide.
        brow_left, brow_right: how far each brow is raised, left and right as seen in the picture.
        frown: how far the inner ends of the brows are lowered and drawn together.
        smile: raised corners of the mouth and cheeks, 0 to 1; above 1 a grin, which shows teeth and narrows the eyes.
        aside: how far the closed mouth is drawn to the picture's right.
    """

    head_x: float = 0.0
    head_y: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    lean: float = 0.0
    breath: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    lids: float = 0.0
    brow_left: float = 0.0
    brow_right: float = 0.0
    frown: float = 0.0
    smile: float = 0.0
    aside: float = 0.0


AT_REST = Pose(smile=0.85, lids=0.04)

MOODS: Mapping[Expression, Pose] = {
    Expression.IDLE: Pose(smile=0.85, lids=0.04),
    Expression.LISTENING: Pose(
        roll=0.075, head_x=0.010, head_y=0.004, lean=0.045, lids=-0.05, brow_left=0.011, brow_right=0.011, smile=0.95
    ),
    Expression.THINKING: Pose(
        roll=-0.060, head_x=-0.010, yaw=0.022, pitch=-0.012, gaze_x=0.85, gaze_y=-0.85,
        brow_left=-0.005, brow_right=0.014, frown=0.003, smile=0.30, aside=0.008, lids=-0.02,
    ),
    Expression.SPEAKING: Pose(smile=0.55, brow_left=0.002, brow_right=0.002, lean=0.012),
    Expression.AMUSED: Pose(
        roll=0.040, head_x=0.004, head_y=-0.004, pitch=-0.007, lean=0.022, lids=0.20, gaze_y=0.10,
        brow_left=0.007, brow_right=0.007, smile=1.75,
    ),
}  # fmt: skip
"""What each expression adds to idle motion."""

EASE_TICKS = 14
"""An expression is fully worn this long after it was told."""
KEPT_TICKS = 250
"""How long an expression that was replaced is remembered, for pictures asked for late."""

BLINK = (0.4, 1.0, 1.0, 0.55, 0.2)
"""Lids of one blink, tick by tick."""
BLINK_EVERY_TICKS = 92
SACCADE_EVERY_TICKS = 26
NOD_EVERY_TICKS = 70
NOD_TICKS = 18

MOST_BROW = 0.019

Mood = tuple[float, ...]
"""How much of each `Expression` the face wears, in the order of `MOODS`; sums to 1."""


class Moods:
    """The expressions told so far, as a time line. It belongs to the event loop."""

    def __init__(self) -> None:
        self._told: list[tuple[int, Expression]] = [(-(10**9), Expression.IDLE)]

    def express(self, expression: Expression, tick: int) -> None:
        """From this tick on the face wears this expression; what was told for later ticks is withdrawn."""
        self._told = [told for told in self._told if told[0] < tick]
        if not self._told or self._told[-1][1] is not expression:
            self._told.append((tick, expression))
        while len(self._told) > 1 and self._told[1][0] < tick - KEPT_TICKS:
            self._told.pop(0)

    def at(self, tick: int) -> Mood:
        """What the face wears at a tick, each expression eased in over the one before it."""
        worn = [0.0] * len(MOODS)
        for place, (since, expression) in enumerate(self._told):
            share = 1.0 if place == 0 else _smooth((tick - since) / EASE_TICKS)
            worn = [weight * (1.0 - share) for weight in worn]
            worn[list(MOODS).index(expression)] += share
        return tuple(worn)


def pose(tick: int, seed: int, mood: Mood, effort: float, stress: float = 0.0, blink: float = 0.0) -> Pose:
    """The figure at a tick.

    Args:
        effort: how strongly it speaks just then, 0 to 1.
        stress: how much of a beat it gives to a stressed syllable, 0 to 1: brows up, head down.
        blink: how far its speech shuts the lids, 0 to 1.
    """
    base = _blended(mood)
    idle, listening, thinking, _, amused = mood
    t = tick / 25.0

    def sway(name: int, seconds: float) -> float:
        """A slow wander between -1 and 1 that never repeats in a way one could notice."""
        a, b, c = _phases(seed, name)
        w = math.tau * t / seconds
        return 0.5 * math.sin(w + a) + 0.32 * math.sin(1.618 * w + b) + 0.18 * math.sin(2.71 * w + c)

    nod = _nod(tick, seed) * listening
    beat = effort * sway(11, 1.7)
    chuckle = amused * (0.5 - 0.5 * math.cos(math.tau * t / 0.36)) * max(0.0, sway(15, 3.1))
    gaze_x, gaze_y = _saccade(tick, seed)
    raised = effort * (0.002 + 0.004 * max(0.0, sway(14, 2.6))) + 0.010 * stress
    wander = 0.34 * idle + 0.1 * listening + 0.2 * thinking + 0.16 * (1 - idle - listening - thinking - amused)
    return Pose(
        head_x=base.head_x + 0.004 * sway(1, 7.3) + 0.002 * beat,
        head_y=base.head_y + 0.002 * sway(2, 5.9) + 0.003 * (nod + stress) - 0.002 * effort + 0.0022 * chuckle,
        roll=base.roll + 0.018 * sway(3, 8.7) + 0.016 * effort * sway(12, 2.3),
        yaw=base.yaw + 0.005 * sway(4, 9.7) + 0.006 * effort * sway(13, 2.9),
        pitch=base.pitch + 0.003 * sway(5, 6.7) + 0.008 * nod + 0.006 * beat + 0.010 * stress,
        lean=base.lean,
        breath=0.0045 * (0.5 - 0.5 * math.cos(math.tau * t / 4.2)) + 0.0016 * chuckle,
        gaze_x=base.gaze_x + wander * gaze_x,
        gaze_y=base.gaze_y + wander * 0.6 * gaze_y,
        lids=_lids(base.lids, max(blink, _blink(tick, seed))),
        brow_left=_within_brow(base.brow_left + raised),
        brow_right=_within_brow(base.brow_right + raised * (1.0 + 0.25 * sway(16, 4.3))),
        frown=base.frown,
        smile=base.smile,
        aside=base.aside,
    )


@functools.lru_cache(maxsize=1024)
def _phases(seed: int, name: int) -> tuple[float, float, float]:
    """Where a sway's three waves begin."""
    a, b, c = (math.tau * chance(seed, name, k) for k in range(3))
    return a, b, c


@functools.lru_cache(maxsize=16)
def _blended(mood: Mood) -> Pose:
    """What the expressions worn add up to. They seldom change."""
    return Pose(*(sum(w * v for w, v in zip(mood, values, strict=True)) for values in zip(*_MOOD_VALUES, strict=True)))


_MOOD_VALUES = [astuple(value) for value in MOODS.values()]


def _smooth(x: float) -> float:
    x = min(1.0, max(0.0, x))
    return x * x * (3.0 - 2.0 * x)


def chance(*numbers: int) -> float:
    """A fixed number in [0, 1) for these integers (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state / 2.0**64


def _within_brow(raised: float) -> float:
    """Brows rise ever less towards `MOST_BROW`: further, the skin below them would fold."""
    return MOST_BROW * math.tanh(raised / MOST_BROW)


def _lids(at_rest: float, blink: float) -> float:
    return at_rest + (1.0 - at_rest) * blink


def _blink(tick: int, seed: int) -> float:
    """How far a blink has shut the lids: one every few seconds, now and then two."""
    slot, place = divmod(tick, BLINK_EVERY_TICKS)
    starts = [int(chance(seed, 21, slot) * (BLINK_EVERY_TICKS - 2 * len(BLINK) - 6))]
    if chance(seed, 22, slot) < 0.2:
        starts.append(starts[0] + len(BLINK) + 4)
    return next((BLINK[place - start] for start in starts if 0 <= place - start < len(BLINK)), 0.0)


def _saccade(tick: int, seed: int) -> tuple[float, float]:
    """Where the eyes rest, -1 to 1: a new point every second or so, reached within two pictures."""
    slot, place = divmod(tick + int(chance(seed, 30) * 100), SACCADE_EVERY_TICKS)
    start = int(chance(seed, 31, slot) * (SACCADE_EVERY_TICKS - 4))
    share = min(1.0, max(0.0, (place - start + 1) / 2.0))

    def point(of_slot: int, axis: int) -> float:
        away = 2.0 * chance(seed, 32 + axis, of_slot) - 1.0
        return away * abs(away)

    x, y = ((1 - share) * point(slot - 1, axis) + share * point(slot, axis) for axis in (0, 1))
    return x, y


def _nod(tick: int, seed: int) -> float:
    """A small nod every few seconds, 0 to 1 and back."""
    slot, place = divmod(tick, NOD_EVERY_TICKS)
    start = int(chance(seed, 41, slot) * (NOD_EVERY_TICKS - NOD_TICKS))
    x = (place - start) / NOD_TICKS
    return math.sin(math.pi * x) ** 2 if 0.0 < x < 1.0 else 0.0
