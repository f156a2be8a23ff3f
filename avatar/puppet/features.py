"""What makes a face this one: nose, freckles, the lines of age, a beard. Painted on the skin, once."""

from __future__ import annotations

import cv2
import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, Line, Mask, curve, mirrored, mix, rgb, ribbon, scaled, symmetrical
from avatar.puppet.hair import Shades
from avatar.puppet.head import Complexion, circle, face_mask
from avatar.puppet.look import Look

STEPS = np.linspace(0.0, 1.0, 6)[:, None]
"""Along a hair of a beard."""


def features(canvas: Canvas, look: Look) -> None:
    tone, mask = Complexion(look), face_mask(canvas, look)
    _nose(canvas, tone, look)
    if look.lines > 0.0:
        _lines(canvas, look, tone, mask)
    if look.freckles > 0.0:
        _freckles(canvas, look, tone)
    if look.stubble > 0.0:
        _stubble(canvas, look, mask)
    if look.beard != "none":
        _beard(canvas, look)


def _nose(canvas: Canvas, tone: Complexion, look: Look) -> None:
    """A shaded side, a lit bridge and tip, wings, and one soft shadow below."""
    y, wide = at.NOSE_Y, 1.0 + 0.30 * look.nose
    side = curve([(0.519, 0.405), (0.512, 0.445), (0.514, 0.482), (0.524, 0.512), (0.532, 0.532)], closed=False)
    canvas.shade(canvas.stroke(side, [0.003, 0.012, 0.013, 0.016, 0.008], 0.007), tone.shadow, 0.46)
    below = [(0.5, y + 0.0045), (0.512, y + 0.002), (0.526, y - 0.001), (0.531, y + 0.004), (0.518, y + 0.0125),
             (0.5, y + 0.0165)]  # fmt: skip
    under = symmetrical([(0.5 + (px - 0.5) * wide, py) for px, py in below])
    canvas.shade(canvas.fill(under, 0.0036), tone.shadow, 0.72)
    canvas.shade(canvas.fill(np.add(under, (0.004, 0.004)), 0.006), tone.shadow, 0.35)
    canvas.shade(canvas.spot(0.514, y - 0.006, 0.015 * wide, 0.011), tone.shadow, 0.26)
    bridge = curve([(0.494, 0.405), (0.4955, 0.45), (0.494, 0.50)], closed=False)
    canvas.light(canvas.stroke(bridge, [0.003, 0.008, 0.012], 0.005), tone.lit, 0.36)
    canvas.light(canvas.spot(0.4925, 0.515, 0.0105, 0.0085), tone.lit, 0.40)
    canvas.light(canvas.spot(0.4905, 0.5115, 0.0040, 0.0032), (1.0, 1.0, 1.0), 0.36)
    for s in (-1, 1):
        wing = [(0.5255, 0.519), (0.5335, 0.529), (0.5325, 0.540), (0.525, 0.5445)]
        hole = [(0.5065, y + 0.0065), (0.5125, y + 0.0025), (0.520, y + 0.0035), (0.5195, y + 0.0068),
                (0.5125, y + 0.0078)]  # fmt: skip
        wing_line = curve([(0.5 + s * (px - 0.5) * wide, py) for px, py in wing], closed=False)
        hole_line = curve([(0.5 + s * (px - 0.5) * wide, py) for px, py in hole])
        canvas.shade(canvas.stroke(wing_line, [0.0, 0.0036, 0.0040, 0.001], 0.0018), tone.deep, 0.28)
        canvas.shade(canvas.fill(hole_line, 0.0015), scaled(tone.deep, 0.60, 0.48, 0.48), 0.62)


