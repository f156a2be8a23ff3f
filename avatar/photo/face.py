"""Where a portrait's face is and how large: landmarks in, a few lengths and directions out, for all that moves it.

Lengths are shares of the picture's side, y points down. A face has axes of its own, so that a tilted one opens its
mouth along its own chin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avatar.portrait_curves import Curves
from avatar.portrait_detect import FaceMesh

Floats = npt.NDArray[np.float32]

CHIN, FOREHEAD, NOSE_TIP, NOSE_BASE = 152, 10, 4, 2
SIDES = (234, 454)
"""Mesh points at the ears, left and right as seen in the picture."""
BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))
INNER_BROWS = (107, 336)
CHEEKS = (205, 425)

MOUTH_OF_EYES = 0.40
"""Half an ordinary mouth's width, as a share of the distance between the pupils (25 of 63 mm)."""
MOUTH_OF_FACE = 0.133
"""And at least this share of the face's height from forehead to chin, which a turned head does not shorten."""


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """A frame of its own for a feature: ``u`` along it, ``v`` down across it, in units of ``scale``.

    Args:
        origin: [2]. along, down: unit vectors [2].
    """

    origin: Floats
    along: Floats
    down: Floats
    scale: float

    @classmethod
    def between(cls, left: Floats, right: Floats) -> Axes:
        """From -1 at ``left`` to 1 at ``right``."""
        half = (right - left) / np.float32(2.0)
        scale = max(1e-4, float(np.hypot(*half)))
        along = np.asarray(half / np.float32(scale), np.float32)
        return cls((left + right) / np.float32(2.0), along, np.array([-along[1], along[0]], np.float32), scale)

    def inward(self, points: Floats) -> Floats:
        """Shares [..., 2] to (u, v)."""
        away = (points - self.origin) / np.float32(self.scale)
        return np.stack([away @ self.along, away @ self.down], axis=-1)

    def outward(self, places: Floats) -> Floats:
        """(u, v) [..., 2] to shares."""
        scaled = places * np.float32(self.scale)
        return np.asarray(self.origin + scaled[..., :1] * self.along + scaled[..., 1:] * self.down, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One portrait's face.

    Args:
        points: [468, 2] mesh points. depth: [468], 0 at the ears and 1 at the tip of the nose.
        axes: origin between the eyes, ``u`` to the picture's right along them, ``scale`` 1.
        unit: half of the width that its mouth has at rest without a smile.
        height: from the top of the forehead to the chin.
        half_width: from the middle to an ear.
        lips: top, upper, lower, bottom edge, [4, SAMPLES, 2]. lids: of each eye (upper, lower), [2, 2, SAMPLES, 2].
        irises: [2, 5, 2].
    """

    points: Floats
    depth: Floats
    axes: Axes
    unit: float
    height: float
    half_width: float
    lips: Floats
    lids: Floats
    irises: Floats

    @classmethod
    def of(cls, side_px: int, mesh: FaceMesh, curves: Curves) -> Face:
        """Measure the face in a square picture; landmarks are px from its upper left edge."""
        side = np.float32(side_px)
        points = mesh.points[:, :2] / side
        irises = mesh.irises / side
        away = mesh.points[:, 2]
        ears = float(away[list(SIDES)].mean())
        depth = np.clip((ears - away) / np.float32(max(1e-3, ears - float(away[NOSE_TIP]))), 0.0, 1.0)
        eyes = irises[:, 0]
        level = eyes[1] - eyes[0]
        apart = float(np.hypot(*level))
        along = np.asarray(level / np.float32(max(apart, 1e-4)), np.float32)
        axes = Axes(eyes.mean(axis=0), along, np.array([-along[1], along[0]], np.float32), 1.0)
        height = float(np.hypot(*(points[CHIN] - points[FOREHEAD])))
        return cls(
            points,
            depth.astype(np.float32),
            axes,
            unit=max(MOUTH_OF_EYES * apart, MOUTH_OF_FACE * height),
            height=height,
            half_width=float(np.hypot(*(points[SIDES[1]] - points[SIDES[0]]))) / 2,
            lips=np.stack([curves.lip_top, curves.lip_upper, curves.lip_lower, curves.lip_bottom]) / side,
            lids=np.stack([np.stack(curves.lid_upper), np.stack(curves.lid_lower)], axis=1) / side,
            irises=irises,
        )
