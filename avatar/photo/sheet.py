"""How a pose moves a portrait as a whole: a coarse sheet of displacements over the picture.

In: a `Pose`. Out: where in the source each pixel of the moving part comes from. The head, its hair and what is close
behind it move as one; the displacements fade to nothing before the picture's edges, so that the background stays and
nothing tears. The mesh's own depth makes the nose travel further than the ears.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from avatar.photo.face import BROWS, CHEEKS, CHIN, FOREHEAD, INNER_BROWS, Face
from avatar.photo.patch import Box, looked_up, smooth
from avatar.puppet.motion import AT_REST, Pose

Floats = npt.NDArray[np.float32]

CELLS = 64
PUPPET_HALF_WIDTH = 0.166
"""Half the width of the face that `motion.py`'s lengths are meant for, shares of the picture's side."""
EDGE = 0.07
"""Over this much of the picture's side, displacements fade towards its edge."""
HAIR = 1.6
"""How far head and hair reach from the middle of the face, in half widths and half heights."""
FADE = 0.9
"""And over how much more their motion fades."""
MOST = (0.025, 0.02, 0.12, 0.04, 0.03, 0.06, 0.006, 0.03, 0.03, 0.01, 1.0)
"""The most that each amount of a pose comes to, in the order of the fields."""
CARRIED_ROUNDS = 6
"""Each brings a place several times nearer: displacements change by a few hundredths over their own length."""
SMALLEST_PX = 0.1
"""What moves less than this at the most does not move."""


