"""How a pose moves the painted figure: a coarse mesh of displacements, and from it where each pixel comes from.

In: a `Pose`, how far the jaw is dropped, and planes of the painting. Out: the picture's planes. Everything is smooth
and small, so that the figure, its hair and the soft backdrop move as one sheet without seams. Nothing here knows how
the figure was painted: the same fields would move a photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from avatar.puppet import anatomy as at
from avatar.puppet.motion import Pose
from avatar.puppet.planes import Bytes

Floats = npt.NDArray[np.float32]
CELLS = 64
"""About how many mesh cells a side has; the exact number divides the picture."""
MOST_SHIFT = 0.08
"""No pose carries anything further up or down than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A plane of the painting, of one channel or four, and the picture's plane that it is moved into.

    Args:
        coarse: how many times smaller than luma both are.
    """

    source: Bytes
    target: Bytes
    coarse: int


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the picture: rows and columns from, up to; px of luma, even."""

    top: int
    left: int
    bottom: int
    right: int

    def at(self, coarse: int) -> tuple[slice, slice]:
        return slice(self.top // coarse, self.bottom // coarse), slice(self.left // coarse, self.right // coarse)


def smooth(x: Floats) -> Floats:
    """0 below 0, 1 above 1, and an S between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def jaw_share(y: Floats) -> Floats:
    """How much of the chin's travel a point at height y takes part in, along the middle of the face."""
    sinking = smooth((y - at.JAW_FROM_Y) / np.float32(at.JAW_TO_Y - at.JAW_FROM_Y))
    return sinking * (1.0 - smooth((y - at.CHIN_Y) / np.float32(at.NECK_END_Y - at.CHIN_Y)))


class Mesh:
    """The moving sheet.

    Args:
        size_px: side of the picture.
        source_px: side of the painting.
    """

    def __init__(self, size_px: int, source_px: int) -> None:
        divisors = [cell for cell in range(2, size_px // 8, 2) if size_px % cell == 0]
        cell = min(divisors, key=lambda cell: abs(size_px / cell - CELLS))
        cells = size_px // cell
        self._cell, self._size_px, self._source_px = cell, size_px, source_px
        middles = (np.arange(-1, cells + 1, dtype=np.float32) + 0.5) / np.float32(cells)
        x, y = np.meshgrid(middles, middles)
        self._shape = x.shape
        self._x, self._y = x.ravel(), y.ravel()
        self._jaw_side = np.exp(-(((self._x - 0.5) / np.float32(0.135)) ** 4)).astype(np.float32)
        # The nodes, row by row, that can come from where the jaw is.
        reached = np.flatnonzero((self._y > at.JAW_FROM_Y - MOST_SHIFT) & (self._y < at.NECK_END_Y + MOST_SHIFT))
        self._jaw_nodes = slice(int(reached[0]), int(reached[-1]) + 1)
        self._fields = _fields(self._x, self._y)
        side = (cells + 2) * cell
        # Kept from picture to picture: fresh ones would cost a page fault for every 4 KiB.
        self._buffers = [np.empty(side * side, np.float32) for _ in (0, 1)]

    def sources(self, pose: Pose, jaw: float) -> tuple[Floats, Floats]:
        """Where in the painting each node comes from, shares of its side: x and y, float32 [cells + 2, cells + 2]."""
        amounts = np.array(
            [
                pose.head_x, pose.head_y, pose.roll, pose.yaw, pose.pitch, pose.lean, pose.breath,
                pose.brow_left, pose.brow_right, pose.frown, pose.smile,
            ],
            np.float32,
        )  # fmt: skip
        moved_x, moved_y = amounts @ self._fields[0], amounts @ self._fields[1]
        source_x, source_y = self._x - moved_x, self._y - moved_y
        if jaw > 0.0:
            near = self._jaw_nodes
            source_y[near] -= np.float32(jaw * at.CHIN_DROP) * self._jaw_side[near] * jaw_share(source_y[near])
        return source_x.reshape(self._shape), source_y.reshape(self._shape)

    def warp(self, sources: tuple[Floats, Floats], plane: Plane, areas: Sequence[Area]) -> None:
        """Move one of the painting's planes, by what `sources` gave, into these areas of the picture's."""
        scale = np.float32(self._source_px / plane.coarse)
        grids = [nodes * scale - np.float32(0.5) for nodes in sources]
        for area in areas:
            x, y = (
                self._spread(grid, buffer, area, plane.coarse)
                for grid, buffer in zip(grids, self._buffers, strict=True)
            )
            target = plane.target[area.at(plane.coarse)]
            cv2.remap(plane.source, x, y, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)

    def _spread(self, grid: Floats, buffer: Floats, area: Area, coarse: int) -> Floats:
        """Nodes to one value a pixel of an area: between the nodes that lie around it, in the first of the buffer."""
        cell, px = self._cell, self._cell // coarse
        top, left = area.top // cell, area.left // cell
        near = grid[top : -(-area.bottom // cell) + 2, left : -(-area.right // cell) + 2]
        height, width = near.shape[0] * px, near.shape[1] * px
        spread = buffer[: height * width].reshape(height, width)
        cv2.resize(near, (width, height), dst=spread, interpolation=cv2.INTER_LINEAR)
        y, x = area.top // coarse - top * px + px, area.left // coarse - left * px + px
        return spread[y : y + (area.bottom - area.top) // coarse, x : x + (area.right - area.left) // coarse]


def _fields(x: Floats, y: Floats) -> Floats:
    """Displacement of every node for one unit of each of the pose's amounts, float32 [2 (x, y), amounts, nodes]."""
    zero = np.zeros_like(x)
    dx, dy = x - 0.5, y - np.float32(at.NECK_PIVOT_Y)
    away = np.sqrt((dx / np.float32(0.86)) ** 2 + ((y - np.float32(0.43)) / np.float32(1.0)) ** 2)
    near = 1.0 - smooth((away - np.float32(0.32)) / np.float32(0.16))
    head = near * (1.0 - smooth((y - np.float32(0.64)) / np.float32(0.24)))
    depth = np.exp(-((dx / np.float32(0.13)) ** 2) - ((y - np.float32(0.50)) / np.float32(0.17)) ** 2)
    turn = head * (0.25 + 0.75 * depth) - 0.35 * head * smooth((np.abs(dx) - np.float32(0.15)) / np.float32(0.1))
    figure = 1.0 - smooth((np.maximum(np.abs(dx) * 1.0, (0.3 - y) * 1.6) - np.float32(0.33)) / np.float32(0.16))
    shoulders = smooth((y - np.float32(0.66)) / np.float32(0.2)) * figure

    def brow(side: float) -> tuple[Floats, Floats]:
        across = (dx * side - np.float32(0.083)) / np.float32(0.063)
        along = np.where(
            y < at.BROW_Y,
            (y - np.float32(at.BROW_Y)) / np.float32(0.045),
            (y - np.float32(at.BROW_Y)) / np.float32(0.0195),
        )
        share = np.exp(-(across**6) - along**2).astype(np.float32)
        return zero, -share

    inner = np.exp(-(((np.abs(dx) - np.float32(0.042)) / 0.03) ** 2) - ((y - np.float32(at.BROW_Y)) / 0.017) ** 2)
    cheek = np.exp(-(((np.abs(dx) - np.float32(0.098)) / 0.045) ** 2) - ((y - np.float32(0.545)) / 0.05) ** 2)
    lower_lid = np.exp(
        -(((np.abs(dx) - np.float32(at.EYE_X)) / 0.042) ** 2) - ((y - np.float32(at.EYE_Y + 0.022)) / 0.013) ** 2
    )
    rows = [
        (head, zero),
        (zero, head),
        (-dy * head, dx * head),
        (turn, zero),
        (zero, head * (0.3 + 0.7 * depth)),
        (dx * figure, (y - np.float32(0.7)) * figure),
        (zero, -shoulders - 0.45 * head),
        brow(-1.0),
        brow(1.0),
        (-np.sign(dx) * 0.5 * inner, inner),
        (np.sign(dx) * 0.004 * cheek, -0.012 * cheek - 0.0052 * lower_lid),
    ]
    return np.stack([np.stack([row[axis] for row in rows]) for axis in (0, 1)]).astype(np.float32)
