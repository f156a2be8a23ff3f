"""Moves a curve of the face mesh to the edge that is really in the picture.

In: a picture, a curve's two ends, and the upper and lower edges of something (an eye, a mouth) as the mesh has them.
Out: the same edges where the colour changes from skin to what is not skin. The edge is the best path through a small
upright patch (Viterbi): strong where the colour changes, smooth, and near the mesh's own line.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

HALF_U, HALF_V = 1.9, 1.15
"""How much of the picture around the feature is looked at, in half widths of the feature."""
STEP = 1.0 / 48.0
"""A patch's pixel, in half widths."""
STIFF = 0.12
"""What a step of one pixel from column to column costs, against evidence of at most 1."""
CORE = 0.6
"""This much of a feature, around its middle, is never its corner."""
LEAST_OPENING = 0.03
BRIDGE = 1.2
"""Columns that look like skin within a feature, in half widths, over which it goes on."""
LEAST_CONTRAST = 6.0
"""Lab units between a feature and the skin around it, below which the mesh is believed instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """An upright piece of a picture around a feature that lies between two points.

    Args:
        lab: float32 [rows, columns, 3]. u: [columns], v: [rows], -1 and 1 at the two points.
        inward, outward: 2 x 3 matrices from px of the picture to (u, v) and back.
    """

    lab: Floats
    u: Floats
    v: Floats
    inward: Floats
    outward: Floats

    @classmethod
    def between(cls, image: Bytes, left: Floats, right: Floats) -> Patch:
        half = (right - left) / np.float32(2.0)
        middle = (right + left) / np.float32(2.0)
        outward = np.array([[half[0], -half[1], middle[0]], [half[1], half[0], middle[1]]], np.float32)
        inverse = np.linalg.inv(np.vstack([outward, [0.0, 0.0, 1.0]]).astype(np.float64))
        u = np.arange(-HALF_U, HALF_U + STEP / 2, STEP, dtype=np.float32)
        v = np.arange(-HALF_V, HALF_V + STEP / 2, STEP, dtype=np.float32)
        grid_u, grid_v = np.meshgrid(u, v)
        x = outward[0, 0] * grid_u + outward[0, 1] * grid_v + outward[0, 2] - np.float32(0.5)
        y = outward[1, 0] * grid_u + outward[1, 1] * grid_v + outward[1, 2] - np.float32(0.5)
        seen = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        lab = cv2.cvtColor(np.asarray(seen, np.float32) / np.float32(255.0), cv2.COLOR_BGR2Lab)
        return cls(np.asarray(lab, np.float32), u, v, inverse[:2].astype(np.float32), outward)

    def line(self, points: Floats) -> Floats:
        """A curve's heights v at every column; 0 beyond its ends."""
        own = points @ self.inward[:, :2].T + self.inward[:, 2]
        order = np.argsort(own[:, 0])
        return np.asarray(np.interp(self.u, own[order, 0], own[order, 1], left=0.0, right=0.0), np.float32)

    def points(self, u: Floats, v: Floats) -> Floats:
        """(u, v) as px of the picture, [n, 2]."""
        return np.asarray(np.stack([u, v], axis=1) @ self.outward[:, :2].T + self.outward[:, 2], np.float32)

    def unlike_skin(self, upper: Floats, lower: Floats, light: float) -> Floats:
        """How far each pixel's colour is from that of the skin around the feature.

        Args:
            upper, lower: the feature's edges, heights by column. light: weight of lightness against colour.
        """
        v = self.v[:, None]
        beside = np.abs(self.u)[None] < 1.0
        around = beside & (((v > lower + 0.35) & (v < lower + 0.7)) | ((v < upper - 0.35) & (v > upper - 0.6)))
        weights = np.array([light, 1.0, 1.0], np.float32)
        skin = np.median(self.lab[around], axis=0)
        return np.asarray(np.sqrt((((self.lab - skin) * weights) ** 2).sum(axis=2)), np.float32)


def followed(evidence: Floats, prior: Floats, reach: float, v: Floats) -> Floats:
    """The best path through ``evidence`` [rows, columns], near ``prior`` (heights by column), as heights by column."""
    rows, columns = evidence.shape
    away = (v[:, None] - prior[None]) / np.float32(reach)
    gain = evidence - np.float32(0.35) * away**2 - np.float32(4.0) * (np.abs(away) > 1.0)
    best = gain[:, 0].copy()
    came = np.zeros((rows, columns), np.int8)
    shifts = np.array([0, -1, 1, -2, 2], np.int8)
    for column in range(1, columns):
        options = np.full((len(shifts), rows), -np.inf, np.float32)
        for k, shift in enumerate(shifts):
            source = slice(max(0, int(shift)), rows + min(0, int(shift)))
            target = slice(max(0, -int(shift)), rows + min(0, -int(shift)))
            options[k, target] = best[source] - np.float32(STIFF * abs(int(shift)))
        chosen = options.argmax(axis=0)
        came[:, column] = shifts[chosen]
        best = options[chosen, np.arange(rows)] + gain[:, column]
    path = np.empty(columns, np.int64)
    path[-1] = int(best.argmax())
    for column in range(columns - 1, 0, -1):
        path[column - 1] = path[column] + came[path[column], column]
    heights = v[path]
    kernel = np.hanning(9)[1:-1]
    return np.convolve(np.pad(heights, 3, mode="edge"), kernel / kernel.sum(), mode="valid").astype(np.float32)


def edges(patch: Patch, unlike: Floats, upper: Floats, lower: Floats, reach: float) -> tuple[Floats, Floats] | None:
    """Where skin ends above and begins below, heights by column; None where there is no clear feature."""
    v, core = patch.v[:, None], (np.abs(patch.u) < CORE)[None]
    inside = unlike[(v > upper) & (v < lower) & core]
    strong = float(np.percentile(inside, 75)) if inside.size else 0.0
    if strong < LEAST_CONTRAST:
        return None
    soft = cv2.GaussianBlur(np.minimum(unlike, np.float32(1.5 * strong)), (0, 0), 1.5)
    slope = np.gradient(soft, axis=0) * np.float32(8.0 / strong)
    top = followed(np.clip(slope, 0.0, 1.0), upper, reach, patch.v)
    bottom = followed(np.clip(-slope, 0.0, 1.0), np.maximum(lower, top + 0.04), reach, patch.v)
    return top, np.maximum(bottom, top)


def extent(patch: Patch, unlike: Floats, top: Floats, bottom: Floats) -> tuple[int, int]:
    """First and last column of the feature: while what lies between its edges is not skin."""
    v = patch.v[:, None]
    inside = (v >= top) & (v <= bottom)
    count = np.maximum(1, inside.sum(axis=0))
    strength = np.where(inside.sum(axis=0) >= 2, (unlike * inside).sum(axis=0) / count, 0.0)
    least = 0.45 * float(np.median(strength[np.abs(patch.u) < CORE]))
    there = (strength > least) & (bottom - top > LEAST_OPENING)
    # An iris may be as dark as the skin around the eye: it is bridged, but not what lies beyond the mesh's own corners.
    bridge = np.ones((1, 1 + round(BRIDGE / STEP)), np.uint8)
    bridged = cv2.morphologyEx(there.astype(np.uint8)[None], cv2.MORPH_CLOSE, bridge)[0] > 0
    there |= bridged & (np.abs(patch.u) < 1.0)
    first, last = (int(np.abs(patch.u - end).argmin()) for end in (-CORE, CORE))
    while first > 0 and bool(there[first - 1]):
        first -= 1
    while last < len(patch.u) - 1 and bool(there[last + 1]):
        last += 1
    return first, last
