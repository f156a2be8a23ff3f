"""The mouth: from mouth parameters to lip outlines, and from those to the pixels of a window.

In: a look, then for each picture a `Mouth` and how much it smiles. Out: luma and chroma of the window around the
mouth. Seen from the front, lips are functions of x: every column of the window has its own heights of the upper lip's
edge, the line between the lips, and the lower lip's edge. Coverage and shading follow from these by arithmetic, which
makes edges exact at any fraction of a pixel. The colours of the lips are painted once, as if unrolled, and looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, Floats, Rgb, curve, mix, rgb, symmetrical
from avatar.puppet.eyes import canvas_on
from avatar.puppet.head import Complexion
from avatar.puppet.look import Look
from avatar.puppet.mesh import jaw_share
from avatar.puppet.mouth import Mouth
from avatar.puppet.planes import Bytes, Window, chroma_of, halved_mask, luma_of, to_bytes

TEXTURE_U, TEXTURE_V = 96, 48
"""Columns and rows of the unrolled lips: the upper lip in the upper half, the lower one below."""


def mouth_window(side: int) -> Window:
    return Window.around(side, 0.5 - 0.076, at.MOUTH_Y - 0.034, 0.5 + 0.076, at.MOUTH_Y + 0.068)


@dataclass(frozen=True, slots=True)
class Outline:
    """Lips at one moment, in shares of the picture's side; arrays are float32, one value a column.

    Args:
        u: place along the mouth, -1 and 1 at its corners.
        top, upper, lower, bottom: the upper lip from ``top`` to ``upper``, the lower lip from ``lower`` to ``bottom``.
        jaw: how far the chin has dropped, 0 to 1.
        teeth_y, tongue_y: lower edge of the upper teeth; upper edge of the tongue.
    """

    u: Floats
    top: Floats
    upper: Floats
    lower: Floats
    bottom: Floats
    jaw: float
    teeth_y: float
    tongue_y: float
    corner_y: float
    half_width: float
    middle_x: float


def outline(x: Floats, mouth: Mouth, smile: float, aside: float, fullness: float) -> Outline:
    """Where the lips are, as seen before the head moves.

    Args:
        x: columns, shares of the picture's side.
    """
    shut = min(1.0, max(mouth.closure, 0.0))
    tuck = mouth.lip_teeth * (1.0 - shut)
    jaw = mouth.jaw * (1.0 - 0.6 * shut) * (1.0 - 0.75 * tuck)
    ring = mouth.rounding * (1.0 - 0.6 * shut)
    gape = at.GAPE * jaw * (1.0 - 0.28 * ring) * (1.0 - shut)
    spread = max(0.0, mouth.spread), max(0.0, -mouth.spread)
    half = at.MOUTH_HALF_WIDTH + 0.0075 * spread[0] - 0.010 * spread[1] - 0.017 * ring - 0.003 * jaw + 0.0065 * smile
    middle_x = 0.5 + aside
    u = (x - np.float32(middle_x)) / np.float32(half)
    inside = np.clip(1.0 - u * u, 0.0, 1.0)
    raised = (0.0150 * smile + 0.002 * spread[0]) * (1.0 - 0.6 * jaw)
    settle = 0.25 * gape
    line = (
        np.float32(at.MOUTH_Y)
        - raised * (np.clip(np.abs(u) ** np.float32(1.7), 0.0, 1.25) - 0.33)
        + settle * np.clip(u * u, 0.0, 1.0)
    )
    line = line + 0.0016 * np.exp(-((u / 0.20) ** 2)) * (1.0 - ring) * (1.0 - jaw) + 0.4 * aside * u
    parting = inside ** np.float32(0.62 + 0.25 * spread[0] * (1.0 - jaw) - 0.12 * ring)
    lift = 0.17 * gape + 0.0055 * tuck + 0.003 * ring * jaw
    sink = 0.83 * gape - 0.0015 * tuck
    upper = line - lift * parting
    lower = line + max(sink, -lift) * parting
    full = 0.62 + 0.62 * fullness
    press = 1.0 - 0.30 * shut
    thick_upper = at.LIP_UPPER * full * press * (1.0 - 0.16 * jaw + 0.22 * ring - 0.12 * spread[0] - 0.12 * smile)
    thick_lower = at.LIP_LOWER * full * press * (1.0 - 0.14 * jaw + 0.16 * ring - 0.10 * spread[0] - 0.28 * tuck)
    bow = 1.0 - 0.26 * np.exp(-((u / 0.17) ** 2)) + 0.05 * np.exp(-(((np.abs(u) - 0.30) / 0.16) ** 2))
    top = upper - thick_upper * bow * inside ** np.float32(0.80)
    bottom = lower + thick_lower * inside ** np.float32(0.68) * (1.0 + 0.05 * np.exp(-((u / 0.5) ** 2)))
    centre = len(u) // 2
    return Outline(
        u, top, upper, lower, bottom, jaw,
        teeth_y=at.MOUTH_Y + 0.0085 - 0.010 * ring - 0.002 * jaw,
        tongue_y=float(lower[centre]) - 0.011 * jaw - 0.020 * mouth.tongue * min(1.0, 3.0 * jaw),
        corner_y=float(at.MOUTH_Y - 0.67 * raised + settle),
        half_width=half,
        middle_x=middle_x,
    )  # fmt: skip


class Lips:
    """The mouth of one painting, ready to be composed. Arrays are shared and never written after painting.

    Args:
        skin: the painting without lips, float RGB of the window.
    """

    def __init__(self, window: Window, look: Look, skin: Floats) -> None:
        self.window = window
        self._fullness = look.lip_fullness
        side = window.side
        self._x: Floats = (window.x + np.arange(window.width, dtype=np.float32) + 0.5) / np.float32(side)
        self._rows: Floats = np.arange(window.height, dtype=np.float32)[:, None] + np.float32(window.y + 0.5)
        self._skin_luma, self._skin_chroma = luma_of(skin), chroma_of(skin)
        self._skin_luma_bytes, self._skin_chroma_bytes = to_bytes(self._skin_luma), to_bytes(self._skin_chroma)
        texture = _unrolled(look)
        self._texture_luma = luma_of(texture)
        chroma = chroma_of(np.repeat(np.repeat(texture, 2, axis=0), 2, axis=1))
        self._texture_u, self._texture_v = chroma[:TEXTURE_V], chroma[TEXTURE_V:]
        self._inside = _Inside(window, look)

    def compose(self, mouth: Mouth, smile: float, aside: float) -> tuple[Bytes, Bytes, float]:
        """The window's luma, its chroma (U above V), and how far the jaw is dropped for the mesh."""
        lips = outline(self._x, mouth, smile, aside, self._fullness)
        side = np.float32(self.window.side)

        def painted(y: Floats) -> Floats:
            """Heights as they lie in the painting, before the mesh carries the jaw down; px."""
            return np.asarray((y - np.float32(lips.jaw * at.CHIN_DROP) * jaw_share(y)) * side, np.float32)

        top, upper, lower, bottom = painted(np.stack([lips.top, lips.upper, lips.lower, lips.bottom]))
        levels = painted(np.array([lips.teeth_y, lips.tongue_y, lips.lower[len(lips.u) // 2]], np.float32))
        band = self._band(top, bottom)
        rows, soft = self._rows[band], np.float32(self.window.side / 1024.0)
        ends = np.clip((np.float32(1.02) - np.abs(lips.u)) * 9.0, 0.0, 1.0)
        cover = np.minimum(rows - top, bottom - rows) + (0.5 * ends - 1.0 * (ends <= 0.0))
        np.clip(cover / (1.4 * soft), 0.0, 1.0, out=cover)
        middle, parted = (upper + lower) * np.float32(0.5), (lower - upper) * np.float32(0.5)
        gap = (parted + np.float32(1.25) * soft * ends) - np.abs(rows - middle)
        np.clip(gap / (1.3 * soft), 0.0, 1.0, out=gap)
        np.maximum(cover, gap, out=cover)
        v = np.clip((rows - top) / np.maximum(upper - top, 0.5), 0.0, 1.0)
        v += np.clip((rows - lower) / np.maximum(bottom - lower, 0.5), 0.0, 1.0)
        v *= np.float32(TEXTURE_V / 2)
        v -= np.float32(0.5)
        u = np.broadcast_to((lips.u + 1.0) * np.float32(TEXTURE_U / 2) - np.float32(0.5), v.shape)
        lip = cv2.remap(self._texture_luma, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        luma = self._skin_luma[band] * self._corner_shadow(lips, rows)
        luma += cover * (lip - luma)
        half_u, half_v = (np.ascontiguousarray(m[::2, ::2]) for m in (u, v))
        small_cover, small_gap = halved_mask(cover), halved_mask(gap)
        half = self.window.height // 2
        small_band = slice(band.start // 2, band.stop // 2)
        chroma = []
        for skin, texture in ((self._skin_chroma[:half], self._texture_u), (self._skin_chroma[half:], self._texture_v)):
            tint = cv2.remap(texture, half_u, half_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            plane = skin[small_band].copy()
            plane += small_cover * (tint - plane)
            chroma.append(plane)
        self._look_inside(luma, chroma, gap, small_gap, band, self._hole(upper, lower, lips, band), lips, levels)
        luma_bytes, chroma_bytes = self._skin_luma_bytes.copy(), self._skin_chroma_bytes.copy()
        luma_bytes[band] = cv2.convertScaleAbs(luma)
        chroma_bytes[:half][small_band] = cv2.convertScaleAbs(chroma[0])
        chroma_bytes[half:][small_band] = cv2.convertScaleAbs(chroma[1])
        return luma_bytes, chroma_bytes, lips.jaw

    def _look_inside(
        self,
        luma: Floats,
        chroma: list[Floats],
        gap: Floats,
        small_gap: Floats,
        band: slice,
        hole: Window,
        lips: Outline,
        levels: Floats,
    ) -> None:
        """Lay what shows between the lips over the planes of the band, darker towards the lips."""
        within, *tints = self._inside.at(levels, lips, hole)
        rows, columns = hole.luma
        here = slice(rows.start - band.start, rows.stop - band.start), columns
        through = gap[here]
        deep = cv2.blur(through, (1, 2 * round(3 * self.window.side / 1024.0) + 1))
        part = luma[here]
        part += through * ((0.42 + 0.58 * deep) * (within - 16.0) + 16.0 - part)
        rows, columns = hole.chroma
        here = slice(rows.start - band.start // 2, rows.stop - band.start // 2), columns
        for plane, colour in zip(chroma, tints, strict=True):
            part = plane[here]
            part += small_gap[here] * (colour - part)

    def _band(self, top: Floats, bottom: Floats) -> slice:
        """The rows of the window that anything of the mouth reaches, even."""
        margin = 0.016 * self.window.side
        first = max(0, int(float(top.min()) - self.window.y - margin) // 2 * 2)
        last = min(self.window.height, -(-int(float(bottom.max()) - self.window.y + margin) // 2) * 2)
        return slice(first, last)

    def _hole(self, upper: Floats, lower: Floats, lips: Outline, band: slice) -> Window:
        """The part of the band in which anything shows between the lips, in px from the window's own corner."""
        window = self.window
        inside = np.flatnonzero(np.abs(lips.u) < 1.04)
        top, bottom = float(upper[inside].min()) - window.y - 4.0, float(lower[inside].max()) - window.y + 4.0
        top, bottom = max(band.start, int(top) // 2 * 2), min(band.stop, -(-int(bottom) // 2) * 2)
        left, right = int(inside[0]) // 2 * 2, min(window.width, -(-int(inside[-1] + 1) // 2) * 2)
        return Window(left, int(top), right - left, max(2, int(bottom - top)), window.side)

    def _corner_shadow(self, lips: Outline, rows: Floats) -> Floats:
        """Dimples at the corners: a factor for the skin around them."""
        across = np.exp(-(((np.abs(lips.u) - 1.02) / 0.10) ** 2))
        side = np.float32(self.window.side)
        down = np.exp(-(((rows / side - np.float32(lips.corner_y)) / np.float32(0.0075)) ** 2))
        return np.asarray(1.0 - 0.24 * down * across, np.float32)


class _Inside:
    """What shows between the lips: dark, upper teeth that stay, tongue and lower teeth that sink with the jaw."""

    def __init__(self, window: Window, look: Look) -> None:
        self._window = window
        deep: Rgb = (0.20, 0.055, 0.065)
        back = canvas_on(window)
        back.paint(np.ones_like(back.alpha), deep)
        back.shade(back.ramp((0.5, at.MOUTH_Y + 0.03), (0.5, at.MOUTH_Y - 0.015)), (0.4, 0.35, 0.4), 0.7)
        self._luma, self._chroma = luma_of(back.colour), chroma_of(back.colour)
        self._teeth = _Layer(window, _paint_upper_teeth)
        self._tongue = _Layer(window, _paint_tongue)
        self._lower_teeth = _Layer(window, _paint_lower_teeth)

    def at(self, levels: Floats, lips: Outline, hole: Window) -> tuple[Floats, Floats, Floats]:
        """Luma, U and V of a part of the window; ``levels`` (px): edge of the upper teeth, of the tongue, lower lip."""
        half = self._window.height // 2
        rows, columns = hole.chroma
        planes = (
            self._luma[hole.luma].copy(),
            self._chroma[:half][rows, columns].copy(),
            self._chroma[half:][rows, columns].copy(),
        )
        home = at.MOUTH_Y * self._window.side
        if lips.jaw > 0.02:
            self._tongue.lay(planes, float(levels[1]) - home, lips, hole)
        if lips.jaw > 0.25:
            self._lower_teeth.lay(planes, float(levels[2]) - home, lips, hole)
        self._teeth.lay(planes, float(levels[0]) - home, lips, hole)
        return planes


class _Layer:
    """Something painted about the resting line between the lips, that moves up and down and narrows with the mouth."""

    def __init__(self, window: Window, paint: Callable[[Canvas], None]) -> None:
        self._window = window
        canvas = canvas_on(window)
        paint(canvas)
        colour, alpha = canvas.colour.clip(0.0, 1.0), canvas.alpha
        small = halved_mask(alpha)
        half = window.height // 2
        chroma = chroma_of(colour) * np.vstack([small, small])
        self._planes = luma_of(colour) * alpha, chroma[:half].copy(), chroma[half:].copy()
        self._past, self._past_small = 1.0 - alpha, 1.0 - small

    def lay(self, onto: tuple[Floats, Floats, Floats], dy: float, lips: Outline, hole: Window) -> None:
        """Blend it in, ``dy`` px below where it was painted; ``onto`` are the planes of the part ``hole``."""
        window = self._window
        narrow = 0.55 + 0.45 * min(1.0, lips.half_width / at.MOUTH_HALF_WIDTH)
        shift = lips.middle_x * window.side - window.x - narrow * (0.5 * window.side - window.x) - hole.x
        for plane, colour in zip(onto, self._planes, strict=True):
            luma = plane is onto[0]
            scale = 1.0 if luma else 0.5
            matrix = np.array([[narrow, 0, shift * scale], [0, 1, (dy - hole.y) * scale]], np.float32)
            size = plane.shape[1], plane.shape[0]
            if luma or plane is onto[1]:
                past = cv2.warpAffine(
                    self._past if luma else self._past_small, matrix, size, borderMode=cv2.BORDER_REPLICATE
                )
            plane *= past
            plane += cv2.warpAffine(colour, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def _paint_upper_teeth(canvas: Canvas) -> None:
    """A row of teeth whose edge lies on the resting line."""
    y = at.MOUTH_Y
    edge = curve(
        [(0.5, y), (0.512, y - 0.0002), (0.524, y - 0.0016), (0.536, y - 0.004), (0.545, y - 0.008)], closed=False
    )
    row = canvas.fill(
        np.vstack(
            [
                symmetrical(edge)[: len(edge)],
                [(0.546, y - 0.028), (0.454, y - 0.028)],
                (1.0 - edge[::-1, 0])[:, None] * [1, 0] + edge[::-1] * [0, 1],
            ]
        ),
        0.0006,
    )
    canvas.colour[:] = np.array((0.62, 0.5, 0.47), np.float32)
    canvas.paint(row, (0.965, 0.945, 0.915))
    canvas.shade(row * np.clip(np.abs(canvas.x - 0.5) / 0.045, 0, 1) ** 2.2, (0.55, 0.42, 0.42), 0.9)
    for x in (0.4795, 0.4895, 0.5, 0.5105, 0.5205, 0.5295, 0.4705):
        canvas.shade(
            canvas.stroke([(x, y - 0.026), (x, y - 0.001)], [0.0009, 0.0012], 0.0005) * row, (0.72, 0.62, 0.60), 0.5
        )
    canvas.shade(row * canvas.ramp((0.5, y - 0.008), (0.5, y - 0.026)), (0.55, 0.45, 0.47), 0.7)


def _paint_tongue(canvas: Canvas) -> None:
    """A tongue whose upper edge lies on the resting line."""
    y = at.MOUTH_Y
    tongue = canvas.fill(
        symmetrical(
            curve(
                [
                    (0.5, y + 0.0005),
                    (0.514, y - 0.0008),
                    (0.528, y + 0.004),
                    (0.538, y + 0.014),
                    (0.536, y + 0.034),
                    (0.5, y + 0.044),
                ],
                closed=False,
            )
        ),
        0.0016,
    )
    canvas.colour[:] = np.array((0.5, 0.2, 0.2), np.float32)
    canvas.paint(tongue, (0.80, 0.40, 0.40))
    canvas.light(tongue * canvas.spot(0.49, y + 0.008, 0.016, 0.005), (1.0, 0.75, 0.72), 0.38)
    canvas.shade(tongue * canvas.spot(0.5, y + 0.012, 0.0022, 0.012), (0.7, 0.5, 0.5), 0.5)
    canvas.shade(tongue * canvas.ramp((0.5, y + 0.012), (0.5, y + 0.036)), (0.55, 0.4, 0.42), 0.7)


def _paint_lower_teeth(canvas: Canvas) -> None:
    """The edge of the lower teeth, just above the lower lip."""
    y = at.MOUTH_Y
    row = canvas.fill(
        symmetrical(
            curve(
                [
                    (0.5, y - 0.0048),
                    (0.515, y - 0.0052),
                    (0.528, y - 0.0068),
                    (0.534, y - 0.006),
                    (0.53, y + 0.004),
                    (0.5, y + 0.006),
                ],
                closed=False,
            )
        ),
        0.0008,
    )
    canvas.colour[:] = np.array((0.55, 0.4, 0.38), np.float32)
    canvas.paint(row, (0.86, 0.82, 0.79), 0.9)
    canvas.shade(row * np.clip(np.abs(canvas.x - 0.5) / 0.034, 0, 1) ** 2, (0.5, 0.4, 0.4), 0.9)
    for x in (0.485, 0.4925, 0.5, 0.5075, 0.515):
        canvas.shade(
            canvas.stroke([(x, y - 0.006), (x, y + 0.005)], [0.001, 0.001], 0.0005) * row, (0.7, 0.6, 0.58), 0.5
        )


def _unrolled(look: Look) -> Floats:
    """The lips' own colours, float RGB [TEXTURE_V, TEXTURE_U, 3]: darker towards seam and corners, a sheen below."""
    tone = Complexion(look)
    u = np.linspace(-1.0, 1.0, TEXTURE_U, dtype=np.float32)[None, :]
    v = np.linspace(0.0, 2.0, TEXTURE_V, dtype=np.float32)[:, None]
    base = np.asarray(tone.lips, np.float32)
    creases = 0.025 * np.sin(u * 46.0 + 2.0 * np.sin(u * 9.0)) * (1.0 - u * u)
    upper = 0.93 - 0.20 * np.clip(v, 0, 1) ** 1.5 + 0.05 * np.exp(-(((v - 0.12) / 0.14) ** 2))
    below = v - 1.0
    lower = 1.07 - 0.18 * np.clip(below, 0, 1) ** 2.0 - 0.16 * np.exp(-((below / 0.10) ** 2))
    value = np.where(v < 1.0, upper, lower) - 0.22 * np.abs(u) ** 3.0 - 0.05 * np.clip(u, 0, 1) + creases
    texture = base * value[..., None].astype(np.float32)
    warm = np.asarray((1.0, 0.94, 0.95), np.float32)
    texture *= 1.0 - (1.0 - warm) * np.clip(1.2 - value, 0, 1)[..., None]
    sheen = np.exp(-(((u + 0.16) / 0.34) ** 2) - ((v - 1.36) / 0.15) ** 2) * (0.7 + 6.0 * creases)
    sheen = sheen + 0.35 * np.exp(-(((u + 0.26) / 0.16) ** 2) - ((v - 0.14) / 0.12) ** 2)
    glow = np.asarray(mix(rgb(look.skin), (1.0, 0.97, 0.95), 0.75), np.float32)
    shine = (0.26 + 0.10 * look.lip_fullness) * np.clip(sheen, 0, 1)[..., None]
    return np.asarray(np.clip(texture + shine * glow * (1.0 - texture), 0.0, 1.0), np.float32)
