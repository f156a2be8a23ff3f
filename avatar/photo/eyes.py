"""The eyes of a portrait: lids and gaze in, displacements out.

A lid that falls takes its lashes along and stretches the skin under the brow; the eye behind it stays where it is. A
gaze moves the iris between lids and corners that do not move. Both are small: a picture shows no more of an eye than
it shows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avatar.photo.face import BROWS, Axes, Face
from avatar.photo.patch import Grid, smooth

Floats = npt.NDArray[np.float32]

REACH = 1.5
NODE_PX = 1.0
"""About how far apart the grid's nodes are, px of the picture."""
LASHES_ABOVE, LASHES_BELOW = 0.13, 0.0
"""How much around the upper lid's edge moves as one piece, in half eyes."""
OVER = 0.10
"""How far a shut upper lid reaches over the lower one."""
GAZE_X, GAZE_Y = 0.15, 0.07
"""How far an iris travels at full gaze, in half eyes: what is not in the picture cannot be shown."""


class Eye:
    """One eye of one portrait. Shared by all conversations.

    Args:
        which: 0 for the one at the picture's left.
    """

    def __init__(self, face: Face, which: int, size_px: int, source_px: int) -> None:
        upper, lower = face.lids[which]
        axes = Axes.between(upper[0], upper[-1])
        own_upper, own_lower = axes.inward(upper), axes.inward(lower)
        brow = float(axes.inward(face.points[list(BROWS[which])])[:, 1].max())
        lid = float(own_upper[:, 1].min())
        # The skin above gives way towards the brow: not so far that glasses bend much, but it needs some room.
        high = min(max(brow, lid - 0.6), lid - 0.4)
        self.grid = Grid.over(
            axes, (-REACH, high - 0.05), (REACH, float(own_lower[:, 1].max()) + 0.3), size_px / NODE_PX
        )
        self._source_px = source_px
        u = self.grid.u
        self._upper, self._lower = (
            np.interp(u, line[:, 0], line[:, 1], left=0.0, right=0.0).astype(np.float32)
            for line in (own_upper, own_lower)
        )
        self._high = np.float32(high)
        self._over = np.float32(OVER) * np.clip(1.0 - u * u, 0.0, 1.0)
        v = self.grid.v[:, None]
        within = np.minimum(v - self._upper, self._lower - v)
        opening = np.maximum(self._lower - self._upper, 1e-3)
        self._open = smooth(within / np.float32(0.07)) * np.clip(1.0 - u * u, 0.0, 1.0)
        self._open_down = self._open * np.clip(4.0 * within / opening, 0.0, 1.0)

    def moved(self, lids: float, gaze_x: float, gaze_y: float) -> tuple[Floats, Floats | None]:
        """Where the eye and the lid come from, each over the whole grid.

        Args:
            lids: 0 as in the portrait, 1 shut. gaze_x, gaze_y: -1 to 1, right and down.

        Returns:
            Displacements of the eye, px of the source, [rows, columns, 2]; and where lids move, those of the lid and
            how far a place lies below the lid's edge (half eyes), [rows, columns, 3].
        """
        eye = self.grid.displaced(
            -np.float32(GAZE_X * gaze_x) * self._open, -np.float32(GAZE_Y * gaze_y) * self._open_down, self._source_px
        )
        if lids <= 0.0:
            return eye, None
        v = self.grid.v[:, None]
        fall = np.float32(min(1.0, lids)) * (self._lower - self._upper + self._over)
        edge = self._upper + fall
        # Skin from the brow to the lashes is stretched; the lashes, and what would be below them, move as they are.
        lashes = edge - LASHES_ABOVE
        slope = np.maximum(self._upper - LASHES_ABOVE - self._high, 0.05) / np.maximum(lashes - self._high, 0.05)
        skin = np.where(v < self._high, 0.0, self._high + (v - self._high) * slope - v)
        moved = np.where(v < lashes, skin, -fall).astype(np.float32)
        lid = np.empty((*moved.shape, 3), np.float32)
        lid[..., :2] = self.grid.displaced(np.zeros_like(moved), moved, self._source_px)
        lid[..., 2] = v - (edge + LASHES_BELOW)
        return eye, lid
