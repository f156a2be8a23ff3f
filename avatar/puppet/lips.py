"""The mouth: from mouth parameters to lip outlines, and from those to the pixels of a window.

In: a look, then for each picture a `Mouth` and how much it smiles. Out: luma and chroma of the window around the
mouth. Seen from the front, lips are functions of x: every column of the window has its own heights of the upper lip's
edge, the line between the lips, and the lower lip's edge. Coverage and shading follow from these by arithmetic, which
makes edges exact at any fraction of a pixel. The colours of the lips are painted once, as if unrolled, and looked up;
what shows between them comes from `oral.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Floats, as_floats, mix, rgb
from avatar.puppet.head import Complexion
from avatar.puppet.look import Look
from avatar.puppet.mesh import jaw_share
from avatar.puppet.mouth import Mouth
from avatar.puppet.oral import Inside
from avatar.puppet.planes import Bytes, Window, chroma_of, luma_of, to_bytes

SEAM = np.float32(0.4)
"""How dark the line between closed lips is, of the dark of an open mouth."""
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
        teeth_y: lower edge of the upper teeth.
        tongue_y, tip_y, lower_teeth_y: upper edges of the tongue's back, of its tip and of the lower teeth.
        under_y: the lower lip's edge in the middle.
        corner_y, half_width, middle_x: where the corners are.
    """

    u: Floats
    top: Floats
    upper: Floats
    lower: Floats
    bottom: Floats
    jaw: float
    teeth_y: float
    tongue_y: float
    tip_y: float
    lower_teeth_y: float
    under_y: float
    corner_y: float
    half_width: float
    middle_x: float


