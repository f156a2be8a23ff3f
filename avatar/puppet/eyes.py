"""Eyes: painted once for every position of the lids, composed for each picture from three sprites.

In: a look; then, for each picture, lids and gaze. Out: luma and chroma of the window around both eyes. Lids between
two painted positions are a mix of the two, and the iris is laid down at fractions of a pixel, so nothing steps.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, Floats, Rgb, curve, mix, rgb, scaled, shifted
from avatar.puppet.head import Complexion
from avatar.puppet.look import Look
from avatar.puppet.planes import Bytes, Window, as_bytes, chroma_of, halved_mask, luma_of, to_bytes

Line = npt.NDArray[np.float64]

WIDEST, LEVELS = -0.25, 26
"""Lids are painted from wide open (below 0) to shut (1) in this many steps, at most one pixel apart at 512."""
LID_FOLLOWS_GAZE = 0.16
"""How far the upper lid follows a full look up or down."""
INK: Rgb = (0.13, 0.085, 0.08)


def eye_window(side: int) -> Window:
    return Window.around(side, 0.5 - 0.148, at.EYE_Y - 0.062, 0.5 + 0.148, at.EYE_Y + 0.046)


def canvas_on(window: Window) -> Canvas:
    side = window.side
    return Canvas(window.width, window.height, side, window.x / side, window.y / side)


class Lids:
    """The outlines of one eye, lids at a level. ``side`` is -1 for the left eye in the picture, 1 for the right."""

    def __init__(self, side: int, level: float) -> None:
        self.side, self.level = side, level
        self.across = np.linspace(-1.0, 1.0, 41)
        e = self.across
        base = -at.EYE_SLANT * e
        arch = np.clip(1.0 - np.abs(e + 0.10 * (1 - e * e)) ** 2.3, 0.0, 1.0) ** 0.72
        bowl = np.clip(1.0 - np.abs(e - 0.12 * (1 - e * e)) ** 2.2, 0.0, 1.0) ** 0.85
        self.upper_open = base - at.EYE_UPPER * arch
        lower_open = base + at.EYE_LOWER * bowl
        shut = base + 0.0125 * bowl
        self.upper = self.upper_open + (shut - self.upper_open) * level
        self.lower = lower_open + (shut - lower_open) * max(0.0, level) * 0.9
        self.lower = np.maximum(self.lower, self.upper)
        self.crease = self.upper_open + (
            0.004 * max(level, 0.0) - 0.0125 * np.clip(1.0 - np.abs(e) ** 2.6, 0.0, 1.0) ** 0.6
        )

    def line(self, heights: Line, start: float = -1.0, end: float = 1.0) -> Line:
        """Heights along the eye as points of the picture, from ``start`` to ``end`` (-1 inner, 1 outer corner)."""
        chosen = (self.across >= start - 1e-9) & (self.across <= end + 1e-9)
        x = 0.5 + self.side * (at.EYE_X + self.across[chosen] * at.EYE_HALF_WIDTH)
        return np.stack([x, at.EYE_Y + heights[chosen]], axis=1)

    def opening(self) -> Line:
        return np.vstack([self.line(self.upper), self.line(self.lower)[::-1]])


def paint_lids(canvas: Canvas, look: Look, tone: Complexion, level: float, eyeball: Rgb) -> None:
    """Both eyes' lids and lashes over the skin that the canvas holds, around eyeballs of one flat colour."""
    for side in (-1, 1):
        lids = Lids(side, level)
        _lid_skin(canvas, lids, tone, look)
        opening = canvas.fill(lids.opening())
        canvas.paint(opening, eyeball)
        drop = canvas.stroke(lids.line(lids.upper + 0.004), [0.004, 0.012, 0.012, 0.005], 0.0035)
        canvas.shade(drop * opening, (0.55, 0.55, 0.55), 0.75 * (1.0 - max(level, 0.0) * 0.5))
        _lashes(canvas, lids, look, tone)


