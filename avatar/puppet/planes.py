"""From painted colour to what pictures are made of: BT.601 limited-range luma and chroma, whole or in a window."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from avatar.puppet.brush import Floats, as_floats

Bytes = npt.NDArray[np.uint8]

_LUMA = np.array([65.481, 128.553, 24.966], np.float32)
_CHROMA = np.array([[-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the painting with even edges, so that luma and chroma cut alike.

    Args:
        x, y, width, height: px of luma.
        side: of the whole painting, px.
    """

    x: int
    y: int
    width: int
    height: int
    side: int

    @classmethod
    def around(cls, side: int, x0: float, y0: float, x1: float, y1: float) -> Window:
        """The smallest window that holds these shares of the side."""
        left, top = (int(v * side) // 2 * 2 for v in (x0, y0))
        right, bottom = (-(-int(np.ceil(v * side)) // 2) * 2 for v in (x1, y1))
        return cls(left, top, right - left, bottom - top, side)

    @property
    def luma(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    @property
    def chroma(self) -> tuple[slice, slice]:
        return (
            slice(self.y // 2, (self.y + self.height) // 2),
            slice(self.x // 2, (self.x + self.width) // 2),
        )


def luma_of(colour: Floats, black: float = 16.0) -> Floats:
    """RGB float [h, w, 3] to luma [h, w]; ``black`` is what no colour becomes."""
    return np.asarray(colour @ _LUMA + np.float32(black), np.float32)


def chroma_of(colour: Floats, grey: float = 128.0) -> Floats:
    """RGB float [h, w, 3], even sides, to U and V stacked: [h, w // 2] (U above V)."""
    half = cv2.resize(colour, (colour.shape[1] // 2, colour.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.vstack([half @ _CHROMA[0], half @ _CHROMA[1]]).astype(np.float32) + np.float32(grey)


def halved_mask(mask: Floats) -> Floats:
    """A mask at chroma's size."""
    return as_floats(cv2.resize(mask, (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_AREA))


def to_bytes(values: Floats) -> Bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def as_bytes(values: object) -> Bytes:
    """What OpenCV hands back, under the type it has."""
    return np.asarray(values, np.uint8)
