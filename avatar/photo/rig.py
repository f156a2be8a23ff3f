"""One picture of a portrait: a pose and a mouth in, I420 planes out.

The sheet says where each pixel comes from, lips and eyes add their own displacements, and then every plane is sampled
once: nothing is drawn twice, so nothing blurs. Only what lies between the lips is drawn. What no pose can move is
copied from the still.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from avatar.frames import Planes
from avatar.photo.eyes import Eye
from avatar.photo.face import Face
from avatar.photo.inside import Inside, Light
from avatar.photo.lips import Lips, Parted
from avatar.photo.patch import Box, looked_up
from avatar.photo.sheet import Sheet
from avatar.portrait_curves import Curves
from avatar.portrait_detect import FaceMesh
from avatar.puppet.motion import AT_REST, Pose
from avatar.puppet.mouth import REST, Mouth
from avatar.renderer import RendererError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SMALLEST_PX, LARGEST_PX = 256, 1024
FINER = 1.5
"""The source is finer than the picture, so that a face between two pixels is as sharp as one upon them."""
TURN = 0.02
"""How much further a feature's corner travels than its middle when the head turns, shares of the side."""
Worn = tuple[tuple[float, float, float], tuple[Floats, Floats | None] | None]
"""Lids and gaze of an eye, and the displacements that follow from them; None where there are none."""
LEAST_GAP_PX = 0.05
SOFT_PX = 1.1
"""Width of the edge between lip and gap."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all conversations share of one portrait at one size. Nothing in it is written to."""

    size_px: int
    source_px: int
    luma: Bytes
    chroma: tuple[Bytes, Bytes]
    face: Face
    lips: Lips
    eyes: tuple[Eye, Eye]
    inside: Inside


