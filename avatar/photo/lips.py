"""The mouth of a portrait: mouth parameters in, displacements of its lips, cheeks and chin out.

Seen along the face's own axes, lips are functions of u: every column of the grid has its own heights of the upper lip's
edge, of the line where the lips meet, and of the lower lip's edge. Between these heights, the nose above and the neck
below, a column is stretched piece by piece, so that lips keep their thickness, skin gives way, and no hole can open.
Where the lips part the column shows what is inside (inside.py); how far a pixel lies within the gap is told along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avatar.photo.face import CHIN, NOSE_BASE, Axes, Face
from avatar.photo.patch import Grid, smooth
from avatar.puppet.mouth import Mouth

Floats = npt.NDArray[np.float32]

NODE_PX = 1.5
"""About how far apart the grid's nodes are, px of the picture."""
REACH = 2.5
"""How far to each side a mouth moves the cheeks, in half mouths."""
GAPE = 0.78
"""How far the lips part at full jaw, in units (half an ordinary mouth)."""
CHIN_DROP = 0.46
NECK = 1.25
"""How far below the chin the skin still gives way."""
LIFT = 0.17
"""The upper lip's share of the opening; the lower one's is the rest."""
SHUT_GAP = 0.12
"""Lips of a portrait that are no further apart than this (units) are shut at rest."""
PARTED_MARGIN = 0.08
"""How much of lips that the picture shows parted is left out along the gap, in units."""
SEAM_PX = 1.2
"""Where lips that the picture shows parted are pressed together, a line of this half width is drawn between them."""


@dataclass(frozen=True, slots=True, eq=False)
class Parted:
    """A mouth at one moment.

    Args:
        field: [rows, columns, 3]: displacement x and y in px of the source, and how deep in the gap a node lies, in
            px of the finished picture; negative outside.
        jaw: how far the jaw is dropped, 0 to 1.
        line, lower: v of the resting line and of the lower lip's edge, in the middle of the mouth.
        wide: half the mouth's width, in half widths at rest.
        tongue: as in `Mouth`.
        gap_px: how far the lips are parted in the middle, px of the finished picture.
    """

    field: Floats
    jaw: float
    line: float
    lower: float
    wide: float
    tongue: float
    gap_px: float


