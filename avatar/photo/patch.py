"""A feature that moves by itself: its displacements on a small grid of its own, laid over the picture's map.

In: what a feature does, as arrays over its grid. Out: the picture's map with the feature's displacements added where
each pixel of the figure is. Displacements are zero at a grid's edge, so that no seam can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from avatar.photo.face import Axes

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid over a part of the figure.

    Args:
        axes: the feature's frame.
        u: [columns], v: [rows], evenly spaced.
    """

    axes: Axes
    u: Floats
    v: Floats

    @classmethod
    def over(cls, axes: Axes, low: tuple[float, float], high: tuple[float, float], nodes_a_side: float) -> Grid:
        """Covers (u, v) from ``low`` to ``high``, with this many nodes along the picture's side."""
        nodes = [max(9, 1 + round((b - a) * axes.scale * nodes_a_side)) for a, b in zip(low, high, strict=True)]
        u, v = (np.linspace(a, b, count, dtype=np.float32) for a, b, count in zip(low, high, nodes, strict=True))
        return cls(axes, u, v)

    def corners(self) -> Floats:
        """Its four corners, shares of the picture's side, [4, 2]."""
        return self.axes.outward(
            np.array([[u, v] for u in (self.u[0], self.u[-1]) for v in (self.v[0], self.v[-1])], np.float32)
        )

    def displaced(self, du: Floats, dv: Floats, source_px: int) -> Floats:
        """Displacements in units of the axes as px of the source, [rows, columns, 2 (x, y)]."""
        scale = np.float32(self.axes.scale * source_px)
        along, down = self.axes.along * scale, self.axes.down * scale
        out = np.empty((*du.shape, 2), np.float32)
        for axis in (0, 1):
            out[..., axis] = du * along[axis] + dv * down[axis]
        return out

    def places(self, x: Floats, y: Floats, source_px: int) -> tuple[Floats, Floats]:
        """Where in the grid each pixel of a map lies: columns and rows, from px of the source."""
        step_u, step_v = float(self.u[1] - self.u[0]), float(self.v[1] - self.v[0])
        across = self.axes.along / np.float32(self.axes.scale * source_px * step_u)
        down = self.axes.down / np.float32(self.axes.scale * source_px * step_v)
        # A map's number k is the middle of pixel k, which is (k + 0.5) / side of the picture.
        first = (np.float32(0.5) - self.axes.origin * np.float32(source_px)).astype(np.float32)
        start_u = np.float32(float(across @ first) - float(self.u[0]) / step_u)
        start_v = np.float32(float(down @ first) - float(self.v[0]) / step_v)
        column = x * across[0]
        column += y * across[1]
        column += start_u
        row = x * down[0]
        row += y * down[1]
        row += start_v
        return column, row


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the finished picture with even edges, px."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def around(cls, points: Floats, margin: float, size_px: int) -> Box:
        """The smallest box that holds these points (shares, [n, 2]) and ``margin`` around them."""
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        x0, y0 = (max(0, int(value * size_px) // 2 * 2) for value in low)
        x1, y1 = (min(size_px, (int(np.ceil(value * size_px)) + 1) // 2 * 2) for value in high)
        return cls(x0, y0, max(x0 + 2, x1), max(y0 + 2, y1))

    def clipped(self, whole: Box) -> Box:
        """The part of it that lies in another box."""
        return Box(max(self.x0, whole.x0), max(self.y0, whole.y0), min(self.x1, whole.x1), min(self.y1, whole.y1))

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def within(self, other: Box) -> tuple[slice, slice]:
        """Its slices in arrays that begin at the other box's corner."""
        return slice(self.y0 - other.y0, self.y1 - other.y0), slice(self.x0 - other.x0, self.x1 - other.x0)


def looked_up(field: Floats, column: Floats, row: Floats) -> Floats:
    """A grid's values at places between its nodes; 0 outside."""
    return np.asarray(cv2.remap(field, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)


def smooth(value: npt.ArrayLike) -> Floats:
    """0 below 0, 1 above 1, and an S between."""
    x = np.clip(np.asarray(value, np.float32), 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x), np.float32)
