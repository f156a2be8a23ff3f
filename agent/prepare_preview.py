"""The preview of a portrait, for people: what was found in the picture, and the same face speaking.

In: a portrait's picture, mesh and curves. Out: a PNG: the picture with the mesh, its box, lips and lids as followed,
and the portrait at /a/, at /u/, and with its eyes shut. No renderer reads it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from avatar.photo.rig import PhotoRig, prepared
from avatar.portrait import png_of
from avatar.portrait_curves import Curves
from avatar.portrait_detect import FaceMesh
from avatar.puppet.motion import AT_REST, Pose
from avatar.puppet.mouth import REST, Mouth

Bytes = npt.NDArray[np.uint8]

SIDE_PX = 384
SHOWN = (
    (AT_REST, Mouth(jaw=0.9)),
    (AT_REST, Mouth(jaw=0.3, rounding=1.0, spread=-0.7)),
    (Pose(smile=AT_REST.smile, lids=1.0), REST),
)
BOX, MESH, LIPS, LIDS = (60, 200, 60), (210, 210, 210), (80, 80, 255), (255, 200, 40)
"""Colours, BGR."""


def preview_of(picture: Bytes, mesh: FaceMesh, curves: Curves) -> bytes:
    """A PNG of `SIDE_PX` by four times that."""
    rig = PhotoRig(prepared(picture, mesh, curves, SIDE_PX))
    shown = [_found(picture, mesh, curves)]
    for pose, mouth in SHOWN:
        shown.append(np.asarray(cv2.cvtColor(rig.draw(pose, mouth), cv2.COLOR_YUV2BGR_I420), np.uint8))
    return png_of(np.hstack(shown))


def _found(picture: Bytes, mesh: FaceMesh, curves: Curves) -> Bytes:
    """The picture with everything that was found drawn over it."""
    scale = SIDE_PX / picture.shape[0]
    image = cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    points = mesh.points[:, :2] * scale
    for x, y in points:
        cv2.circle(image, (round(float(x)), round(float(y))), 1, MESH, cv2.FILLED)
    low, high = points.min(axis=0), points.max(axis=0)
    corners = [(round(float(x)), round(float(y))) for x, y in (low, high)]
    cv2.rectangle(image, corners[0], corners[1], BOX, 1, cv2.LINE_AA)
    lips = (curves.lip_top, curves.lip_upper, curves.lip_lower, curves.lip_bottom)
    for lines, colour in ((lips, LIPS), ((*curves.lid_upper, *curves.lid_lower), LIDS)):
        for line in lines:
            cv2.polylines(image, [np.rint(line * scale).astype(np.int32)], False, colour, 1, cv2.LINE_AA)
    return np.asarray(image, np.uint8)