def _lines(canvas: Canvas, look: Look, tone: Complexion, mask: Mask) -> None:
    """Age: folds beside nose and mouth, at the eyes, across the forehead; each with a lit lip below it."""
    strength = look.lines
    folds: list[tuple[Line, float, float]] = []
    for height, half in ((0.283, 0.085), (0.306, 0.100), (0.330, 0.088)):
        wave = np.linspace(-1.0, 1.0, 25)
        rise = height + 0.006 * wave**2 + 0.0018 * np.sin(6.0 * wave + 40 * height)
        folds.append((np.stack([0.497 + half * wave, rise], axis=1), 0.0032, 0.34))
    for side in (1, -1):
        x, y = at.EYE_X + at.EYE_HALF_WIDTH, at.EYE_Y
        marks: list[tuple[list[tuple[float, float]], float, float]] = [
            ([(0.536, 0.528), (0.561, 0.556), (0.576, 0.592), (0.573, 0.622)], 0.0050, 0.62),
            ([(0.5 + at.EYE_X - 0.035, y + 0.036), (0.5 + at.EYE_X, y + 0.045), (0.5 + at.EYE_X + 0.034, y + 0.036)],
             0.0040, 0.45),
            ([(0.5 + x + 0.006, y - 0.004), (0.5 + x + 0.018, y - 0.010), (0.5 + x + 0.026, y - 0.019)], 0.0022, 0.5),
            ([(0.5 + x + 0.007, y + 0.004), (0.5 + x + 0.019, y + 0.004), (0.5 + x + 0.028, y + 0.001)], 0.0022, 0.5),
            ([(0.5 + x + 0.005, y + 0.011), (0.5 + x + 0.015, y + 0.016), (0.5 + x + 0.024, y + 0.020)], 0.0022, 0.45),
            ([(0.515, 0.362), (0.512, 0.378), (0.514, 0.394)], 0.0030, 0.35),
        ]  # fmt: skip
        for points, width, depth in marks:
            line = curve(points, closed=False)
            folds.append((line if side > 0 else mirrored(line), width, depth))
    for line, width, depth in folds:
        canvas.shade(mask * canvas.stroke(line, [0.0, width, 0.0], 0.0016), tone.deep, 0.75 * depth * strength)
        canvas.shade(mask * canvas.stroke(line, [0.0, 2.4 * width, 0.0], 0.005), tone.shadow, 0.7 * depth * strength)
        lip = np.add(line, (-0.0005, 1.3 * width))
        canvas.light(mask * canvas.stroke(lip, [0.0, width, 0.0], 0.002), tone.lit, 0.30 * depth * strength)


def _freckles(canvas: Canvas, look: Look, tone: Complexion) -> None:
    random = np.random.default_rng(7)
    dots = []
    for _ in range(int(150 * look.freckles)):
        side = random.choice((-1, 1))
        x, y = (
            0.5 + float(side) * abs(random.normal(0.062, 0.044)),
            0.503 + 0.020 * float(np.clip(random.normal(), -1.6, 1.6)),
        )
        dots.append((circle(x, y, random.uniform(0.0008, 0.0019)), random.uniform(0.25, 0.8)))
    canvas.shade(canvas._filled(dots, 0.0006), scaled(tone.shadow, 0.98, 0.86, 0.76), 0.5)


def _stubble(canvas: Canvas, look: Look, mask: Mask) -> None:
    """A beard's shadow: jaw, chin and upper lip, grained."""
    hair = mix(rgb(look.hair), (0.1, 0.09, 0.1), 0.4)
    outer = [(0.5, 0.564), (0.55, 0.568), (0.585, 0.60), (0.625, 0.57), (0.664, 0.50), (0.70, 0.50), (0.69, 0.72),
             (0.5, 0.74)]  # fmt: skip
    area = canvas.fill(symmetrical(curve(outer, closed=False)), 0.010) * mask
    bare = canvas.fill(
        symmetrical(curve([(0.5, 0.588), (0.56, 0.603), (0.545, 0.631), (0.5, 0.637)], closed=False)), 0.006
    )
    grain = np.random.default_rng(5).random(mask.shape).astype(np.float32)
    grain = np.clip((canvas.blurred(grain, 0.0007) - 0.42) * 5.0, 0.0, 1.0)
    area *= 1.0 - 0.85 * bare
    canvas.shade(area, mix(hair, (1, 1, 1), 0.45), 0.55 * look.stubble)
    canvas.shade(area * grain, hair, 0.5 * look.stubble)


