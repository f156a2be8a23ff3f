"""Idle motion that begins again: `motion.pose` at rest, with every wave, blink and glance fitted into one loop.

In: a tick and the loop's length. Out: a `Pose`. Two ticks that lie a loop apart have the same one, so the last picture
of a loop leads into its first as each leads into the next. The mouth is at rest throughout.
"""

from __future__ import annotations

import math

from avatar.puppet.motion import AT_REST, BLINK, BLINK_EVERY_TICKS, SACCADE_EVERY_TICKS, Pose, chance

BREATH_S = 4.2
GLANCE = 0.34
"""How far the eyes wander, of what they can."""


def looped(tick: int, ticks: int, seed: int = 0) -> Pose:
    """The figure at a tick of a loop of so many.

    Args:
        seed: which of many; equal seeds give equal loops.
    """
    turn = math.tau * (tick % ticks) / ticks
    loop_s = ticks / 25.0

    def sway(name: int, seconds: float) -> float:
        """A slow wander between -1 and 1; about as fast as `seconds`, in whole waves."""
        waves = ((1.0, 0.5), (1.618, 0.32), (2.71, 0.18))
        return sum(
            share * math.sin(turn * max(1, round(speed * loop_s / seconds)) + math.tau * chance(seed, name, k))
            for k, (speed, share) in enumerate(waves)
        )

    gaze_x, gaze_y = _glance(tick % ticks, ticks, seed)
    return Pose(
        head_x=0.004 * sway(1, 7.3),
        head_y=0.002 * sway(2, 5.9),
        roll=0.018 * sway(3, 8.7),
        yaw=0.005 * sway(4, 9.7),
        pitch=0.003 * sway(5, 6.7),
        breath=0.0045 * (0.5 - 0.5 * math.cos(turn * max(1, round(loop_s / BREATH_S)))),
        gaze_x=GLANCE * gaze_x,
        gaze_y=0.6 * GLANCE * gaze_y,
        lids=AT_REST.lids + (1.0 - AT_REST.lids) * _blink(tick % ticks, ticks, seed),
        smile=AT_REST.smile,
    )


def _blink(tick: int, ticks: int, seed: int) -> float:
    """How far a blink has shut the lids: one in each part of the loop, none across its end."""
    for first, length, part in _parts(ticks, BLINK_EVERY_TICKS):
        start = first + 1 + int(chance(seed, 21, part) * max(1, length - len(BLINK) - 2))
        if 0 <= tick - start < len(BLINK):
            return BLINK[tick - start]
    return 0.0


def _glance(tick: int, ticks: int, seed: int) -> tuple[float, float]:
    """Where the eyes rest: a new point in each part of the loop, reached within two pictures; before the first one of
    the loop it is the last one's."""
    parts = list(_parts(ticks, SACCADE_EVERY_TICKS))
    part = next(n for n, (first, length, _) in enumerate(parts) if first <= tick < first + length)
    first, length, _ = parts[part]
    start = first + 1 + int(chance(seed, 31, part) * max(1, length - 4))
    share = min(1.0, max(0.0, (tick - start + 1) / 2.0))

    def point(of_part: int, axis: int) -> float:
        away = 2.0 * chance(seed, 32 + axis, of_part % len(parts)) - 1.0
        return away * abs(away)

    x, y = ((1 - share) * point(part - 1, axis) + share * point(part, axis) for axis in (0, 1))
    return x, y


def _parts(ticks: int, about: int) -> list[tuple[int, int, int]]:
    """The loop in parts of about so many ticks: first tick, length, number."""
    count = max(1, round(ticks / about))
    ends = [round(n * ticks / count) for n in range(count + 1)]
    return [(ends[n], ends[n + 1] - ends[n], n) for n in range(count)]
