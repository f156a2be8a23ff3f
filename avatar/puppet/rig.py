"""One picture of the figure: a pose and a mouth in, I420 planes out.

Eyes and mouth are composed into this rig's own copy of the painting, then the mesh moves the whole of it into the
picture: luma and the two chroma planes once each, nothing in colour spaces that no encoder wants.
"""

from __future__ import annotations

import numpy as np

from avatar.frames import Planes
from avatar.puppet.look import Look
from avatar.puppet.mesh import Mesh, Plane
from avatar.puppet.motion import AT_REST, Pose
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.painting import paint, source_side
from avatar.renderer import RendererError

SMALLEST_PX, LARGEST_PX = 256, 1024


class Rig:
    """Draws one conversation's figure. Not for two threads at once.

    Raises:
        RendererError: the size is odd or out of bounds.
    """

    def __init__(self, look: Look, size_px: int) -> None:
        if size_px % 2 or not SMALLEST_PX <= size_px <= LARGEST_PX:
            raise RendererError(f"a puppet of {size_px} px cannot be drawn: even sizes, {SMALLEST_PX} to {LARGEST_PX}")
        self._size_px = size_px
        self._painting = paint(look, source_side(size_px))
        self._mesh = Mesh(size_px, self._painting.side)
        # At rest the mouth is the same picture after picture.
        self._spoken = (REST, AT_REST.smile, AT_REST.aside)
        self._lips = self._painting.lips.compose(*self._spoken)
        self._luma = self._painting.luma.copy()
        self._chroma = self._painting.chroma.copy()

    def draw(self, pose: Pose, mouth: Mouth) -> Planes:
        """I420, uint8 [size * 3 // 2, size]: a function of its arguments alone."""
        painting, half_side = self._painting, self._painting.side // 2
        spoken = (mouth, pose.smile, pose.aside)
        if spoken != self._spoken:
            self._spoken, self._lips = spoken, painting.lips.compose(*spoken)
        lips_luma, lips_chroma, jaw = self._lips
        eyes_luma, eyes_chroma = painting.eyes.compose(pose.lids, pose.gaze_x, pose.gaze_y)
        for window, luma, chroma in (
            (painting.eyes.window, eyes_luma, eyes_chroma),
            (painting.lips.window, lips_luma, lips_chroma),
        ):
            self._luma[window.luma] = luma
            rows, columns = window.chroma
            middle = window.height // 2
            self._chroma[:half_side][rows, columns] = chroma[:middle]
            self._chroma[half_side:][rows, columns] = chroma[middle:]
        size = self._size_px
        planes = np.empty((size * 3 // 2, size), np.uint8)
        halves = planes[size:].reshape(size, size // 2)
        self._mesh.warp(
            pose,
            jaw,
            (
                Plane(self._luma, planes[:size], 1),
                Plane(self._chroma[:half_side], halves[: size // 2], 2),
                Plane(self._chroma[half_side:], halves[size // 2 :], 2),
            ),
        )
        return planes