def _beard(canvas: Canvas, look: Look) -> None:
    """Short hairs that grow down and outwards from cheeks, lip and chin; trimmed or full."""
    full = look.beard == "full"
    shades = Shades(look.model_copy(update={"hair": look.beard_colour or look.hair}))
    drop = 0.026 if full else 0.004
    out = 0.008 if full else 0.001
    outer = [(0.5, 0.562), (0.535, 0.562), (0.566, 0.588), (0.597, 0.606), (0.632, 0.574), (0.656, 0.515),
             (0.664, 0.450), (0.674 + out, 0.450), (0.679 + out, 0.52), (0.671 + out, 0.585),
             (0.646 + 1.2 * out, 0.648), (0.604 + out, 0.697 + 0.5 * drop), (0.552, 0.716 + drop),
             (0.5, 0.721 + drop)]  # fmt: skip
    bare = [(0.5, 0.6005), (0.520, 0.601), (0.538, 0.609), (0.530, 0.619), (0.516, 0.626), (0.5, 0.627)]
    ground = canvas.fill(symmetrical(curve(outer, closed=False)), 0.0035)
    lips = canvas.fill(symmetrical(curve(bare, closed=False)), 0.0024)
    area = ground * (1.0 - lips)
    random = np.random.default_rng(23)
    plane = np.full((canvas.height, canvas.width), 112, np.uint8)
    cover = np.zeros((canvas.height, canvas.width), np.uint8)
    rows = np.argwhere(area > 0.55)
    places = rows[random.integers(0, len(rows), 2600)]
    for row, column in places[np.argsort(places[:, 0])]:
        x, y = float(canvas.x[row, column]), float(canvas.y[row, column])
        lean = (x - 0.5) * 2.2 + random.normal(0.0, 0.22)
        aim = np.array([lean, 1.0]) / np.hypot(lean, 1.0)
        length = random.uniform(0.008, 0.015) * (1.25 if full else 0.8) * (0.6 if y < 0.60 else 1.0)
        hair = np.array([x, y]) + STEPS * aim * length
        hair[:, 0] += random.normal(0.0, 0.0016) * 4.0 * (STEPS * (1.0 - STEPS))[:, 0]
        shape = canvas._pixels(ribbon(hair, [0.0012, 0.0021, 0.0003]))
        cv2.fillPoly(plane, [shape], int(np.clip(random.normal(128, 28), 0, 255)), cv2.LINE_AA, 4)
        cv2.fillPoly(cover, [shape], 255, cv2.LINE_AA, 4)
    own = cv2.GaussianBlur(plane, (0, 0), max(0.5, 0.0006 * canvas.scale)).astype(np.float32) / 255.0 - 0.5
    hairs = canvas.blurred(cover.astype(np.float32) / 255.0, 0.0004) * (1.0 - lips)
    mask = np.maximum(area, 0.85 * hairs * canvas.blurred(ground, 0.006))
    tone = 0.55 + 0.12 * canvas.spot(0.43, 0.62, 0.06, 0.08) - 0.24 * canvas.ramp((0.52, 0.60), (0.70, 0.66))
    tone = tone - 0.16 * canvas.ramp((0.5, 0.655), (0.5, 0.75)) - 0.26 * canvas.spot(0.503, 0.6415, 0.026, 0.006)
    tone = tone + 0.62 * own - 0.20 * canvas.hollow(ground, 0.010, -0.004, -0.006)
    thrown = canvas.blurred(canvas.moved(ground, 0.004, 0.014), 0.010) * (1.0 - ground) * canvas.alpha
    canvas.shade(thrown, (0.55, 0.45, 0.46), 0.5)
    canvas.paint(mask, shades.colours(np.asarray(tone, np.float32)), 0.96)
