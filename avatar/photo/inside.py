"""What shows between a portrait's lips: dark, tongue, lower and upper teeth, drawn in the picture's own light.

In: a portrait's colours, then where between the lips a pixel lies. Out: luma and chroma there. The layers are drawn
once on a small sheet in the mouth's own frame; the upper teeth stay with the head, tongue and lower teeth sink with the
jaw. A grey picture gets a grey mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from avatar.photo.face import CHEEKS, Face
from avatar.photo.lips import Parted
from avatar.photo.patch import smooth

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SHEET_PX = 128
"""Side of a layer's sheet, which holds a square of two mouths' half widths to each side."""
SPAN = 1.5
SEAM_UNTIL_PX = 3.0
"""Lips parted by less than this show a shadow rather than teeth."""
_TO_YUV = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32).T
_ZERO = np.array([16.0, 128.0, 128.0], np.float32)


@dataclass(frozen=True, slots=True)
class Light:
    """How a portrait is lit.

    Args:
        bright: how light something white would be, 0 to 1.
        colour: how much colour the picture has, 0 (grey) to 1.
        lips: RGB, 0 to 1.
    """

    bright: float
    colour: float
    lips: tuple[float, float, float]

    @classmethod
    def of(cls, picture: Bytes, face: Face) -> Light:
        """Look at a BGR picture's cheeks and lips."""
        side = picture.shape[0]
        reach = max(2, round(0.12 * face.half_width * side))

        def around(place: Floats, reach: int) -> Floats:
            x, y = (int(v * side) for v in place)
            part = picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            return np.asarray(part.reshape(-1, 3)[:, ::-1] / np.float32(255.0), np.float32)

        skin = np.concatenate([around(face.points[point], reach) for point in CHEEKS])
        light = np.percentile(skin, 80, axis=0)
        bright = float(np.clip(0.28 + 0.85 * light.max(), 0.25, 1.0))
        colour = float(np.clip((light.max() - light.min()) / 0.12, 0.0, 1.0))
        lower = (face.lips[2] + face.lips[3])[12:21] / np.float32(2.0)
        lips = np.median(np.concatenate([around(place, 1) for place in lower]), axis=0)
        return cls(bright, colour, (float(lips[0]), float(lips[1]), float(lips[2])))


class Inside:
    """The inner mouth of one portrait. Shared by all conversations.

    Args:
        unit: half an ordinary mouth's width, in half widths of this one.
    """

    def __init__(self, light: Light, unit: float) -> None:
        self._unit = unit
        nodes = (np.arange(SHEET_PX, dtype=np.float32) + 0.5) / np.float32(SHEET_PX) * np.float32(2 * SPAN) - SPAN
        x, y = np.meshgrid(nodes, nodes)
        lips = np.array(light.lips, np.float32)
        white = np.array([0.95, 0.92, 0.87], np.float32) * np.float32(light.bright)
        flesh = 0.5 * lips + 0.5 * np.array([0.78, 0.38, 0.38], np.float32) * np.float32(light.bright)
        self._dark = _yuv(np.array([0.14, 0.035, 0.04], np.float32) * np.float32(light.bright), light.colour)
        self._seam = _yuv(np.float32(0.42) * lips, light.colour)
        self._upper = _layer(*_upper_teeth(x, y, white), light.colour)
        self._lower = _layer(*_lower_teeth(x, y, 0.82 * white), light.colour)
        self._tongue = _layer(*_tongue(x, y, flesh), light.colour)

    def at(self, u: Floats, v: Floats, parted: Parted) -> Floats:
        """What shows at places of the mouth's frame: float32 [..., 3], Y, U, V.

        Args:
            u, v: in half widths of the mouth, [rows, columns].
        """
        unit = np.float32(self._unit)
        narrow = np.float32(unit * (0.5 + 0.5 * min(1.15, parted.wide)))
        x = u / narrow
        line, lower = np.float32(parted.line), np.float32(parted.lower)
        out = np.empty((*u.shape, 3), np.float32)
        out[:] = self._dark
        # A raised tip reaches behind the upper teeth; a low tongue lies in the lower jaw.
        tongue_at = lower - unit * np.float32(0.36 * parted.jaw) - unit * np.float32(0.40 * parted.tongue)
        _lay(out, self._tongue, x, (v - tongue_at) / unit)
        if parted.jaw > 0.22:
            rise = np.float32(0.15 * min(1.0, (parted.jaw - 0.22) / 0.3))
            _lay(out, self._lower, x, (v - lower + unit * rise) / unit)
        _lay(out, self._upper, x, (v - line - np.float32(0.10) * unit) / unit)
        if parted.gap_px < SEAM_UNTIL_PX:
            # Between lips that only just part there is their own shadow.
            out += np.float32(1.0 - parted.gap_px / SEAM_UNTIL_PX) * (self._seam - out)
        return out


