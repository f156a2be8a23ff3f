"""What shows between the lips: dark, upper teeth that stay, lower teeth and tongue that sink with the jaw, and the tip
of the tongue that rises before the teeth.

In: at which heights these are. Out: luma and chroma of a part of the mouth's window, to be shown through the lips' gap.
Each thing slides out from behind a lip, so none of them appears.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, Floats, Points, Rgb, curve, luminance, mirrored, mix, symmetrical
from avatar.puppet.eyes import canvas_on
from avatar.puppet.planes import Window, chroma_of, halved_mask, luma_of

DEEP: Rgb = (0.22, 0.055, 0.070)
PALE_TONGUE, RED_TONGUE = (0.93, 0.58, 0.62), (0.83, 0.43, 0.54)
"""Behind dark or painted lips, and behind pale ones: a tongue must be told from the lip before it."""
PALE_BEHIND, RED_BEHIND = 0.51, 0.57
"""Luminance of such lips."""
ENAMEL: Rgb = (0.955, 0.955, 0.955)
FARTHEST = 0.12
"""How far anything is ever moved from where it is painted."""


class Inside:
    """Arrays are shared and never written after painting.

    Args:
        window: of the mouth; parts of it are asked for by their rows.
        lips: their colour.
        light: colour of the light on everything, RGB.
    """

    def __init__(self, window: Window, lips: Rgb, light: Floats) -> None:
        share = min(1.0, max(0.0, (luminance(lips) - PALE_BEHIND) / (RED_BEHIND - PALE_BEHIND)))
        tongue = mix(PALE_TONGUE, RED_TONGUE, share)
        back = canvas_on(window)
        back.paint(np.ones_like(back.alpha), DEEP)
        back.shade(back.ramp((0.5, at.MOUTH_Y + 0.03), (0.5, at.MOUTH_Y - 0.015)), (0.4, 0.35, 0.4), 0.7)
        chroma = chroma_of(back.colour * light)
        half = window.height // 2
        self._luma, self._chroma = luma_of(back.colour * light), np.hstack([chroma[:half], chroma[half:]])
        paints: list[Callable[[Canvas], None]] = [
            functools.partial(_paint_tongue, colour=tongue),
            _paint_lower_teeth,
            _paint_upper_teeth,
            functools.partial(_paint_tip, colour=tongue),
        ]
        self._tongue, self._lower_teeth, self._teeth, self._tip = (_Layer(window, paint, light) for paint in paints)
        self._home = at.MOUTH_Y * window.side

    def at(self, levels: Floats, rows: slice) -> tuple[Floats, Floats]:
        """What rows (even) of the window show: luma [h, w], and U beside V [h // 2, w].

        Args:
            levels: px: lower edge of the upper teeth; upper edges of the tongue's back, its tip, the lower teeth; the
                lower lip's edge, behind which whatever lies lower is not seen.
        """
        half = slice(rows.start // 2, rows.stop // 2)
        luma, chroma = self._luma[rows].copy(), self._chroma[half].copy()
        teeth, tongue, tip, lower_teeth, bottom = (float(level) - self._home for level in levels)
        for layer, down in (
            (self._tongue, tongue),
            (self._lower_teeth, lower_teeth),
            (self._teeth, teeth),
            (self._tip, tip),
        ):
            if layer.top + down < bottom + 1.0:
                layer.lay(luma, chroma, rows.start - down)
        return luma, chroma


class _Layer:
    """Something painted about the resting line between the lips, that moves up and down with the mouth.

    ``top``: how many px below the resting line its upper edge is painted.
    """

    def __init__(self, window: Window, paint: Callable[[Canvas], None], light: Floats) -> None:
        canvas = canvas_on(window)
        paint(canvas)
        colour, alpha = (canvas.colour * light).clip(0.0, 1.0), canvas.alpha
        small = halved_mask(alpha)
        chroma = chroma_of(colour)
        half = window.height // 2
        # Colour times alpha beside what shows through, far repeated above and below, so that a part is rows in one.
        self._beyond = round(FARTHEST * window.side / 2) * 2
        self._luma = self._tall(np.hstack([luma_of(colour) * alpha, 1.0 - alpha]), self._beyond)
        self._chroma = self._tall(
            np.hstack([chroma[:half] * small, chroma[half:] * small, 1.0 - small, 1.0 - small]), self._beyond // 2
        )
        self.top = float(np.flatnonzero(alpha.max(axis=1) > 0.004)[0]) + window.y - at.MOUTH_Y * window.side

    @staticmethod
    def _tall(values: Floats, rows: int) -> Floats:
        return np.ascontiguousarray(np.pad(values, ((rows, rows), (0, 0)), mode="edge"), np.float32)

    def lay(self, luma: Floats, chroma: Floats, first: float) -> None:
        """Blend it in; the planes begin ``first`` px below where it was painted from."""
        for plane, layer, start in (
            (luma, self._luma, first + self._beyond),
            (chroma, self._chroma, (first + self._beyond) / 2),
        ):
            height, width = plane.shape
            row = int(start)
            share = start - row
            part = cv2.addWeighted(
                layer[row : row + height], 1.0 - share, layer[row + 1 : row + 1 + height], share, 0.0
            )
            plane *= part[:, width:]
            plane += part[:, :width]


def _mirrored_outline(half: Points) -> Points:
    return symmetrical(curve(half, closed=False))


def _paint_upper_teeth(canvas: Canvas) -> None:
    """A row of teeth whose edge lies on the resting line; single teeth are hinted at."""
    y = at.MOUTH_Y
    edge = curve(
        [(0.5, y), (0.512, y - 0.0002), (0.524, y - 0.0018), (0.536, y - 0.0044), (0.546, y - 0.009)], closed=False
    )
    row = canvas.fill(np.vstack([mirrored(edge)[::-1], edge, [(0.548, y - 0.030), (0.452, y - 0.030)]]), 0.0006)
    canvas.colour[:] = np.array((0.62, 0.5, 0.47), np.float32)
    canvas.paint(row, ENAMEL)
    canvas.shade(row * np.clip(np.abs(canvas.x - 0.5) / 0.047, 0, 1) ** 2.2, (0.55, 0.40, 0.40), 0.9)
    for x in (0.4795, 0.4895, 0.5, 0.5105, 0.5205, 0.5295, 0.4705):
        line = canvas.stroke([(x, y - 0.026), (x, y - 0.001)], [0.0006, 0.0011], 0.0005)
        canvas.shade(line * row, (0.70, 0.66, 0.68), 0.38)
    canvas.shade(row * canvas.ramp((0.5, y - 0.008), (0.5, y - 0.026)), (0.52, 0.48, 0.54), 0.7)


def _paint_tongue(canvas: Canvas, colour: Rgb) -> None:
    """The back of the tongue: a low mound whose upper edge lies on the resting line."""
    y = at.MOUTH_Y
    half = [(0.5, y + 0.0010), (0.513, y - 0.0006), (0.528, y + 0.003), (0.540, y + 0.013), (0.540, y + 0.034),
            (0.5, y + 0.044)]  # fmt: skip
    tongue = canvas.fill(_mirrored_outline(half), 0.0016)
    canvas.colour[:] = np.array(colour, np.float32) * 0.6
    canvas.paint(tongue, colour)
    canvas.shade(tongue * (1.0 - canvas.spot(0.497, y + 0.014, 0.022, 0.010)), (0.62, 0.42, 0.50), 0.8)
    canvas.light(tongue * canvas.spot(0.488, y + 0.008, 0.012, 0.004), (1.0, 0.78, 0.74), 0.32)
    canvas.shade(tongue * canvas.spot(0.5, y + 0.014, 0.0022, 0.012), (0.66, 0.46, 0.48), 0.5)


def _paint_tip(canvas: Canvas, colour: Rgb) -> None:
    """The tip of the tongue, rounded, its upper edge on the resting line."""
    y = at.MOUTH_Y
    half = [
        (0.5, y),
        (0.511, y + 0.0012),
        (0.521, y + 0.0062),
        (0.526, y + 0.016),
        (0.528, y + 0.034),
        (0.5, y + 0.040),
    ]
    tip = canvas.fill(_mirrored_outline(half), 0.0010)
    canvas.colour[:] = np.array(colour, np.float32) * 0.6
    canvas.paint(tip, colour)
    canvas.shade(canvas.hollow(tip, 0.005), (0.62, 0.40, 0.50), 0.7)
    canvas.light(tip * canvas.spot(0.494, y + 0.0048, 0.010, 0.0026), (1.0, 0.84, 0.80), 0.55)
    canvas.shade(tip * canvas.spot(0.5, y + 0.016, 0.0020, 0.010), (0.66, 0.46, 0.48), 0.55)


def _paint_lower_teeth(canvas: Canvas) -> None:
    """The edge of the lower teeth, in the lower lip's shade, its upper edge about the resting line."""
    y = at.MOUTH_Y
    half = [(0.5, y), (0.514, y - 0.0002), (0.526, y - 0.0012), (0.534, y + 0.0004), (0.536, y + 0.008),
            (0.5, y + 0.012)]  # fmt: skip
    row = canvas.fill(_mirrored_outline(half), 0.0007)
    canvas.colour[:] = np.array((0.55, 0.4, 0.38), np.float32)
    canvas.paint(row, (0.95, 0.945, 0.945))
    canvas.shade(row * np.clip(np.abs(canvas.x - 0.5) / 0.036, 0, 1) ** 2, (0.5, 0.40, 0.40), 0.8)
    for x in (0.4925, 0.5, 0.5075, 0.485, 0.515):
        canvas.shade(canvas.stroke([(x, y), (x, y + 0.01)], [0.001, 0.001], 0.0005) * row, (0.72, 0.62, 0.60), 0.4)
