"""One picture of the figure: a pose and a mouth in, I420 planes out.

Eyes and mouth are composed into this rig's own copy of the painting, the mesh moves the whole of it, and it is laid
over the backdrop: luma and the two chroma planes once each, nothing in colour spaces that no encoder wants.
"""

from __future__ import annotations

import cv2
import numpy as np

from avatar.frames import Planes
from avatar.puppet import anatomy as at
from avatar.puppet.look import Look
from avatar.puppet.mesh import Area, Mesh, Plane
from avatar.puppet.motion import AT_REST, Pose
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.painting import paint
from avatar.puppet.planes import Bytes
from avatar.renderer import RendererError

SMALLEST_PX, LARGEST_PX = 256, 1024
SHOULDERS_FROM = 0.80
"""Above this height only the head's columns move; below it the whole width does."""
SWAY, TILT = 0.045, 0.115
"""How far any pose carries the head sideways, and by how many radians it tilts it."""


class Rig:
    """Draws one conversation's figure. Not for two threads at once.

    Raises:
        RendererError: the size is odd or out of bounds.
    """

    def __init__(self, look: Look, size_px: int) -> None:
        if size_px % 2 or not SMALLEST_PX <= size_px <= LARGEST_PX:
            raise RendererError(f"a puppet of {size_px} px cannot be drawn: even sizes, {SMALLEST_PX} to {LARGEST_PX}")
        self._size_px = size_px
        self._painting = paint(look, size_px)
        self._mesh = Mesh(size_px, self._painting.side)
        self._areas = areas(self._painting.tint[..., 2], size_px)
        # At rest the mouth is the same picture after picture, and eyes are still more often than not.
        self._spoken = (REST, AT_REST.smile, AT_REST.aside)
        self._lips = self._painting.lips.compose(*self._spoken)
        self._seen = (AT_REST.lids, AT_REST.gaze_x, AT_REST.gaze_y)
        self._eyes = self._painting.eyes.compose(*self._seen)
        self._luma = self._painting.luma.copy()
        self._tint = self._painting.tint.copy()
        # Of the picture, at chroma's size: kept, as the mesh's buffers are. No area covers all of it, and beyond them
        # the sheet has ended.
        self._moved: Bytes = np.full((size_px // 2, size_px // 2, 4), 255, np.uint8)
        self._beyond: Bytes = np.empty((size_px // 2, size_px // 2), np.uint8)
        self._sheet: Bytes = np.empty_like(self._beyond)

    def draw(self, pose: Pose, mouth: Mouth) -> Planes:
        """I420, uint8 [size * 3 // 2, size]: a function of its arguments alone."""
        painting = self._painting
        spoken, seen = (mouth, pose.smile, pose.aside), (pose.lids, pose.gaze_x, pose.gaze_y)
        if spoken != self._spoken:
            self._spoken, self._lips = spoken, painting.lips.compose(*spoken)
        if seen != self._seen:
            self._seen, self._eyes = seen, painting.eyes.compose(*seen)
        (lips_luma, lips_chroma, jaw), (eyes_luma, eyes_chroma) = self._lips, self._eyes
        window = painting.eyes.window
        self._luma[window.luma] = eyes_luma
        self._tint[window.chroma][..., :2] = np.moveaxis(eyes_chroma.reshape(2, window.height // 2, -1), 0, -1)
        window = painting.lips.window
        self._luma[window.luma] = lips_luma
        self._tint[window.chroma][..., :2] = np.moveaxis(lips_chroma.reshape(-1, 2, window.width // 2), 1, -1)
        size, half = self._size_px, self._size_px // 2
        planes = np.empty((size * 3 // 2, size), np.uint8)
        laid, behind = ((whole[:size], *whole[size:].reshape(2, half, half)) for whole in (planes, painting.backdrop))
        # Chroma first: with it comes where the sheet is, and luma is moved only there.
        sources = self._mesh.sources(pose, jaw)
        self._mesh.warp(sources, Plane(self._tint, self._moved, 2), self._areas)
        cv2.split(self._moved, [*laid[1:], self._beyond, self._sheet])
        cv2.threshold(self._beyond, 127, 255, cv2.THRESH_BINARY, dst=self._beyond)
        cv2.bitwise_not(self._beyond, dst=self._sheet)
        self._mesh.warp(sources, Plane(self._luma, laid[0], 1), [self._reached(area) for area in self._areas])
        # Two pixels of a row as one number: so luma, too, is laid with chroma's mask.
        still, plane = behind[0].view(np.uint16), laid[0].view(np.uint16)
        halves = (still[0::2], plane[0::2]), (still[1::2], plane[1::2])
        for still, plane in (*halves, *zip(behind[1:], laid[1:], strict=True)):
            cv2.copyTo(still, self._beyond, plane)
        return planes

    def _reached(self, area: Area) -> Area:
        """What the sheet covers of an area in this picture."""
        left, top, width, height = (2 * px for px in cv2.boundingRect(self._sheet[area.at(2)]))
        return Area(area.top + top, area.left + left, area.top + top + height, area.left + left + width)


def areas(beyond: Bytes, size_px: int) -> tuple[Area, ...]:
    """The parts of a picture in which the sheet can ever be: the head's columns, and everything at shoulder height."""
    shoulders = round(SHOULDERS_FROM * size_px) // 4 * 4
    count = len(beyond)
    head = beyond[: int(SHOULDERS_FROM * count)] < 128
    far = [SWAY + TILT * abs(at.NECK_PIVOT_Y - row / count) for row in range(len(head))]
    ends = [np.flatnonzero(row) / count for row in head]
    used = [(row[0] - reach, row[-1] + 1.0 / count + reach) for row, reach in zip(ends, far, strict=True) if len(row)]
    left = max(0, int(min(start for start, _ in used) * size_px) // 4 * 4)
    right = min(size_px, -(-int(max(end for _, end in used) * size_px) // 4) * 4)
    return Area(0, left, shoulders, right), Area(shoulders, 0, size_px, size_px)