def _lid_skin(canvas: Canvas, lids: Lids, tone: Complexion, look: Look) -> None:
    shut = max(0.0, lids.level)
    lid = canvas.fill(np.vstack([lids.line(lids.crease), lids.line(lids.upper)[::-1]]), 0.0008)
    canvas.paint(lid, mix(tone.base, scaled(tone.base, 0.92, 0.76, 0.73), 0.70), 0.9)
    middle = (lids.crease + lids.upper) / 2
    canvas.light(
        lid * canvas.stroke(lids.line(middle, -0.6, 0.5), [0.0, 0.006 + 0.012 * shut, 0.0], 0.004), tone.lit, 0.34
    )
    canvas.shade(
        lid * canvas.stroke(lids.line(lids.upper - 0.002), [0.003, 0.007, 0.010, 0.008], 0.003),
        tone.deep,
        0.5 * look.lashes + 0.1,
    )
    canvas.shade(
        canvas.stroke(lids.line(lids.crease, -0.86, 0.97), [0.0, 0.0042, 0.0048, 0.003], 0.0013), tone.deep, 0.50
    )
    canvas.shade(
        canvas.stroke(lids.line(lids.crease - 0.003, -0.8, 0.95), [0.0, 0.010, 0.012, 0.004], 0.004), tone.shadow, 0.35
    )
    bag = lids.lower + 0.0105
    canvas.shade(canvas.stroke(lids.line(bag, -0.9, 0.6), [0.0, 0.004, 0.004, 0.0], 0.002), tone.shadow, 0.30)


def _lashes(canvas: Canvas, lids: Lids, look: Look, tone: Complexion) -> None:
    shut = float(np.clip(lids.level, 0.0, 1.0))
    ink = mix(INK, scaled(rgb(look.hair), 0.35, 0.35, 0.4), 0.35)
    # lower lid: a moist edge, then a thin line
    rim = canvas.stroke(lids.line(lids.lower - 0.0012, -0.8, 0.85), [0.0, 0.0022, 0.0022, 0.0], 0.0006)
    canvas.paint(rim, mix(tone.base, (1.0, 0.86, 0.84), 0.5), 0.55 * (1.0 - shut))
    heavy = 0.35 + 0.65 * look.lashes
    canvas.paint(
        canvas.stroke(lids.line(lids.lower + 0.0006, -0.75, 1.0), [0.0, 0.0012, 0.0018, 0.0026], 0.0007),
        mix(ink, tone.base, 0.25),
        0.6 * heavy,
    )
    # upper lid: one line that swells outwards and ends in a wing
    upper = lids.line(lids.upper)
    tip = upper[-1] + np.array([lids.side * 0.0070, -0.0052 + 0.0072 * shut]) * look.lashes
    line = np.vstack(
        [
            upper[1:],
            curve([tuple(upper[-1]), tuple((upper[-1] + tip) / 2 + (0, 0.0006)), tuple(tip)], closed=False, per_span=5)[
                1:
            ],
        ]
    )
    canvas.paint(
        canvas.stroke(
            shifted(line, 0.0, -0.0008),
            [0.0012, 0.0040 * heavy + 0.0006, 0.0056 * heavy, 0.0074 * heavy, 0.0068 * heavy, 0.0006],
        ),
        ink,
    )
    if look.lashes < 0.4:
        return
    for place, length in ((0.70, 0.62), (0.88, 0.90)):
        root = np.array([np.interp(place, lids.across, upper[:, k]) for k in (0, 1)]) - (0.0, 0.0015 * (1 - shut))
        reach = 0.0105 * length * look.lashes
        up = np.array([lids.side * (0.42 + 0.55 * place), -(0.86 - 0.42 * place)])
        down = np.array([lids.side * (0.15 + 0.55 * place), 0.62])
        aim = up * (1 - shut) + down * shut
        bend = root + aim * reach * 0.55 + np.array([lids.side * 0.0016, 0.0012])
        lash = curve([tuple(root), tuple(bend), tuple(root + aim * reach)], closed=False, per_span=6)
        canvas.paint(canvas.stroke(lash, [0.0040, 0.0024, 0.0003]), ink)


def paint_eyeballs(canvas: Canvas) -> None:
    """Two whites, rounded by shade at their rims."""
    canvas.paint(np.ones_like(canvas.alpha), (0.945, 0.935, 0.925))
    for side in (-1, 1):
        x = 0.5 + side * at.EYE_X
        rim = np.clip(1.0 - canvas.spot(x - 0.003, at.EYE_Y - 0.002, 0.034, 0.026), 0, 1)
        near = canvas.spot(x, at.EYE_Y, 0.06, 0.05) > 0.05
        canvas.shade((rim * near).astype(np.float32), (0.76, 0.70, 0.71), 0.8)
        canvas.paint(
            canvas.spot(x - side * (at.EYE_HALF_WIDTH - 0.003), at.EYE_Y + 0.0035, 0.0055, 0.0042),
            (0.86, 0.56, 0.54),
            0.85,
        )
        canvas.shade(canvas.spot(x, at.EYE_Y - at.EYE_UPPER, 0.05, 0.013), (0.58, 0.55, 0.62), 0.75)