def _lay(onto: Floats, layer: Floats, x: Floats, y: Floats) -> None:
    """Blend a layer in: RGBA-like [SHEET, SHEET, 4] of Y, U, V times coverage, and coverage."""
    scale = np.float32(SHEET_PX / (2 * SPAN))
    column = (x + np.float32(SPAN)) * scale - np.float32(0.5)
    row = (y + np.float32(SPAN)) * scale - np.float32(0.5)
    seen = cv2.remap(layer, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    onto *= 1.0 - seen[..., 3:]
    onto += seen[..., :3]


def _yuv(colour: Floats, much: float) -> Floats:
    out = colour @ _TO_YUV
    out[..., 1:] *= np.float32(much)
    return np.asarray(out + _ZERO, np.float32)


def _layer(colour: Floats, cover: Floats, much: float) -> Floats:
    cover = np.clip(cover, 0.0, 1.0)[..., None]
    return np.ascontiguousarray(np.concatenate([_yuv(np.clip(colour, 0.0, 1.0), much) * cover, cover], axis=2))


def _edge(distance: npt.ArrayLike, soft: float = 0.03) -> Floats:
    return np.asarray(np.clip(0.5 + np.asarray(distance, np.float32) / np.float32(2 * soft), 0.0, 1.0), np.float32)


def _upper_teeth(x: Floats, y: Floats, white: Floats) -> tuple[Floats, Floats]:
    """A row whose lower edge lies at y = 0 in the middle and rises to the sides."""
    rise = 0.22 * np.abs(x) ** 2.6 + 0.012 * np.cos(x * 18.0)
    cover = np.asarray(_edge(-(y + rise)) * _edge(0.92 - np.abs(x), 0.05) * _edge(y + 1.2), np.float32)
    shade = 1.0 - 0.75 * smooth((np.abs(x) - 0.25) / np.float32(0.65))
    shade = shade * (1.0 - 0.35 * smooth((-y - 0.12) / np.float32(0.4)))
    gaps = sum(np.exp(-(((x - at) / 0.018) ** 2)) for at in (-0.68, -0.46, -0.23, 0.0, 0.23, 0.46, 0.68))
    shade = shade * (1.0 - 0.16 * np.clip(gaps, 0, 1))
    return np.asarray(white * shade[..., None], np.float32), cover


def _lower_teeth(x: Floats, y: Floats, white: Floats) -> tuple[Floats, Floats]:
    """The tips of a row, upper edge at y = 0."""
    sink = 0.16 * np.abs(x) ** 2.2 + 0.010 * np.cos(x * 26.0)
    cover = np.asarray(_edge(y - sink) * _edge(0.72 - np.abs(x), 0.06), np.float32)
    shade = 1.0 - 0.65 * smooth((np.abs(x) - 0.15) / np.float32(0.55))
    gaps = sum(np.exp(-(((x - at) / 0.016) ** 2)) for at in np.linspace(-0.6, 0.6, 8))
    shade = shade * (1.0 - 0.16 * np.clip(gaps, 0, 1))
    return np.asarray(white * shade[..., None], np.float32), cover


def _tongue(x: Floats, y: Floats, flesh: Floats) -> tuple[Floats, Floats]:
    """A rounded back, highest at y = 0."""
    top = 0.42 * np.abs(x) ** 2.4
    cover = np.asarray(_edge(y - top, 0.05) * _edge(0.80 - np.abs(x), 0.08), np.float32)
    shade = 0.95 - 0.40 * smooth(np.abs(x) / np.float32(0.8)) - 0.25 * smooth((y - 0.15) / np.float32(0.5))
    shade = shade - 0.14 * np.exp(-((x / 0.06) ** 2)) * smooth((y - 0.03) / np.float32(0.1))
    shade = shade + 0.10 * np.exp(-(((y - top - 0.08) / 0.05) ** 2))
    return np.asarray(flesh * shade[..., None], np.float32), cover
