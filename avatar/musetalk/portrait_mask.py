"""How much of the generated face shows: MuseTalk v1.5's jaw mask, from the face mesh instead of a face parser.

MuseTalk looks at a square of 1.5 times the box, parsed at 512 px: skin, grown upwards and a little downwards, its
cheeks narrowed, without the nose, with the mouth; of that the part inside the box and below its middle, feathered. The
steps and their sizes here are the same; skin is the mesh's oval, nose and mouth are its outlines. So what lies over the
skin (hair, a hand, a microphone) is not left out, as the parser would.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from avatar.musetalk.portrait_landmarks import Box
from avatar.portrait_detect import FaceMesh

Bytes = npt.NDArray[np.uint8]

PARSED_PX = 512
EXPAND = 1.5
CHEEK_PX = 90
"""Half the width, of 512, in which the chin is not narrowed."""
FEATHER = 0.1
"""The feather's kernel, as a share of the square's side."""
HIGHEST = 0.42
"""No part of the face above this share of the box is ever shown: the decoder need not compute it."""

OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
NOSE = (6, 196, 198, 129, 64, 98, 97, 2, 326, 327, 294, 358, 420, 419)
MOUTH = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""Mesh points around skin, nose and lips."""

_CONE_ROWS, _TAIL_ROWS = 21, 12


def jaw_mask(mesh: FaceMesh, box: Box) -> Bytes:
    """uint8 [box height, box width]: 0 where the picture stays as it is, 255 where the generated face shows alone."""
    left, top, right, bottom = box
    middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
    half = max(1, int(max(right - left, bottom - top) // 2 * EXPAND))
    corner, scale = np.array([middle_x - half, middle_y - half], np.float32), np.float32(PARSED_PX / (2 * half))
    points = (mesh.points[:, :2] - corner) * scale

    shown = cv2.dilate(_filled(points, OVAL), _growing())
    narrowed = cv2.erode(shown, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2)
    chin = slice(PARSED_PX // 2 - CHEEK_PX + 1, PARSED_PX // 2 + CHEEK_PX)
    narrowed[:, chin] = shown[:, chin]
    narrowed[_filled(points, NOSE) > 0] = 0
    narrowed[_filled(points, MOUTH) > 0] = 255

    square = cv2.resize(narrowed, (2 * half, 2 * half), interpolation=cv2.INTER_LINEAR)
    lower = np.zeros_like(square)
    rows = slice(max(half, 0), bottom - middle_y + half)
    columns = slice(left - middle_x + half, right - middle_x + half)
    lower[rows, columns] = square[rows, columns]
    # A box wider than high would feather further up than the decoder computes.
    side = min(2 * half, int(EXPAND * (bottom - top)))
    kernel = int(FEATHER * side // 2 * 2) + 1
    feathered = cv2.GaussianBlur(lower, (kernel, kernel), 0)
    mask = feathered[top - middle_y + half : bottom - middle_y + half, columns].copy()
    mask[: math.ceil(HIGHEST * (bottom - top))] = 0
    return np.asarray(mask, np.uint8)


def _filled(points: npt.NDArray[np.float32], outline: tuple[int, ...]) -> Bytes:
    area = np.zeros((PARSED_PX, PARSED_PX), np.uint8)
    cv2.fillPoly(area, [np.rint(points[list(outline)]).astype(np.int32)], 255)
    return area


def _growing() -> Bytes:
    """MuseTalk's kernel: a cone that widens downwards, then a column. Skin grows by its 16 rows up and 6 down."""
    kernel = np.zeros((_CONE_ROWS + _TAIL_ROWS,) * 2, np.uint8)
    middle = kernel.shape[1] // 2
    for row in range(_CONE_ROWS // 2, kernel.shape[0]):
        reach = min(row, _CONE_ROWS - 1) - _CONE_ROWS // 2
        kernel[row, middle - reach : middle + reach + 1] = 1
    return kernel