def prepared(picture: Bytes, mesh: FaceMesh, curves: Curves, size_px: int) -> Prepared:
    """Ready a portrait's picture (BGR) for a size; takes some tens of milliseconds.

    Raises:
        RendererError: the size is odd or out of bounds, or the portrait is not square.
    """
    if size_px % 2 or not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise RendererError(f"a portrait of {size_px} px cannot be drawn: even sizes, {SMALLEST_PX} to {LARGEST_PX}")
    height, width = picture.shape[:2]
    if height != width:
        raise RendererError(f"the portrait's picture is {width} x {height} px: only square ones can be drawn")
    source_px = max(size_px, min(round(FINER * size_px / 4) * 4, width // 4 * 4))
    shrink = cv2.INTER_AREA if source_px <= width else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (source_px, source_px), interpolation=shrink)
    planes = np.asarray(cv2.cvtColor(scaled, cv2.COLOR_BGR2YUV_I420), np.uint8)
    halves = planes[source_px:].reshape(source_px, source_px // 2)
    face = Face.of(width, mesh, curves)
    lips = Lips(face, size_px, source_px)
    return Prepared(
        size_px,
        source_px,
        planes[:source_px].copy(),
        (halves[: source_px // 2].copy(), halves[source_px // 2 :].copy()),
        face,
        lips,
        (Eye(face, 0, size_px, source_px), Eye(face, 1, size_px, source_px)),
        Inside(Light.of(picture, face), face.unit / lips.grid.axes.scale),
    )


class PhotoRig:
    """Draws one conversation's portrait. Not for two threads at once."""

    def __init__(self, shared: Prepared) -> None:
        self._shared = shared
        size_px, face = shared.size_px, shared.face
        self._sheet = Sheet(face, size_px, shared.source_px)
        self._box = self._sheet.box
        self._mouth_box = Box.around(shared.lips.grid.corners(), TURN, size_px)
        self._gap_box = Box.around(face.lips.reshape(-1, 2), TURN + face.unit, size_px)
        self._eye_boxes = [Box.around(eye.grid.corners(), TURN, size_px) for eye in shared.eyes]
        self._eyes: list[Worn] = [((0.0, 0.0, 0.0), None) for _ in (0, 1)]
        self._spoken = (REST, 0.0, 0.0)
        self._parted = shared.lips.moved(*self._spoken)
        # What stays is the portrait itself, at the picture's size.
        self._still = np.empty((size_px * 3 // 2, size_px), np.uint8)
        for source, target, _ in self._planes(self._still):
            cv2.resize(source, target.shape[::-1], dst=target, interpolation=cv2.INTER_AREA)

    def _planes(self, planes: Planes) -> list[tuple[Bytes, Bytes, int]]:
        """(source, target, how many times coarser than luma) of Y, U and V."""
        size, shared = self._shared.size_px, self._shared
        halves = planes[size:].reshape(size, size // 2)
        return [
            (shared.luma, planes[:size], 1),
            (shared.chroma[0], halves[: size // 2], 2),
            (shared.chroma[1], halves[size // 2 :], 2),
        ]

    def draw(self, pose: Pose, mouth: Mouth) -> Planes:
        """I420, uint8 [size * 3 // 2, size]: a function of its arguments alone."""
        shared, box = self._shared, self._box
        x, y = self._sheet.map(pose)
        parted = self._mouth(pose, mouth)
        gap = self._add_mouth(parted, x, y)
        for which, eye in enumerate(shared.eyes):
            self._add_eye(which, eye, pose, x, y)
        planes = self._still.copy()
        rows, columns = box.slices
        half_rows, half_columns = slice(box.y0 // 2, box.y1 // 2), slice(box.x0 // 2, box.x1 // 2)
        # One of each four, not their mean: across the edge of a lid, in between lies something else.
        shift = np.float32(0.25 * shared.source_px / shared.size_px - 0.25)
        half_x, half_y = (m[::2, ::2] * np.float32(0.5) + shift for m in (x, y))
        for source, target, coarse in self._planes(planes):
            if coarse == 1:
                part, maps = target[rows, columns], (x, y)
            else:
                part, maps = target[half_rows, half_columns], (half_x, half_y)
            cv2.remap(source, *maps, cv2.INTER_LINEAR, dst=part, borderMode=cv2.BORDER_REPLICATE)
        if gap is not None:
            self._fill(planes, parted, *gap)
        return planes

    def carried(self, pose: Pose, places: Floats) -> Floats:
        """Where the head of a pose takes these places of the portrait, shares of the side [places, 2]; what mouth and
        eyes do besides is not in it."""
        return self._sheet.carried(pose, places)

    def _mouth(self, pose: Pose, mouth: Mouth) -> Parted:
        size = self._shared.face.unit
        wanted = (mouth, round(pose.smile - AT_REST.smile, 4), round(pose.aside / size * 0.5, 4))
        if wanted != self._spoken:
            self._spoken, self._parted = wanted, self._shared.lips.moved(*wanted)
        return self._parted

    def _where(self, box: Box, x: Floats, y: Floats) -> Box:
        """A box that lies around a feature of the portrait, where the head has taken it."""
        middle_x, middle_y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
        row = min(max(middle_y - self._box.y0, 0), x.shape[0] - 1)
        column = min(max(middle_x - self._box.x0, 0), x.shape[1] - 1)
        scale = self._shared.size_px / self._shared.source_px
        taken = (self._box.x0 + column - scale * x[row, column], self._box.y0 + row - scale * y[row, column])
        dx, dy = (round(float(value) / 2) * 2 for value in taken)
        return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy).clipped(self._box)

    def _add_mouth(self, parted: Parted, x: Floats, y: Floats) -> tuple[Box, Floats, Floats, Floats] | None:
        """Add the mouth's displacements to the map. If it is open: a box around it; depth in the gap, u and v there."""
        grid, box = self._shared.lips.grid, self._where(self._mouth_box, x, y)
        here = box.within(self._box)
        gap = self._where(self._gap_box, x, y)
        column, row = grid.places(x[here], y[here], self._shared.source_px)
        field = looked_up(parted.field, column, row)
        x[here] += field[..., 0]
        y[here] += field[..., 1]
        if float(parted.field[..., 2].max()) <= LEAST_GAP_PX:
            return None
        inner_box = gap.clipped(box)
        inner = inner_box.within(box)
        # Outside of the grid a look-up gives 0, as deep as the edge of the gap: nothing of it shows.
        u = grid.u[0] + column[inner] * (grid.u[1] - grid.u[0])
        v = grid.v[0] + row[inner] * (grid.v[1] - grid.v[0])
        return inner_box, field[..., 2][inner], u, v

    def _add_eye(self, which: int, eye: Eye, pose: Pose, x: Floats, y: Floats) -> None:
        wanted = (round(max(0.0, pose.lids), 3), round(pose.gaze_x, 3), round(pose.gaze_y, 3))
        told, fields = self._eyes[which]
        if wanted != told:
            fields = None if wanted == (0.0, 0.0, 0.0) else eye.moved(*wanted)
            self._eyes[which] = (wanted, fields)
        if fields is None:
            return
        here = self._where(self._eye_boxes[which], x, y).within(self._box)
        places = eye.grid.places(x[here], y[here], self._shared.source_px)
        moved = looked_up(fields[0], *places)
        if fields[1] is not None:
            # A lid lies over the eye: at its edge nothing in between exists.
            lid = looked_up(fields[1], *places)
            moved = np.where(lid[..., 2:] < 0.0, lid[..., :2], moved)
        x[here] += moved[..., 0]
        y[here] += moved[..., 1]

    def _fill(self, planes: Planes, parted: Parted, box: Box, deep: Floats, u: Floats, v: Floats) -> None:
        """Draw what shows between the lips over the picture, darker towards the lips."""
        size = self._shared.size_px
        cover = np.clip(deep / np.float32(SOFT_PX), 0.0, 1.0)
        inside = np.flatnonzero(cover.max(axis=1) > 0.0)
        sides = np.flatnonzero(cover.max(axis=0) > 0.0)
        if not len(inside):
            return
        r0, r1 = int(inside[0]) // 2 * 2, min(len(cover), (int(inside[-1]) + 2) // 2 * 2)
        c0, c1 = int(sides[0]) // 2 * 2, min(cover.shape[1], (int(sides[-1]) + 2) // 2 * 2)
        part = slice(r0, r1), slice(c0, c1)
        cover, deep = cover[part], deep[part]
        seen = self._shared.inside.at(u[part], v[part], parted)
        soft = self._shared.face.unit * size
        shade = np.float32(0.55) + np.float32(0.45) * np.clip(deep / np.float32(0.10 * soft), 0.0, 1.0)
        seen[..., 0] = (seen[..., 0] - np.float32(16.0)) * shade + np.float32(16.0)
        y0, x0 = box.y0 + r0, box.x0 + c0
        tall, wide = cover.shape
        luma = planes[y0 : y0 + tall, x0 : x0 + wide]
        luma[:] = _blended(luma, seen[..., 0], cover)
        stacked = np.dstack([seen[..., 1:], cover]).astype(np.float32)
        small = np.asarray(cv2.resize(stacked, (wide // 2, tall // 2), interpolation=cv2.INTER_AREA), np.float32)
        halves = planes[size:].reshape(size, size // 2)
        for plane, top in ((0, 0), (1, size // 2)):
            chroma = halves[top + y0 // 2 : top + (y0 + tall) // 2, x0 // 2 : (x0 + wide) // 2]
            chroma[:] = _blended(chroma, small[..., plane], small[..., 2])


def _blended(below: Bytes, above: Floats, cover: Floats) -> Bytes:
    mixed = below + cover * (above - below)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)
