"""A single picture into the pictures of an idle cycle: the portrait's own idle life, drawn ahead.

In: the portrait (picture, mesh, curves). Out: for each tick of a loop the picture and the mesh in it, as a video would
give them. The photo portrait's rig draws them: head, breath, eyes and blinks move, the mouth does not. The last picture
leads into the first.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from avatar.frames import FPS
from avatar.photo.rig import PhotoRig, prepared
from avatar.portrait_curves import Curves
from avatar.portrait_detect import FaceMesh
from avatar.puppet.loop import looped
from avatar.puppet.mouth import REST

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

LOOP_TICKS = 8 * FPS
"""Two breaths, two blinks. A frame costs the GPU about 2 MB."""
SEED = 11
"""Of the loops there are, one whose blinks lie unevenly, as people's do."""


def idle_pictures(
    picture: Bytes, mesh: FaceMesh, curves: Curves, size_px: int, ticks: int = LOOP_TICKS
) -> Iterator[tuple[Bytes, FaceMesh]]:
    """BGR [size_px, size_px, 3] for each tick of the loop, and the face's mesh in px of it.

    Args:
        picture: square, BGR. mesh, curves: in px of it.

    Raises:
        RendererError: the size cannot be drawn.
    """
    rig = PhotoRig(prepared(picture, mesh, curves, size_px))
    scale = np.float32(1.0 / picture.shape[0])
    points, irises = mesh.points * scale, mesh.irises * scale
    for tick in range(ticks):
        pose = looped(tick, ticks, SEED)
        body = rig.draw(pose, REST)
        moved = rig.carried(pose, np.vstack([points[:, :2], irises.reshape(-1, 2)])) * np.float32(size_px)
        depth = points[:, 2:] * np.float32(size_px)
        yield (
            np.asarray(cv2.cvtColor(body, cv2.COLOR_YUV2BGR_I420), np.uint8),
            FaceMesh(
                np.hstack([moved[: len(points)], depth]).astype(np.float32),
                moved[len(points) :].reshape(irises.shape).astype(np.float32),
                mesh.presence,
            ),
        )