def paint_iris(canvas: Canvas, look: Look) -> None:
    """One iris about (0, 0), with pupil and the light caught in it."""
    radius, base = at.IRIS, rgb(look.eyes)
    turn = np.linspace(0.0, 2 * np.pi, 65)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    disc = canvas.fill(ring * radius, 0.0006)
    dark, bright = mix(scaled(base, 0.30, 0.30, 0.36), (0.08, 0.06, 0.08), 0.3), mix(base, (1.0, 0.95, 0.80), 0.42)
    canvas.colour[:] = np.array(dark, np.float32)
    canvas.paint(disc, dark)
    canvas.paint(canvas.fill(ring * radius * 0.84, 0.0026) * disc, base)
    random = np.random.default_rng(3)
    fibres = []
    for angle in np.arange(0.0, 2 * np.pi, 2 * np.pi / 56):
        way = np.array([np.cos(angle), np.sin(angle)])
        inner, outer = random.uniform(0.42, 0.55), random.uniform(0.68, 0.90)
        course = np.linspace(way * radius * inner, way * radius * outer, 5)
        fibres.append((course, [0.0008, 0.0014, 0.0003], random.uniform(0.1, 0.8)))
    canvas.light(canvas.strands(fibres, 0.0005) * disc, bright, 0.30)
    # light falls in from above left and gathers in the lower right of the iris
    canvas.light(canvas.spot(radius * 0.16, radius * 0.50, radius * 0.46, radius * 0.30) * disc, bright, 0.62)
    canvas.shade(canvas.ramp((0.0, radius * 0.05), (0.0, -radius * 1.0)) * disc, (0.36, 0.34, 0.42), 0.85)
    canvas.paint(canvas.fill(ring * radius * 0.45, 0.0012), (0.04, 0.03, 0.04))
    canvas.light(canvas.hollow(disc, 0.0016, -0.0008, -0.0012), bright, 0.16)
    glint = ring * np.array([0.0070, 0.0080]) + np.array([-0.0094, -0.0108])
    canvas.paint(canvas.fill(glint, 0.0006), (1.0, 1.0, 1.0), 0.96)
    canvas.paint(canvas.fill(ring * 0.0030 + np.array([0.0100, 0.0104]), 0.0009), (1.0, 1.0, 1.0), 0.50)


