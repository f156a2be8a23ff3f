"""From a face mesh to the curves that move: lips and lids, followed in the pixels where the mesh is a little off.

In: a picture and its `FaceMesh`. Out: `Curves`, in px of the picture. The mesh was trained on photographs; on a drawing
its lips lie up to a tenth of a mouth beside the drawn ones. So each curve is moved to what is really there: the dark
line between closed lips, the edge of the lips' colour, the dark edge of the upper lid, the edge of the lower one. Where
nothing clear is found it stays where the mesh has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from avatar.portrait_detect import FaceMesh
from avatar.portrait_follow import Patch, edges, extent, followed

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SAMPLES = 33
"""Points of every curve, from its left end to its right one as seen in the picture."""

LIP_TOP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LIP_UPPER = (61, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 291)
LIP_LOWER = (61, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 291)
LIP_BOTTOM = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
"""Mesh points along the lips: upper edge, the edges that meet when the mouth is shut, lower edge."""
LID_UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LID_LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
"""Of the eye at the picture's left and of the one at its right."""
SHUT_GAP = 0.09
"""Lips whose inner edges are no further apart than this share of the mouth's width are shut."""

EYE_REACH, LIP_REACH = 0.45, 0.30
"""How far from the mesh an edge is looked for, in half widths of the eye or mouth."""
LARGER = 1.12
"""The mesh's lids are better than what can be followed, unless an eye is this much larger than it has them."""
LASHES = 0.10
LEAST_CHROMA = 8.0
"""Lab units of colour in a face below which a picture counts as grey."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """What moves in a face: float32 [`SAMPLES`, 2] each, px, from left to right.

    Args:
        lip_top, lip_upper, lip_lower, lip_bottom: all four begin and end at the corners of the mouth.
        lid_upper, lid_lower: of the eye at the picture's left, then of the other.
    """

    lip_top: Floats
    lip_upper: Floats
    lip_lower: Floats
    lip_bottom: Floats
    lid_upper: tuple[Floats, Floats]
    lid_lower: tuple[Floats, Floats]


def find_curves(image: Bytes, mesh: FaceMesh) -> Curves:
    """The curves of a face in a BGR picture."""
    points = mesh.points[:, :2]
    meshed = [(points[list(LID_UPPER[eye])], points[list(LID_LOWER[eye])]) for eye in (0, 1)]
    drawn = [_drawn_lids(image, *lids) for lids in meshed]
    # Eyes come in pairs: what was followed at one eye only is a shadow.
    lids = [
        (_sampled(upper), _sampled(lower)) if followed_ is None or any(other is None for other in drawn) else followed_
        for (upper, lower), followed_ in zip(meshed, drawn, strict=True)
    ]
    lips = _lips(image, *(points[list(row)] for row in (LIP_TOP, LIP_UPPER, LIP_LOWER, LIP_BOTTOM)))
    return Curves(*lips, (lids[0][0], lids[1][0]), (lids[0][1], lids[1][1]))


def _drawn_lids(image: Bytes, upper: Floats, lower: Floats) -> tuple[Floats, Floats] | None:
    """Upper and lower lid of an eye that is drawn larger than people's are, which the mesh has too small; else None."""
    patch = Patch.between(image, upper[0], upper[-1])
    high, low = patch.line(upper), patch.line(lower)
    unlike = patch.unlike_skin(high, low, light=0.8)
    # How wide it is, along its middle; then its edges, in a patch of that width.
    first, last = extent(patch, unlike, np.full_like(high, -0.15), np.full_like(low, 0.15))
    if first == 0 or last == len(patch.u) - 1:
        return None  # nothing bounds it: a shadow
    ends = patch.points(patch.u[[first, last]], np.zeros(2, np.float32))
    wider = float(patch.u[last] - patch.u[first]) / 2
    patch = Patch.between(image, ends[0], ends[1])
    unlike = patch.unlike_skin(high, low, light=0.8)
    found = edges(patch, unlike, high, low, EYE_REACH)
    if found is None:
        return None
    top, bottom = found
    core = np.abs(patch.u) < 0.7
    if wider < 1.0 or wider * float((bottom - top)[core].mean()) < LARGER * float((low - high)[core].mean()):
        return None
    first, last = extent(patch, unlike, top, bottom)
    # The edge found is where the lashes begin; the lid ends below them.
    lid = np.minimum(top + LASHES, (top + bottom) / 2)
    return _closed(_between(patch, lid, first, last), _between(patch, bottom, first, last))


