"""The preview of a portrait, for people: what was found in the picture, and the same face speaking.

In: a portrait's picture, mesh and curves. Out: a PNG: the picture with the mesh, its box, lips and lids as followed,
and the portrait at /a/, at /u/, and with its eyes shut; below, where it was prepared for MuseTalk, pictures of its idle
cycle with face box and mask. No renderer reads it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from avatar.musetalk.portrait_frames import PreparedFrames
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


def preview_of(picture: Bytes, mesh: FaceMesh, curves: Curves, frames: PreparedFrames | None = None) -> bytes:
    """A PNG of `SIDE_PX` by four times that; twice as high where it was prepared for MuseTalk too."""
    rig = PhotoRig(prepared(picture, mesh, curves, SIDE_PX))
    shown = [_found(picture, mesh, curves)]
    for pose, mouth in SHOWN:
        shown.append(np.asarray(cv2.cvtColor(rig.draw(pose, mouth), cv2.COLOR_YUV2BGR_I420), np.uint8))
    rows = [np.hstack(shown)]
    if frames is not None:
        below = np.zeros_like(rows[0])
        strip = preview_for_musetalk(frames)[:, : below.shape[1]]
        below[:, : strip.shape[1]] = strip
        rows.append(below)
    return png_of(np.asarray(np.vstack(rows), np.uint8))


def preview_for_musetalk(frames: PreparedFrames) -> Bytes:
    """BGR, `SIDE_PX` high: four pictures of the idle cycle with the landmarks, the face box, and the mask in red."""
    count = len(frames.bodies)
    shown = []
    for n in dict.fromkeys(round(k * (count - 1) / 3) for k in range(4)):
        image = cv2.cvtColor(frames.bodies[n], cv2.COLOR_YUV2BGR_I420)
        left, top, right, bottom = frames.boxes[n]
        share = frames.masks[n][..., None] / np.float32(255.0 * 2)
        part = image[top:bottom, left:right]
        part[:] = np.rint(part * (1 - share) + np.array(LIPS, np.float32) * share).astype(np.uint8)
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), BOX, 1, cv2.LINE_AA)
        for x, y in frames.landmarks[n]:
            cv2.circle(image, (round(float(x)), round(float(y))), 1, MESH, cv2.FILLED)
        height = image.shape[0]
        shown.append(cv2.resize(image, (image.shape[1] * SIDE_PX // height, SIDE_PX), interpolation=cv2.INTER_AREA))
    return np.asarray(np.hstack(shown), np.uint8)


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