def outline(x: Floats, mouth: Mouth, smile: float, aside: float, fullness: float) -> Outline:
    """Where the lips are, as seen before the head moves.

    Args:
        x: columns, shares of the picture's side.
        smile: 0 to 1; what is above 1 is a grin, which parts the lips over the teeth.
    """
    shut = min(1.0, max(mouth.closure, 0.0))
    tuck = mouth.lip_teeth * (1.0 - shut)
    jaw = mouth.jaw * (1.0 - 0.6 * shut) * (1.0 - 0.75 * tuck)
    ring = mouth.rounding * (1.0 - 0.6 * shut)
    gape = at.GAPE * jaw * (1.0 - 0.28 * ring) * (1.0 - shut)
    apart, drawn = max(0.0, mouth.spread), max(0.0, -mouth.spread)
    grin = max(0.0, smile - 1.0) * (1.0 - shut) * (1.0 - ring) * (1.0 - tuck)
    smile = min(smile, 1.0)
    half = at.MOUTH_HALF_WIDTH + 0.0085 * apart - 0.010 * drawn - 0.0185 * ring - 0.003 * jaw + 0.0065 * smile
    half += 0.0080 * grin
    middle_x = 0.5 + aside
    u = (x - np.float32(middle_x)) / np.float32(half)
    squared = u * u
    inside = np.clip(1.0 - squared, 0.0, 1.0)
    raised = (0.0190 * smile + 0.002 * apart + 0.0050 * grin) * (1.0 - 0.6 * jaw)
    settle = 0.25 * gape
    line = (
        np.float32(at.MOUTH_Y + 0.33 * raised)
        - np.float32(raised) * np.minimum(np.abs(u) ** np.float32(1.7), 1.25)
        + np.float32(settle) * np.minimum(squared, 1.0)
    )
    line += 0.0016 * (1.0 - ring) * (1.0 - jaw) * np.exp(squared * np.float32(-25.0)) + 0.4 * aside * u
    # A ring and a lip at the teeth open the middle of the mouth only: beside it the lips stay together.
    open_part = 1.0 - 0.12 * ring - 0.14 * tuck
    power = 0.62 + 0.25 * apart * (1.0 - jaw) + 0.14 * ring * (1.0 - jaw)
    parting = np.clip(1.0 - squared * np.float32(1.0 / open_part**2), 0.0, 1.0) ** np.float32(power)
    lift = 0.17 * gape + 0.0055 * tuck + 0.003 * ring * jaw + 0.0125 * grin
    sink = 0.83 * gape - 0.0015 * tuck + 0.0110 * grin
    upper = line - np.float32(lift) * parting
    lower = line + np.float32(max(sink, -lift)) * parting
    full = (0.62 + 0.62 * fullness) * (1.0 - 0.30 * shut)
    thick_upper = at.LIP_UPPER * full * (1.0 - 0.16 * jaw + 0.30 * ring - 0.12 * apart - 0.10 * smile)
    thick_lower = at.LIP_LOWER * full * (1.0 - 0.14 * jaw + 0.24 * ring - 0.10 * apart - 0.30 * tuck)
    bow = 1.02 - 0.28 * np.exp(squared * np.float32(-34.6))
    top = upper - np.float32(thick_upper) * bow * inside ** np.float32(0.80)
    bottom = lower + np.float32(thick_lower) * inside ** np.float32(0.70)
    over, under = float(upper[len(u) // 2]), float(lower[len(u) // 2])
    teeth_y = at.MOUTH_Y + 0.0085 - 0.010 * ring - 0.002 * jaw - 0.0035 * mouth.tongue * (1.0 - jaw)
    teeth_y = min(teeth_y, over - 0.0015 + 1.35 * (under - over))  # between lips that meet there is only dark
    # Through a slit teeth are seen, not the tongue behind them.
    tip = min(1.0, max(0.0, mouth.tongue)) * min(1.0, max(0.0, (under - over - 0.0035) / 0.0055))
    return Outline(
        u, top, upper, lower, bottom, jaw,
        teeth_y=teeth_y,
        tongue_y=under + 0.002 - 0.017 * jaw * (1.0 - shut),
        tip_y=under + 0.004 + (teeth_y - 0.004 - under - 0.004) * tip,
        under_y=under,
        lower_teeth_y=under + 0.0085 - 0.0145 * min(1.0, max(0.0, 2.2 * jaw - 0.4)),
        corner_y=float(at.MOUTH_Y - 0.67 * raised + settle),
        half_width=half,
        middle_x=middle_x,
    )  # fmt: skip


class Lips:
    """The mouth of one painting, ready to be composed. Arrays are shared and never written after painting.

    Args:
        skin: the painting without lips, float RGB of the window.
        light: colour of the light on everything, RGB.
    """

    def __init__(self, window: Window, look: Look, skin: Floats, light: Floats) -> None:
        self.window = window
        self._fullness = look.lip_fullness
        side = window.side
        self._soft = side / 1024.0
        self._x: Floats = (window.x + np.arange(window.width, dtype=np.float32) + 0.5) / np.float32(side)
        self._rows: Floats = np.arange(window.height, dtype=np.float32)[:, None] + np.float32(window.y + 0.5)
        self._skin_luma, self._skin_chroma = luma_of(skin), _beside(chroma_of(skin))
        self._skin_luma_bytes, self._skin_chroma_bytes = to_bytes(self._skin_luma), to_bytes(self._skin_chroma)
        texture = _unrolled(look) * light
        chroma = chroma_of(np.repeat(np.repeat(texture, 2, axis=0), 2, axis=1))
        self._texture = [to_bytes(plane) for plane in (luma_of(texture), chroma[:TEXTURE_V], chroma[TEXTURE_V:])]
        self._inside = Inside(window, Complexion(look).lips, light)

    def compose(self, mouth: Mouth, smile: float, aside: float) -> tuple[Bytes, Bytes, float]:
        """The window's luma [h, w], its chroma [h // 2, w] (U beside V), and how far the jaw is dropped."""
        lips = outline(self._x, mouth, smile, aside, self._fullness)
        soft = np.float32(self._soft)
        levels = [lips.teeth_y, lips.tongue_y, lips.tip_y, lips.lower_teeth_y, lips.under_y]
        heights = np.concatenate([lips.top, lips.upper, lips.lower, lips.bottom, np.array(levels, np.float32)])
        # Heights as they lie in the painting, before the mesh carries the jaw down; px.
        heights -= np.float32(lips.jaw * at.CHIN_DROP) * jaw_share(heights)
        heights *= np.float32(self.window.side)
        top, upper, lower, bottom = heights[: -len(levels)].reshape(4, -1)
        band = self._band(top, bottom)
        rows = self._rows[band]
        ends = np.clip((np.float32(1.02) - np.abs(lips.u)) * np.float32(9.0), 0.0, 1.0)
        cover = np.minimum(rows - top, bottom - rows)
        cover += np.float32(0.5) * ends - (ends <= 0.0)
        cover *= np.float32(1.0 / 1.4) / soft
        middle, parted = (upper + lower) * np.float32(0.5), (lower - upper) * np.float32(0.5)
        gap = np.abs(rows - middle)
        np.subtract(parted + np.float32(1.25) * soft * ends, gap, out=gap)
        gap *= np.float32(1.0 / 1.3) / soft
        np.clip(gap, 0.0, 1.0, out=gap)
        # Lips that meet are parted by a soft line; the dark of the mouth is seen once there is a gap.
        gap *= SEAM + (1.0 - SEAM) * np.minimum(parted / np.float32(self._soft), 1.0)
        np.clip(cover, gap, 1.0, out=cover)
        v = np.clip((rows - top) / np.maximum(upper - top, 0.5), 0.0, 1.0)
        v += np.clip((rows - lower) / np.maximum(bottom - lower, 0.5), 0.0, 1.0)
        v *= np.float32(TEXTURE_V / 2)
        v -= np.float32(0.5)
        u = np.empty_like(v)
        u[:] = (lips.u + 1.0) * np.float32(TEXTURE_U / 2) - np.float32(0.5)
        luma = self._skin_luma[band] * self._corner_shadow(lips, rows)
        _lay(luma, _looked_up(self._texture[0], u, v), cover)
        # U beside V, so that both are one array
        small_band = slice(band.start // 2, band.stop // 2)
        chroma = self._skin_chroma[small_band].copy()
        half_u, half_v = np.ascontiguousarray(u[::2, ::2]), np.ascontiguousarray(v[::2, ::2])
        tint = np.hstack([_looked_up(texture, half_u, half_v) for texture in self._texture[1:]])
        _lay(chroma, tint, _twice(cover))
        hole = self._hole(upper, lower, lips, band)
        here, small_hole = (
            slice(hole.start - band.start, hole.stop - band.start),
            slice(hole.start // 2, hole.stop // 2),
        )
        within, tint = self._inside.at(heights[-len(levels) :], hole)
        through = gap[here]
        deep = as_floats(cv2.blur(through, (1, 2 * round(3 * self._soft) + 1)))
        deep *= np.float32(0.58)
        deep += np.float32(0.42)
        within -= np.float32(16.0)
        within *= deep
        within += np.float32(16.0)
        _lay(luma[here], within, through)
        _lay(chroma[small_hole.start - small_band.start : small_hole.stop - small_band.start], tint, _twice(through))
        luma_bytes, chroma_bytes = self._skin_luma_bytes.copy(), self._skin_chroma_bytes.copy()
        luma_bytes[band] = cv2.convertScaleAbs(luma)
        chroma_bytes[small_band] = cv2.convertScaleAbs(chroma)
        return luma_bytes, chroma_bytes, lips.jaw

    def _band(self, top: Floats, bottom: Floats) -> slice:
        """The rows of the window that anything of the mouth reaches, even."""
        margin = 0.016 * self.window.side
        first = max(0, int(float(top.min()) - self.window.y - margin) // 2 * 2)
        last = min(self.window.height, -(-int(float(bottom.max()) - self.window.y + margin) // 2) * 2)
        return slice(first, last)

    def _hole(self, upper: Floats, lower: Floats, lips: Outline, band: slice) -> slice:
        """The rows of the window in which anything shows between the lips, even."""
        reach = 1.04 * lips.half_width
        first, last = ((lips.middle_x + way * reach) * self.window.side - self.window.x for way in (-1.0, 1.0))
        inside = slice(max(0, int(first)), int(last) + 1)
        top, bottom = float(upper[inside].min()) - self.window.y - 4.0, float(lower[inside].max()) - self.window.y + 4.0
        start, stop = max(band.start, int(top) // 2 * 2), min(band.stop, -(-int(bottom) // 2) * 2)
        return slice(start, max(stop, start + 2))

    def _corner_shadow(self, lips: Outline, rows: Floats) -> Floats:
        """Dimples at the corners: a factor for the skin around them."""
        across = np.float32(0.13) * np.exp(-(((np.abs(lips.u) - np.float32(1.02)) / np.float32(0.08)) ** 2))
        side = np.float32(self.window.side)
        down = np.exp(-(((rows - np.float32(lips.corner_y) * side) / (np.float32(0.0065) * side)) ** 2))
        return np.asarray(np.float32(1.0) - down * across, np.float32)


def _beside(chroma: Floats) -> Floats:
    """U above V as U beside V."""
    half = chroma.shape[0] // 2
    return np.hstack([chroma[:half], chroma[half:]])


def _looked_up(texture: Bytes, u: Floats, v: Floats) -> Floats:
    found = cv2.remap(texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _twice(mask: Floats) -> Floats:
    """A mask at chroma's size, for U and for V beside it."""
    small = cv2.resize(mask, (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.hstack([small, small])


def _lay(under: Floats, colour: Floats, cover: Floats) -> None:
    """Blend ``colour``, which is used up, into ``under``."""
    colour -= under
    colour *= cover
    under += colour


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