def _lips(
    image: Bytes, top: Floats, upper: Floats, lower: Floats, bottom: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """The four edges of the lips."""
    patch = Patch.between(image, top[0], top[-1])
    lines = [patch.line(line) for line in (top, upper, lower, bottom)]
    if float((lines[2] - lines[1]).max()) > 2 * SHUT_GAP:
        first, last = (int(np.abs(patch.u - end).argmin()) for end in (-1.0, 1.0))
        return _met(*(_between(patch, line, first, last) for line in lines))
    # The shadow under a nose is dark, but not red: colour tells lips from skin wherever there is any.
    colourful = float(np.hypot(*np.median(patch.lab[..., 1:].reshape(-1, 2), axis=0))) > LEAST_CHROMA
    unlike = patch.unlike_skin(lines[0], lines[3], light=0.15 if colourful else 0.5)
    found = edges(patch, unlike, lines[0], lines[3], LIP_REACH)
    first, last = (int(np.abs(patch.u - end).argmin()) for end in (-1.0, 1.0))
    if found is not None:
        first, last = extent(patch, unlike, *found)
        lines[0], lines[3] = found
    seam = _seam(patch, lines[0], lines[3])
    return _met(*(_between(patch, line, first, last) for line in (lines[0], seam, seam, lines[3])))


def _met(top: Floats, upper: Floats, lower: Floats, bottom: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The four edges, meeting in the corners of the mouth."""
    for end in (0, -1):
        corner = (upper[end] + lower[end]) / 2
        top[end] = upper[end] = lower[end] = bottom[end] = corner
    return top, upper, lower, bottom


def _closed(upper: Floats, lower: Floats) -> tuple[Floats, Floats]:
    """Two lids, meeting in the corners of the eye."""
    for end in (0, -1):
        upper[end] = lower[end] = (upper[end] + lower[end]) / 2
    return upper, lower


def _seam(patch: Patch, high: Floats, low: Floats) -> Floats:
    """The dark line where shut lips meet, heights by column."""
    light = cv2.GaussianBlur(patch.lab[..., 0], (0, 0), 1.2)
    around = cv2.blur(light, (1, 15))
    dark = around - light
    v = patch.v[:, None]
    inside = (v > high + 0.2 * (low - high)) & (v < high + 0.8 * (low - high))
    strong = max(2.0, float(np.percentile(dark[inside], 95)) if inside.any() else 2.0)
    evidence = np.where(inside, np.clip(dark / np.float32(strong), 0.0, 1.0), -1.0).astype(np.float32)
    middle = high + np.float32(0.45) * (low - high)
    return followed(evidence, middle, float(max(0.12, 0.4 * (low - high).max())), patch.v)


def _between(patch: Patch, line: Floats, first: int, last: int) -> Floats:
    """`SAMPLES` points of a line between two columns, px."""
    u = np.linspace(float(patch.u[first]), float(patch.u[last]), SAMPLES, dtype=np.float32)
    return patch.points(u, np.interp(u, patch.u, line).astype(np.float32))


def mouth_gap(curves: Curves) -> float:
    """How far apart the lips are at most, as a share of the mouth's width."""
    width = float(np.hypot(*(curves.lip_top[-1] - curves.lip_top[0])))
    return float(np.hypot(*(curves.lip_lower - curves.lip_upper).T).max()) / max(1e-6, width)


def eye_opening(curves: Curves, eye: int) -> float:
    """How far an eye is open, as a share of its width."""
    upper, lower = curves.lid_upper[eye], curves.lid_lower[eye]
    width = float(np.hypot(*(upper[-1] - upper[0])))
    return float(np.hypot(*(lower - upper).T).max()) / max(1e-6, width)


def _sampled(points: Sequence[Sequence[float]] | Floats) -> Floats:
    """`SAMPLES` points along a chain, evenly spaced over the line between its ends, slightly smoothed."""
    chain = np.asarray(points, np.float64)
    along = chain[-1] - chain[0]
    along = along / max(1e-6, float(np.hypot(*along)))
    across = np.array([-along[1], along[0]])
    places, heights = (chain - chain[0]) @ along, (chain - chain[0]) @ across
    order = np.argsort(places, kind="stable")
    wanted = np.linspace(0.0, places[-1], SAMPLES)
    found = np.interp(wanted, places[order], heights[order])
    found[1:-1] = 0.25 * found[:-2] + 0.5 * found[1:-1] + 0.25 * found[2:]
    return np.asarray(chain[0] + wanted[:, None] * along + found[:, None] * across, np.float32)
