"""The shape of a lock of hair: two guide lines from root to tip, a wave, a taper, and parts that are locks again."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from avatar.puppet.brush import Line, curve

STEPS = 72
"""Points along a strand."""


@dataclass(frozen=True)
class Lock:
    """Hair between two guides of equal meaning: point k of both lies at the same height of the lock.

    Args:
        a, b: guides from root to tip.
        gloss: where along the lock the light is caught, 0 root to 1 tip; none if empty.
        shade: how much darker the lock is as a whole, 0 to 1.
        root: how dark it starts at the root.
        ends: how ragged its tips are.
        lit: where across the lock it bulges towards the light, 0 at ``a``, 1 at ``b``.
        taper: over which last share of its length it runs to a point.
        halo: whether the band of light around the crown shows on it.
        wave, turn: how far it swings from side to side on its way down, and where in the swing it starts.
    """

    a: tuple[tuple[float, float], ...]
    b: tuple[tuple[float, float], ...]
    gloss: tuple[float, ...] = ()
    shade: float = 0.0
    root: float = 0.35
    ends: float = 0.06
    lit: float = 0.4
    taper: float = 0.0
    wave: float = 0.0
    turn: float = 0.0
    halo: bool = True

    def guides(self) -> tuple[Line, Line]:
        a, b = even(curve(self.a, closed=False)), even(curve(self.b, closed=False))
        return _shaped(a, b, self)

    def part(self, start: float, end: float, length: float, **changes: float) -> Lock:
        """A lock of its own cut from this one: between two shares of its width, and shorter."""
        a, b = even(curve(self.a, closed=False)), even(curve(self.b, closed=False))
        keep = max(8, round(length * STEPS))
        lines = [tuple((float(x), float(y)) for x, y in (a + (b - a) * t)[:keep:4]) for t in (start, end)]
        return dataclasses.replace(self, a=lines[0], b=lines[1], **changes)  # type: ignore[arg-type]

    def outline(self) -> Line:
        a, b = self.guides()
        return np.vstack([a, b[::-1]])


def even(line: Line) -> Line:
    """The same line with equal steps."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], STEPS)
    return np.stack([np.interp(at, length, line[:, k]) for k in (0, 1)], axis=1)


def _shaped(a: Line, b: Line, lock: Lock) -> tuple[Line, Line]:
    """Guides with the lock's wave and taper."""
    along = np.linspace(0.0, 1.0, STEPS)
    if lock.wave:
        length = float(np.linalg.norm(np.diff(a, axis=0), axis=1).sum())
        swing = (
            lock.wave * np.clip((along - 0.30) / 0.3, 0.0, 1.0) * np.sin(math.tau * (along * length / 0.25 + lock.turn))
        )
        a, b = (line + np.stack([swing, 0 * swing], axis=1) for line in (a, b))
    if lock.taper:
        share = np.clip((along - 1.0 + lock.taper) / lock.taper, 0.0, 1.0)[:, None] ** 1.6
        middle = a * 0.45 + b * 0.55
        a, b = a + (middle - a) * share, b + (middle - b) * share
    return a, b
