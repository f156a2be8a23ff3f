"""What stands behind the face: a room by day, a town by night, or a plain wall. Painted once, on a `Canvas`.

All of it is out of focus: it gives depth and light, and nothing in it asks to be looked at.
"""

from __future__ import annotations

import math

import numpy as np

from avatar.puppet.brush import Canvas, Mask, Rgb, curve, mix, rgb, scaled, symmetrical
from avatar.puppet.look import Look

WHITE: Rgb = (1.0, 1.0, 1.0)
BOKEH = (
    (0.07, 0.14, 0.060, 0.55), (0.19, 0.30, 0.040, 0.36), (0.03, 0.40, 0.050, 0.46), (0.14, 0.56, 0.068, 0.30),
    (0.93, 0.18, 0.066, 0.52), (0.83, 0.06, 0.044, 0.38), (0.90, 0.40, 0.052, 0.44), (0.97, 0.58, 0.046, 0.36),
    (0.29, 0.06, 0.036, 0.32), (0.66, 0.03, 0.028, 0.22), (0.83, 0.53, 0.030, 0.26), (0.09, 0.72, 0.036, 0.30),
    (0.23, 0.45, 0.022, 0.26), (0.80, 0.26, 0.024, 0.28), (0.95, 0.72, 0.034, 0.26),
)  # fmt: skip
"""Lights out of focus: x, y, radius, strength."""
LEAVES = (
    (0.95, 0.66, 0.23, -1.95), (0.98, 0.70, 0.26, -1.45), (1.00, 0.62, 0.20, -2.45), (0.93, 0.74, 0.20, -2.75),
    (1.03, 0.52, 0.22, -1.90), (0.99, 0.80, 0.17, -2.30),
)  # fmt: skip
"""A plant at the right: root, length and direction of each leaf."""
SHOULDERS = [
    (0.5, 0.775), (0.565, 0.782), (0.618, 0.803), (0.69, 0.832), (0.785, 0.860), (0.862, 0.898), (0.912, 0.955),
    (0.945, 1.06), (0.5, 1.06),
]  # fmt: skip


def shoulders(canvas: Canvas) -> Mask:
    """Where the body is, whatever it wears."""
    return canvas.fill(symmetrical(curve(SHOULDERS[:-1], closed=False)))


def backdrop(canvas: Canvas, look: Look) -> None:
    """The whole picture behind the figure: lit from the upper left, darker towards the corners."""
    base, light = rgb(look.backdrop), rgb(look.light)
    deep = scaled(mix(base, (0.10, 0.12, 0.2), 0.40), 0.92, 0.92, 1.0)
    if look.background in ("evening", "library"):
        base, deep = mix(deep, base, 0.45), mix(deep, (0.04, 0.03, 0.08), 0.50)
    canvas.paint(np.ones_like(canvas.alpha), base)
    canvas.paint(canvas.ramp((0.12, 0.1), (0.95, 1.05)), deep, 0.80 if look.background != "plain" else 0.35)
    match look.background:
        case "plain":
            canvas.light(canvas.spot(0.42, 0.34, 0.34), WHITE, 0.16)
            return
        case "studio":
            _sunny_wall(canvas, base, light)
        case "evening":
            _town(canvas, light)
        case "library":
            _library(canvas, base, light)
    distance = np.sqrt((canvas.x - 0.5) ** 2 + (0.85 * (canvas.y - 0.5)) ** 2)
    canvas.shade(np.clip((distance - 0.36) / 0.5, 0.0, 1.0).astype(np.float32) ** 1.5, (0.30, 0.28, 0.36), 0.65)