class Sheet:
    """The moving sheet of one portrait and size; buffers make it one conversation's own.

    Args:
        source_px: side of the picture that it moves.
    """

    def __init__(self, face: Face, size_px: int, source_px: int) -> None:
        divisors = [cell for cell in range(2, size_px // 8, 2) if size_px % cell == 0]
        self._cell = min(divisors, key=lambda cell: abs(size_px / cell - CELLS))
        cells = size_px // self._cell
        self._size_px, self._source_px = size_px, source_px
        middles = (np.arange(cells, dtype=np.float32) + 0.5) / np.float32(cells)
        x, y = np.meshgrid(middles, middles)
        fields = _fields(face, x.ravel(), y.ravel())
        self.box = self._moving(fields, cells)
        # One node more on each side, so that every pixel of the box lies between nodes.
        c0, c1 = self.box.x0 // self._cell - 1, self.box.x1 // self._cell + 1
        r0, r1 = self.box.y0 // self._cell - 1, self.box.y1 // self._cell + 1
        columns, rows = np.clip(np.arange(c0, c1), 0, cells - 1), np.clip(np.arange(r0, r1), 0, cells - 1)
        self._fields = np.ascontiguousarray(fields.reshape(2, -1, cells, cells)[:, :, rows][:, :, :, columns])
        self._shape = len(rows), len(columns)
        ours = np.meshgrid(
            (np.arange(c0, c1, dtype=np.float32) + 0.5) / np.float32(cells),
            (np.arange(r0, r1, dtype=np.float32) + 0.5) / np.float32(cells),
        )
        self._home = np.stack(ours)
        # Kept from picture to picture: fresh ones would cost a page fault for every 4 KiB.
        self._buffers = [np.empty((len(rows) * self._cell, len(columns) * self._cell), np.float32) for _ in range(2)]

    def _moving(self, fields: Floats, cells: int) -> Box:
        """The part of the picture that any pose moves, whole cells."""
        furthest = np.tensordot(np.array(MOST, np.float32), np.abs(fields), (0, 1)).max(axis=0)
        strongest = furthest.reshape(cells, cells) * self._size_px > SMALLEST_PX
        rows, columns = np.flatnonzero(strongest.any(axis=1)), np.flatnonzero(strongest.any(axis=0))
        cell, last = self._cell, cells - 1
        return Box(
            max(0, int(columns[0]) - 1) * cell,
            max(0, int(rows[0]) - 1) * cell,
            min(last, int(columns[-1]) + 1) * cell + cell,
            min(last, int(rows[-1]) + 1) * cell + cell,
        )

    def map(self, pose: Pose) -> tuple[Floats, Floats]:
        """Where each pixel of `box` comes from, px of the source: x and y. Valid until the next call."""
        whole = np.array(
            [pose.head_x, pose.head_y, pose.roll, pose.yaw, pose.pitch, pose.lean, pose.breath], np.float32
        )
        local = np.array([pose.brow_left, pose.brow_right, pose.frown, pose.smile - AT_REST.smile], np.float32)
        figure = [self._home[axis] - np.tensordot(whole, self._fields[axis][: len(whole)], 1) for axis in (0, 1)]
        if local.any():
            # A brow is where the head has taken it: its own motion is looked up there.
            column, row = (
                (figure[axis] - self._home[axis].flat[0]) * np.float32(self._size_px / self._cell) for axis in (0, 1)
            )
            for axis in (0, 1):
                moved = np.tensordot(local, self._fields[axis][len(whole) :], 1)
                figure[axis] = figure[axis] - looked_up(moved, column, row)
        border = self._cell
        maps = []
        for axis in (0, 1):
            nodes = figure[axis] * np.float32(self._source_px) - np.float32(0.5)
            buffer = self._buffers[axis]
            cv2.resize(nodes, buffer.shape[::-1], dst=buffer, interpolation=cv2.INTER_LINEAR)
            maps.append(buffer[border:-border, border:-border])
        return maps[0], maps[1]

    def carried(self, pose: Pose, places: Floats) -> Floats:
        """Where a pose takes these places of the portrait: float32 [places, 2], shares of the side."""
        maps = self.map(pose)
        places = np.asarray(places, np.float32)
        corner = np.array([self.box.x0, self.box.y0], np.float32)
        found = places.copy()
        for _ in range(CARRIED_ROUNDS):  # `map` tells where a pixel comes from; here it is asked where one goes
            at = found * np.float32(self._size_px) - np.float32(0.5) - corner
            came = [
                np.asarray(cv2.remap(m, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
                for m in maps
            ]
            found += places - (np.hstack(came) + np.float32(0.5)) / np.float32(self._source_px)
        return found


def _fields(face: Face, x: Floats, y: Floats) -> Floats:
    """Displacement of every node for one unit of each of the pose's amounts, float32 [2 (x, y), amounts, nodes]."""
    places = np.stack([x, y], axis=1)
    along, down = face.axes.along, face.axes.down
    size = np.float32(face.half_width / PUPPET_HALF_WIDTH)
    zero = np.zeros_like(x)
    middle = (face.points[CHIN] + face.points[FOREHEAD]) / 2
    away = places - middle
    across, below = away @ along, away @ down
    reach = np.hypot(across / np.float32(face.half_width * 1.15), below / np.float32(face.height / 2))
    edge = smooth(np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) / np.float32(EDGE))
    head = 1.0 - smooth((reach - np.float32(HAIR)) / np.float32(FADE))
    # Below the chin the neck carries less and less of the head.
    under = (places - face.points[CHIN]) @ down
    head = head * (1.0 - smooth((under + np.float32(0.05 * face.height)) / np.float32(0.65 * face.height))) * edge
    depth = _depth(face, places) * head
    pivot = face.points[CHIN] + down * np.float32(0.28 * face.height)
    dx, dy = places[:, 0] - pivot[0], places[:, 1] - pivot[1]
    body = smooth((under - np.float32(0.05 * face.height)) / np.float32(0.55 * face.height)) * edge
    body = body * (1.0 - smooth((np.abs(across) - np.float32(2.4 * face.half_width)) / np.float32(face.half_width)))
    turn = 0.25 * head + 0.75 * depth - 0.3 * head * smooth((np.abs(across) / np.float32(face.half_width) - 0.85) / 0.5)

    def along_it(amount: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
        return (amount * along[0]).astype(np.float32), (amount * along[1]).astype(np.float32)

    def down_it(amount: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
        return (amount * down[0]).astype(np.float32), (amount * down[1]).astype(np.float32)

    def bump(at: Floats, wide: float, high_above: float, high_below: float) -> Floats:
        """A soft hill, its half widths in half widths of the face."""
        u, v = (places - at) @ along, (places - at) @ down
        high = np.where(v < 0, np.float32(high_above), np.float32(high_below)) * np.float32(face.half_width)
        return np.asarray(np.exp(-((u / np.float32(wide * face.half_width)) ** 2) - (v / high) ** 2), np.float32)

    brows = [down_it(-size * _along_brow(face, face.points[list(row)], places)) for row in BROWS]
    frown_x, frown_y = zero, zero
    for point, way in zip(INNER_BROWS, (1.0, -1.0), strict=True):
        hill = size * bump(face.points[point], 0.2, 0.16, 0.10)
        (a, b), (c, d) = along_it(np.float32(0.5 * way) * hill), down_it(hill)
        frown_x, frown_y = frown_x + a + c, frown_y + b + d
    cheek_x, cheek_y = zero, zero
    for point, way in zip(CHEEKS, (-1.0, 1.0), strict=True):
        hill = size * bump(face.points[point], 0.32, 0.3, 0.3)
        (a, b), (c, d) = along_it(np.float32(0.004 * way) * hill), down_it(np.float32(-0.010) * hill)
        cheek_x, cheek_y = cheek_x + a + c, cheek_y + b + d
    rows = [
        along_it(size * head),
        down_it(size * head),
        (-dy * head, dx * head),
        along_it(size * turn),
        down_it(size * (0.3 * head + 0.7 * depth)),
        (dx * head, dy * head),
        down_it(-size * (body + 0.35 * head)),
        *brows,
        (frown_x, frown_y),
        (cheek_x, cheek_y),
    ]
    return np.stack([np.stack([row[axis] for row in rows]) for axis in (0, 1)]).astype(np.float32)


def _along_brow(face: Face, brow: Floats, places: Floats) -> Floats:
    """How much of a raised brow's motion each node takes part in: a long hill, steep towards the eye."""
    along, down, reach = face.axes.along, face.axes.down, np.float32(face.half_width)
    own = np.stack([brow @ along, brow @ down], axis=1)
    own = own[np.argsort(own[:, 0])]
    u, v = places @ along, places @ down
    beyond = np.maximum(np.maximum(own[0, 0] - u, u - own[-1, 0]), 0.0)
    above = v - np.interp(u, own[:, 0], own[:, 1])
    high = np.where(above < 0, np.float32(0.30), np.float32(0.13)) * reach
    return np.asarray(np.exp(-((beyond / (0.16 * reach)) ** 2) - (above / high) ** 2), np.float32)


def _depth(face: Face, places: Floats) -> Floats:
    """How far forward the face stands at each node, 1 at the tip of the nose; 0 where there is no face."""
    wide = np.float32(0.14 * face.half_width * 2)
    apart = ((places[:, None, :] - face.points[None]) ** 2).sum(axis=2) / (wide * wide)
    weights = np.exp(-apart)
    total = weights.sum(axis=1)
    return np.asarray((weights @ face.depth) / np.maximum(total, 1e-6) * np.clip(total, 0.0, 1.0), np.float32)
