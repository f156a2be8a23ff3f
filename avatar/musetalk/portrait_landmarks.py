"""From the face mesh to what MuseTalk was trained with: the 68 landmarks, and the face box made of them. Only numpy.

MuseTalk takes points 23 to 90 of a COCO-WholeBody detector, which are iBUG's 68: jaw 0-16, brows 17-26, nose bridge
27-30, nostrils 31-35, eyes 36-47, lips 48-67. Here they are read off MediaPipe's mesh:

- eyes, lips, brows and nostrils have vertices of their own there;
- the jaw is the mesh's face oval from ear to ear, cut into 16 equal lengths. Annotators put the visible jaw line, which
  lies a little inside the mesh's oval where a cheek turns away;
- the bridge is the mesh's middle line from between the eyes (168) to the tip (4), cut into 3 equal lengths. iBUG's
  annotators spread points 28 and 29 by eye, so 29, on which the box is centred, may lie some hundredths of the face's
  height above or below theirs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avatar.portrait_detect import FaceMesh

Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, px; right and bottom exclusive."""

COUNT = 68
MARGIN_PX = 10
"""MuseTalk v1.5 adds so much below the chin, whatever the picture's size (``extra_margin``)."""

_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
        377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)  # fmt: skip
_BRIDGE = (168, 6, 197, 195, 5, 4)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSTRILS = (98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)


def landmarks_68(mesh: FaceMesh) -> Floats:
    """float32 [68, 2], px of the mesh's picture, in iBUG's order: the left of the picture first."""
    points = mesh.points[:, :2]
    half = _JAW.index(152)
    # Each half of the jaw by itself, so that point 8 is the chin.
    jaw = np.vstack([_evenly(points[list(_JAW[: half + 1])], 9)[:-1], _evenly(points[list(_JAW[half:])], 9)])
    rest = points[[*_NOSTRILS, *_EYES, *_LIPS]]
    return np.vstack([jaw, points[list(_BROWS)], _evenly(points[list(_BRIDGE)], 4), rest]).astype(np.float32)


def face_box(landmarks: Floats, width: int, height: int) -> Box | None:
    """The face box as MuseTalk v1.5 computes it, clipped to the picture; None where that leaves nothing.

    Its sides are the landmarks' own, its bottom the lowest of them and `MARGIN_PX`; its top lies as far above the nose
    bridge (point 29) as the lowest landmark lies below it.
    """
    points = np.trunc(landmarks).astype(np.int64)
    lowest, bridge = int(points[:, 1].max()), int(points[29, 1])
    left, right = int(points[:, 0].min()), int(points[:, 0].max())
    top = max(0, bridge - (lowest - bridge))
    if left < 0 or right <= left or lowest <= top or lowest <= bridge:
        return None
    box = left, top, min(right, width), min(lowest + MARGIN_PX, height)
    return box if box[0] < box[2] and box[1] < box[3] else None


def _evenly(line: Floats, count: int) -> Floats:
    """``count`` points at equal lengths along a line, its ends among them."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], axis=1).astype(np.float32)
