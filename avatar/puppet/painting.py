"""The whole figure, painted once for a look and a size, and shared by all conversations that show it.

The figure lies on a sheet that moves; what is behind it stays where it is. The sheet ends a little outside of the
figure: of the backdrop, which is soft, only that thin seam moves along.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from avatar.frames import Planes
from avatar.puppet import hair, head, scene
from avatar.puppet.accessories import brows, glasses
from avatar.puppet.brush import Canvas, Floats, as_floats, rgb
from avatar.puppet.clothes import clothes
from avatar.puppet.eyes import Eyes, eye_window
from avatar.puppet.features import features
from avatar.puppet.hairstyles import STYLES
from avatar.puppet.lips import Lips, mouth_window
from avatar.puppet.look import Look
from avatar.puppet.planes import Bytes, Window, chroma_of, luma_of, to_bytes

SEAM, SEAM_LEVEL = 0.005, 0.15
"""How the sheet's edge is found: where the figure, blurred so far, is no more than this."""


@dataclass(frozen=True, eq=False)
class Painting:
    """What no picture of this figure paints again.

    Args:
        side: px of the square painting, finer than the picture.
        luma: uint8 [side, side]; eyes and mouth are blank skin.
        tint: uint8 [side // 2, side // 2, 4]: U, V, how far beyond the sheet (more than 127: it has ended), and
            nothing, since four channels are moved in less time than two or three.
        backdrop: I420 of the picture's size, without the figure.
        eyes, lips: what is composed into it for each picture.
    """

    side: int
    luma: Bytes
    tint: Bytes
    backdrop: Planes
    eyes: Eyes
    lips: Lips


def source_side(size_px: int) -> int:
    """The painting's side for a picture's: a quarter finer, and never so small that lips and lids lose their edges.

    Half as fine again can hardly be told from it (41 against 38 dB PSNR to twice as fine) and costs 7% more.
    """
    return max(512, size_px * 5 // 4) // 4 * 4


@functools.lru_cache(maxsize=4)
def paint(look: Look, size_px: int) -> Painting:
    """Paint a figure for pictures of this size: about a second at 512 px, then remembered."""
    side = source_side(size_px)
    canvas = Canvas(side, side, side)
    light = np.asarray(rgb(look.key), np.float32)
    scene.backdrop(canvas, look)
    backdrop = (canvas.colour * light).clip(0.0, 1.0)
    canvas.alpha[:] = 0.0
    hair.back(canvas, look)
    head.neck(canvas, look)
    clothes(canvas, look)
    if STYLES[look.hair_style].ears:
        head.ears(canvas, look)
    over = hair.fringe(canvas, look)
    head.face(canvas, look, over)
    features(canvas, look)
    brows(canvas, look)
    below = canvas.colour.copy()
    hair.front(canvas, look)
    hair.rim_light(canvas, over, look)
    front = Canvas(side, side, side)
    front.colour[:] = canvas.colour
    front.alpha[:] = np.clip(np.abs(canvas.colour - below).max(axis=2) * 12.0, 0.0, 1.0)
    glasses(canvas, front, look)
    window, mouth = eye_window(side), mouth_window(side)
    eyes = Eyes(window, look, below[window.luma], _cut(front, window), light)
    colour: Floats = (canvas.colour * light).clip(0.0, 1.0)
    lips = Lips(mouth, look, colour[mouth.luma], light)
    unused = np.zeros((side // 2, side // 2), np.uint8)
    return Painting(
        side,
        to_bytes(_dithered(luma_of(colour))),
        np.dstack([*to_bytes(chroma_of(colour)).reshape(2, side // 2, side // 2), _beyond(canvas), unused]),
        _i420(as_floats(cv2.resize(backdrop, (size_px, size_px), interpolation=cv2.INTER_AREA))),
        eyes,
        lips,
    )


def _beyond(canvas: Canvas) -> Bytes:
    """Where the sheet has ended, a little outside of the figure; at chroma's size."""
    small = canvas.width // 2, canvas.width // 2
    figure = as_floats(cv2.resize(np.clip(3.0 * canvas.alpha, 0.0, 1.0), small, interpolation=cv2.INTER_AREA))
    sheet = canvas.blurred(figure, SEAM / 2)
    return to_bytes(255.0 * np.clip(1.0 - 0.5 * sheet / SEAM_LEVEL, 0.0, 1.0))


def _i420(colour: Floats) -> Planes:
    size = colour.shape[0]
    chroma = to_bytes(chroma_of(colour)).reshape(size // 2, size)
    return np.vstack([to_bytes(_dithered(luma_of(colour))), chroma])


def _dithered(luma: Floats) -> Floats:
    """Less than one level of fixed noise, without which soft gradients show bands."""
    return luma + (np.random.default_rng(1).random(luma.shape, np.float32) - np.float32(0.5)) * np.float32(0.9)


def _cut(front: Canvas, window: Window) -> Canvas | None:
    """The part of a layer that lies in a window, or None where nothing does."""
    part = Canvas(window.width, window.height, window.side, window.x / window.side, window.y / window.side)
    part.colour[:] = front.colour[window.luma]
    part.alpha[:] = front.alpha[window.luma]
    return part if float(part.alpha.max()) > 0.01 else None