def _sunny_wall(canvas: Canvas, base: Rgb, light: Rgb) -> None:
    """A wall with the sun through a window on it, and a plant."""
    sun = mix(light, WHITE, 0.35)
    canvas.light(canvas.spot(0.20, 0.26, 0.26, 0.32), sun, 0.34)
    for x in (-0.06, 0.115):
        for y in (0.02, 0.245, 0.47):
            pane = [(x, y), (x + 0.150, y + 0.030), (x + 0.170, y + 0.225), (x + 0.020, y + 0.195)]
            canvas.light(canvas.fill(pane, 0.010), sun, 0.30)
    canvas.light(canvas.fill([(0.80, -0.1), (0.90, -0.1), (0.86, 1.1), (0.76, 1.1)], 0.030), sun, 0.12)
    green = mix(scaled(base, 0.50, 0.66, 0.52), (0.10, 0.24, 0.16), 0.42)
    for x, y, length, direction in LEAVES:
        along = np.array([math.cos(direction), math.sin(direction)])
        across = np.array([-along[1], along[0]])
        root, wide = np.array([x, y]), 0.19 * length
        tip = root + along * length + np.array([-0.015, 0.03])
        points = [tuple(root), tuple(root + along * length * 0.4 + across * wide), tuple(tip),
                  tuple(root + along * length * 0.45 - across * wide)]  # fmt: skip
        leaf = canvas.fill(curve(points), 0.009)
        canvas.paint(leaf, green, 0.62)
        lit_x, lit_y = root + along * length * 0.6 - across * wide * 0.4
        canvas.light(leaf * canvas.spot(float(lit_x), float(lit_y), 0.05), sun, 0.22)


def _town(canvas: Canvas, light: Rgb) -> None:
    """Lights of a town at night."""
    canvas.light(canvas.spot(0.16, 0.30, 0.26, 0.32), mix(light, (1.0, 0.55, 0.6), 0.4), 0.30)
    canvas.light(canvas.spot(0.90, 0.62, 0.24, 0.22), (0.55, 0.45, 0.95), 0.22)
    for x, y, radius, strength in BOKEH:
        turn = [k / 40 * math.tau for k in range(40)]
        ring = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in turn]
        tint = mix(light, ((1.0, 0.55, 0.42), (0.62, 0.66, 1.0), (1.0, 0.80, 0.52))[round(x * 100) % 3], 0.75)
        disc = canvas.fill(ring, 0.004)
        canvas.light(disc, tint, 0.70 * strength)
        canvas.light(canvas.hollow(disc, 0.006), tint, 0.40 * strength)


def _library(canvas: Canvas, base: Rgb, light: Rgb) -> None:
    """Shelves with books, and a lamp somewhere at the left."""
    random = np.random.default_rng(31)
    wood = mix(base, (0.23, 0.13, 0.08), 0.5)
    spines = ((0.55, 0.20, 0.15), (0.72, 0.52, 0.28), (0.20, 0.32, 0.36), (0.34, 0.22, 0.30), (0.80, 0.72, 0.58),
              (0.25, 0.36, 0.24))  # fmt: skip
    for floor in (0.185, 0.425, 0.665, 0.905):
        x = -0.02
        while x < 1.02:
            wide, tall = random.uniform(0.022, 0.052), random.uniform(0.125, 0.185)
            colour = mix(mix(spines[random.integers(len(spines))], base, 0.40), (0.05, 0.03, 0.05), 0.15)
            book = [(x, floor), (x, floor - tall), (x + wide * 0.92, floor - tall), (x + wide * 0.92, floor)]
            canvas.paint(canvas.fill(book, 0.0055), colour, 0.62)
            x += wide + (random.uniform(0.02, 0.07) if random.random() < 0.12 else 0.0)
        canvas.paint(
            canvas.fill([(-0.1, floor), (1.1, floor), (1.1, floor + 0.022), (-0.1, floor + 0.022)], 0.006), wood
        )
        canvas.shade(canvas.fill([(-0.1, floor + 0.02), (1.1, floor + 0.02), (1.1, floor + 0.06), (-0.1, floor + 0.06)],
                                 0.012), (0.3, 0.25, 0.3), 0.6)  # fmt: skip
    canvas.shade(canvas.ramp((0.35, 0.3), (1.0, 0.75)), (0.45, 0.40, 0.48), 0.7)
    canvas.light(canvas.spot(0.10, 0.32, 0.20, 0.26), mix(light, (1.0, 0.8, 0.5), 0.4), 0.5)
