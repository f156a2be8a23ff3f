"""A drawn face whose every landmark is known, because it is drawn from them: no photo, no model, no puppet."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from avatar.photo.rig import Prepared, prepared
from avatar.portrait import Consent, Portrait, Source, load_portrait, save_portrait
from avatar.portrait_curves import LID_LOWER, LID_UPPER, LIP_BOTTOM, LIP_LOWER, LIP_TOP, LIP_UPPER, SAMPLES, Curves
from avatar.portrait_detect import FaceMesh

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SKIN, LIPS, WHITE, IRIS, HAIR, BACK = (
    (150, 185, 230),
    (90, 80, 190),
    (250, 250, 250),
    (70, 110, 60),
    (30, 40, 60),
    (170, 160, 140),
)
"""Colours, BGR."""


def _arc(left: Floats, right: Floats, height: float, points: int) -> Floats:
    """From left to right over a hill (height below 0: upwards in the picture), [points, 2]."""
    t = np.linspace(-1.0, 1.0, points, dtype=np.float32)
    line = (left + right) / 2 + t[:, None] * (right - left) / 2
    line[:, 1] += height * (1.0 - t * t)
    return line.astype(np.float32)


def known_face(side: int = 512, tilt_deg: float = 0.0, parted: float = 0.0) -> tuple[Bytes, FaceMesh, Curves]:
    """A picture and what is in it, px.

    Args:
        parted: how far the lips are apart, shares of the side.
    """
    rng = np.random.default_rng(1)

    def px(x: float, y: float) -> Floats:
        return np.array([x * side, y * side], np.float32)

    mouth = px(0.43, 0.61), px(0.57, 0.61)
    gap = parted * side
    lips = [
        _arc(*mouth, -0.022 * side, SAMPLES),
        _arc(*mouth, 0.0, SAMPLES),
        _arc(*mouth, gap, SAMPLES),
        _arc(*mouth, 0.028 * side + gap, SAMPLES),
    ]
    eyes = [(px(0.36, 0.43), px(0.46, 0.43)), (px(0.54, 0.43), px(0.64, 0.43))]
    upper = [_arc(*eye, -0.022 * side, SAMPLES) for eye in eyes]
    lower = [_arc(*eye, 0.016 * side, SAMPLES) for eye in eyes]
    middles = [px(0.41, 0.427), px(0.59, 0.427)]
    radius = 0.02 * side

    points = np.zeros((468, 2), np.float32)
    angles = rng.uniform(0.0, 2 * np.pi, 468)
    reach = np.sqrt(rng.uniform(0.0, 1.0, 468))
    points[:, 0] = (0.5 + 0.16 * reach * np.cos(angles)) * side
    points[:, 1] = (0.48 + 0.21 * reach * np.sin(angles)) * side
    named = {
        10: (0.5, 0.27), 152: (0.5, 0.70), 234: (0.335, 0.47), 454: (0.665, 0.47), 4: (0.5, 0.52), 2: (0.5, 0.545),
        205: (0.42, 0.56), 425: (0.58, 0.56), 21: (0.37, 0.34), 251: (0.63, 0.34), 172: (0.38, 0.61), 397: (0.62, 0.61),
        70: (0.35, 0.375), 63: (0.37, 0.365), 105: (0.40, 0.36), 66: (0.43, 0.365), 107: (0.46, 0.375),
        336: (0.54, 0.375), 296: (0.57, 0.365), 334: (0.60, 0.36), 293: (0.63, 0.365), 300: (0.65, 0.375),
    }  # fmt: skip
    for index, place in named.items():
        points[index] = px(*place)
    for indices, line in (
        *zip((LIP_TOP, LIP_UPPER, LIP_LOWER, LIP_BOTTOM), lips, strict=True),
        *zip((*LID_UPPER, *LID_LOWER), (*upper, *lower), strict=True),
    ):
        for index, place in zip(indices, np.linspace(0, SAMPLES - 1, len(indices)).round().astype(int), strict=True):
            points[index] = line[place]
    depth = (np.abs(points[:, 0] / side - 0.5) / 0.165) ** 2 * 0.12 * side - 0.05 * side
    depth[4] = -0.09 * side
    irises = np.stack(
        [m + radius * np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]], np.float32) for m in middles]
    ).astype(np.float32)

    image = np.full((side, side, 3), BACK, np.uint8)
    # A texture all over: whatever moves can be seen to move.
    y, x = np.mgrid[:side, :side]
    image[:] = np.clip(image + (8 * np.sin(x / 9.0) * np.sin(y / 7.0))[..., None], 0, 255).astype(np.uint8)

    def filled(line: Floats, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(image, [np.rint(line * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    def ellipse(middle: Floats, half: tuple[float, float], colour: tuple[int, int, int]) -> None:
        t = np.linspace(0, 2 * np.pi, 90)
        filled(middle + np.stack([np.cos(t) * half[0], np.sin(t) * half[1]], 1).astype(np.float32), colour)

    ellipse(px(0.5, 0.44), (0.21 * side, 0.29 * side), HAIR)
    ellipse(px(0.5, 1.02), (0.36 * side, 0.24 * side), (120, 90, 60))
    filled(np.array([px(0.45, 0.6), px(0.55, 0.6), px(0.55, 0.85), px(0.45, 0.85)]), SKIN)
    ellipse(px(0.5, 0.485), (0.165 * side, 0.215 * side), SKIN)
    for top, bottom, middle in zip(upper, lower, middles, strict=True):
        outline = np.vstack([top, bottom[::-1]])
        filled(outline, WHITE)
        cover = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(cover, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        before = image.copy()
        ellipse(middle, (radius, radius), IRIS)
        share = cover[..., None] / 255.0
        image[:] = (image * share + before * (1 - share)).astype(np.uint8)
        cv2.polylines(
            image, [np.rint(top * 16).astype(np.int32)], False, (20, 20, 30), max(1, side // 256), cv2.LINE_AA, 4
        )
    for row in ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300)):
        line = np.rint(points[list(row)] * 16).astype(np.int32)
        cv2.polylines(image, [line], False, HAIR, max(2, side // 90), cv2.LINE_AA, 4)
    filled(np.vstack([lips[0], lips[1][::-1]]), LIPS)
    filled(np.vstack([lips[2], lips[3][::-1]]), LIPS)
    if gap:
        filled(np.vstack([lips[1], lips[2][::-1]]), WHITE)
    else:
        cv2.polylines(
            image, [np.rint(lips[1] * 16).astype(np.int32)], False, (40, 30, 90), max(1, side // 300), cv2.LINE_AA, 4
        )
    ellipse(px(0.485, 0.54), (0.006 * side, 0.004 * side), (80, 110, 160))
    ellipse(px(0.515, 0.54), (0.006 * side, 0.004 * side), (80, 110, 160))

    mesh = FaceMesh(np.hstack([points, depth[:, None]]).astype(np.float32), irises, 1.0)
    curves = Curves(lips[0], lips[1], lips[2], lips[3], (upper[0], upper[1]), (lower[0], lower[1]))
    if tilt_deg:
        return tilted(image, mesh, curves, tilt_deg)
    return image, mesh, curves


def tilted(image: Bytes, mesh: FaceMesh, curves: Curves, degrees: float) -> tuple[Bytes, FaceMesh, Curves]:
    """All of it turned around the picture's middle."""
    side = image.shape[0]
    matrix = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0), np.float32)

    def turned(points: Floats) -> Floats:
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)

    picture = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lips = [turned(line) for line in (curves.lip_top, curves.lip_upper, curves.lip_lower, curves.lip_bottom)]
    upper, lower = ([turned(line) for line in lids] for lids in (curves.lid_upper, curves.lid_lower))
    points = np.hstack([turned(mesh.points[:, :2]), mesh.points[:, 2:]])
    return (
        np.asarray(picture, np.uint8),
        FaceMesh(points, turned(mesh.irises), mesh.presence),
        Curves(lips[0], lips[1], lips[2], lips[3], (upper[0], upper[1]), (lower[0], lower[1])),
    )


@functools.lru_cache(maxsize=16)
def readied(size_px: int = 256, tilt_deg: float = 0.0, parted: float = 0.0) -> Prepared:
    """The known face, ready to be drawn."""
    return prepared(*known_face(512, tilt_deg, parted), size_px)


def saved(folder: Path, *, replace: bool = False, more: Mapping[str, tuple[str, bytes]] | None = None) -> Portrait:
    """The known face as a portrait on disk, with these parts of other renderers."""
    image, mesh, curves = known_face(256)
    save_portrait(
        folder,
        made="2026-01-02T03:04:05Z",
        made_with="mien test",
        source=Source(name="drawn.png", sha256="0" * 64, width=256, height=256, crop=(0, 0, 256)),
        consent=Consent(statement="nobody real: drawn for a test", recorded="2026-01-02T03:04:05Z"),
        picture=image,
        mesh=mesh,
        curves=curves,
        preview=b"\x89PNG",
        warnings=("a note",),
        replace=replace,
        more=more,
    )
    return load_portrait(folder)