class Lips:
    """The mouth of one portrait. Shared by all conversations: nothing of it changes.

    Args:
        size_px: side of the finished picture. source_px: side of what it is made of.
    """

    def __init__(self, face: Face, size_px: int, source_px: int) -> None:
        axes = Axes.between(face.lips[0, 0], face.lips[0, -1])
        self._unit = face.unit / axes.scale
        chin = float(axes.inward(face.points[CHIN])[1])
        nose = float(axes.inward(face.points[NOSE_BASE])[1])
        self.grid = Grid.over(axes, (-REACH, nose - 0.05), (REACH, chin + NECK * self._unit + 0.05), size_px / NODE_PX)
        self._source_px = source_px
        self._px = axes.scale * size_px
        u = self.grid.u
        own = axes.inward(face.lips)
        self._top, upper, lower, self._bottom = (
            np.interp(u, line[:, 0], line[:, 1], left=0.0, right=0.0).astype(np.float32) for line in own
        )
        middle = (upper + lower) / np.float32(2.0)
        self.opened = float((lower - upper).max()) / self._unit
        """How far the lips of the portrait itself are apart, in units."""
        if self.opened < SHUT_GAP:
            upper = lower = middle
            self._seam = np.float32(0.0)
        else:
            # Slivers of the teeth that the picture shows would stay on shut lips.
            upper = np.maximum(self._top, upper - np.float32(PARTED_MARGIN * self._unit))
            lower = np.minimum(self._bottom, lower + np.float32(PARTED_MARGIN * self._unit))
            self._seam = np.float32(SEAM_PX)
        self._upper, self._lower = upper, lower
        # Lips that a picture shows parted meet nearer to the upper one, which moves less.
        self._line = np.asarray(upper + (lower - upper) * np.float32(0.35), np.float32)
        self._nose, self._chin, self._neck = (
            np.full_like(u, value) for value in (nose, chin, chin + NECK * self._unit)
        )
        self._fall = 1.0 - smooth((np.abs(u) - 1.0) / np.float32(REACH - 1.0))
        self._jaw_side = 1.0 - smooth((np.abs(u) - 1.0) / np.float32(REACH - 1.0))
        v = self.grid.v
        self._across = (
            smooth((v - nose) / np.float32(max(0.1, -0.15 - nose))) * (1.0 - smooth((v - 0.6) / (chin - 0.6)))
        )[:, None]

    def moved(self, mouth: Mouth, smile: float, aside: float) -> Parted:
        """Where the mouth goes.

        Args:
            smile: how much more than in the portrait, -1 to 1. aside: shift to the picture's right, in units.
        """
        u, unit = self.grid.u, np.float32(self._unit)
        shut = min(1.0, max(mouth.closure, 0.0))
        tuck = mouth.lip_teeth * (1.0 - shut)
        jaw = mouth.jaw * (1.0 - 0.6 * shut) * (1.0 - 0.75 * tuck)
        ring = mouth.rounding * (1.0 - 0.6 * shut)
        gape = GAPE * jaw * (1.0 - 0.28 * ring) * (1.0 - shut)
        wide_by, narrow_by = max(0.0, mouth.spread), max(0.0, -mouth.spread)
        wide = 1.0 + 0.12 * wide_by - 0.16 * narrow_by - 0.28 * ring - 0.05 * jaw + 0.08 * smile

        # 1. Across: corners apart or together, cheeks along.
        inside = np.abs(u) <= wide
        beyond = np.clip((REACH - np.abs(u)) / (REACH - wide), 0.0, 1.0)
        shift = np.where(inside, u / wide - u, np.sign(u) * (1.0 - wide) * beyond * beyond) - aside * unit * self._fall
        shift = shift.astype(np.float32)
        own = u + shift

        # 2. Up and down: where each edge goes, column by column.
        def there(line: Floats) -> Floats:
            return np.asarray(np.interp(own, u, line), np.float32)

        top, upper, lower, bottom, line = (
            there(edge) for edge in (self._top, self._upper, self._lower, self._bottom, self._line)
        )
        fall = there(self._fall)
        round_off = np.clip(1.0 - own * own, 0.0, 1.0)
        bent = np.minimum(np.abs(own), 1.0)
        raised = (0.24 * smile + 0.03 * wide_by) * (1.0 - 0.6 * jaw)
        meet = line - unit * (raised * (bent**1.7 - 0.33) - 0.22 * gape * bent * bent) * fall
        parting = round_off ** np.float32(0.60 + 0.22 * wide_by * (1.0 - jaw) - 0.12 * ring)
        up = meet - unit * (LIFT * gape + 0.10 * tuck + 0.03 * ring * jaw) * parting
        down = meet + unit * max((1.0 - LIFT) * gape - 0.03 * tuck, -LIFT * gape - 0.10 * tuck) * parting
        press = 1.0 - 0.28 * shut
        thick_upper = press * (1.0 - 0.14 * jaw + 0.20 * ring - 0.10 * wide_by)
        thick_lower = press * (1.0 - 0.12 * jaw + 0.14 * ring - 0.08 * wide_by - 0.30 * tuck)
        goes_top = up - (upper - top) * thick_upper
        goes_bottom = down + (bottom - lower) * thick_lower
        drop = CHIN_DROP * jaw * self._unit * there(self._jaw_side)
        goals = np.stack([self._nose, goes_top, up, down, goes_bottom, self._chin + drop, self._neck])
        knots = np.stack([self._nose, top, upper, lower, bottom, self._chin, self._neck])

        # 3. Every node of a column between its knots.
        lengths = np.maximum(np.diff(goals, axis=0), 1e-4)
        slopes = np.diff(knots, axis=0) / lengths
        v = self.grid.v[:, None]
        came = np.minimum(v, goals[0])
        for goal, length, slope in zip(goals[:-1], lengths, slopes, strict=True):
            came = came + slope * np.clip(v - goal, 0.0, length)
        came = came + np.maximum(v - goals[-1], 0.0)
        rows, columns = len(self.grid.v), len(u)
        field = np.empty((rows, columns, 3), np.float32)
        field[..., :2] = self.grid.displaced(
            np.broadcast_to(shift, (rows, columns)) * self._across, (came - v).astype(np.float32), self._source_px
        )
        field[..., 2] = np.minimum(v - up, down - v) * np.float32(self._px) + self._seam * np.minimum(
            6.0 * round_off, 1.0
        )
        field[:, (0, -1), :2] = 0.0
        middle = columns // 2
        return Parted(
            field,
            jaw,
            line=float(self._line[middle]),
            lower=float(down[middle]),
            wide=wide,
            tongue=mouth.tongue * (1.0 - shut),
            gap_px=float((down - up).max()) * self._px,
        )