class Eyes:
    """Both eyes of one painting, ready to be composed. Arrays are shared and never written after painting.

    Args:
        skin: the painting without eyes, float RGB of the window.
        front: what lies over the eyes (hair, glasses) in the window: colour and alpha, or None.
        light: colour of the light on everything, RGB.
    """

    def __init__(self, window: Window, look: Look, skin: Floats, front: Canvas | None, light: Floats) -> None:
        self.window = window
        tone = Complexion(look)
        self._lid_luma: list[Bytes] = []
        self._lid_chroma: list[Bytes] = []
        self._hole_luma: list[Bytes] = []
        self._hole_chroma: list[Bytes] = []
        for level in np.linspace(WIDEST, 1.0, LEVELS):
            closed, opened = (self._lids(look, tone, skin, front, float(level), ball) for ball in (0.0, 1.0))
            hole = (opened - closed)[..., 1]
            closed = closed * light
            self._lid_luma.append(to_bytes(luma_of(closed, 0.0) + 16.0 * (1.0 - hole)))
            half = halved_mask(hole)
            self._lid_chroma.append(to_bytes(chroma_of(closed, 0.0) + 128.0 * (1.0 - np.vstack([half, half]))))
            self._hole_luma.append(to_bytes(255.0 * hole))
            self._hole_chroma.append(to_bytes(255.0 * np.vstack([half, half])))
        balls = canvas_on(window)
        paint_eyeballs(balls)
        lit = balls.colour * light
        self._ball_luma, self._ball_chroma = to_bytes(luma_of(lit)), to_bytes(chroma_of(lit))
        self._iris = _Sprite(window.side, look, light)

    def _lids(
        self, look: Look, tone: Complexion, skin: Floats, front: Canvas | None, level: float, ball: float
    ) -> Floats:
        canvas = canvas_on(self.window)
        canvas.colour[:] = skin
        paint_lids(canvas, look, tone, level, (ball, ball, ball))
        if front is not None:
            canvas.lay(front)
        return canvas.colour.clip(0.0, 1.0)

    def compose(self, lids: float, gaze_x: float, gaze_y: float) -> tuple[Bytes, Bytes]:
        """The window's luma [height, width] and chroma [height, width // 2] (U above V)."""
        upper = lids + LID_FOLLOWS_GAZE * gaze_y * (1.0 - max(0.0, min(1.0, lids)))
        place = min(1.0, max(0.0, (upper - WIDEST) / (1.0 - WIDEST))) * (LEVELS - 1)
        low = min(int(place), LEVELS - 2)
        share = place - low
        balls_luma, balls_chroma = self._ball_luma.copy(), self._ball_chroma.copy()
        for side in (-1, 1):
            x = (0.5 + side * at.EYE_X + gaze_x * at.GAZE_X) * self.window.side - self.window.x
            y = (at.EYE_Y - 0.0040 + gaze_y * at.GAZE_Y) * self.window.side - self.window.y
            self._iris.lay(balls_luma, balls_chroma, x, y)
        out = []
        for lid, hole, ball in (
            (self._lid_luma, self._hole_luma, balls_luma),
            (self._lid_chroma, self._hole_chroma, balls_chroma),
        ):
            skin = cv2.addWeighted(lid[low], 1.0 - share, lid[low + 1], share, 0.0)
            through = cv2.addWeighted(hole[low], 1.0 - share, hole[low + 1], share, 0.0)
            out.append(as_bytes(cv2.add(skin, cv2.multiply(ball, through, scale=1.0 / 255.0))))
        return out[0], out[1]


class _Sprite:
    """One iris, laid down anywhere at fractions of a pixel."""

    def __init__(self, side: int, look: Look, light: Floats) -> None:
        half = int(np.ceil(at.IRIS * side * 1.12 / 2)) * 2 + 2
        self._half = half
        canvas = Canvas(2 * half, 2 * half, side, -half / side, -half / side)
        paint_iris(canvas, look)
        alpha = canvas.alpha
        colour = (canvas.colour * light).clip(0.0, 1.0)
        small = halved_mask(alpha)
        chroma = chroma_of(colour)
        self._luma = to_bytes(np.dstack([luma_of(colour) * alpha, 255.0 * alpha]))
        self._chroma = to_bytes(np.dstack([chroma[:half] * small, chroma[half:] * small, 255.0 * small]))

    def lay(self, luma: Bytes, chroma: Bytes, x: float, y: float) -> None:
        """Blend it in, its middle at (x, y) px of the luma plane (pixel edges count from 0)."""
        left, top = int(np.floor((x - self._half) / 2)) * 2, int(np.floor((y - self._half) / 2)) * 2
        dx, dy = x - self._half - left, y - self._half - top
        size = 2 * self._half + 2
        moved = as_bytes(cv2.warpAffine(self._luma, _shift(dx, dy), (size, size)))
        small = as_bytes(cv2.warpAffine(self._chroma, _shift(dx / 2, dy / 2), (size // 2, size // 2)))
        rows, columns = slice(top, top + size), slice(left, left + size)
        _blend(luma[rows, columns], moved[..., 0], moved[..., 1])
        half_rows, half_columns = slice(top // 2, (top + size) // 2), slice(left // 2, (left + size) // 2)
        middle = chroma.shape[0] // 2
        _blend(chroma[:middle][half_rows, half_columns], small[..., 0], small[..., 2])
        _blend(chroma[middle:][half_rows, half_columns], small[..., 1], small[..., 2])


def _shift(dx: float, dy: float) -> npt.NDArray[np.float32]:
    return np.array([[1, 0, dx], [0, 1, dy]], np.float32)


def _blend(under: Bytes, colour: Bytes, alpha: Bytes) -> None:
    under[:] = cv2.add(cv2.multiply(under, cv2.bitwise_not(alpha), scale=1.0 / 255.0), colour)
