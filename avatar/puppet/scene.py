"""What stands behind and below the face: backdrop, clothes. Painted once, back to front, on a `Canvas`."""

from __future__ import annotations

import math

import numpy as np

from avatar.puppet.brush import Canvas, Mask, Rgb, curve, mirrored, mix, rgb, scaled, shifted, symmetrical
from avatar.puppet.look import Look

BOKEH = (
    (0.07, 0.16, 0.060, 0.50), (0.20, 0.33, 0.040, 0.34), (0.04, 0.44, 0.048, 0.42), (0.15, 0.58, 0.070, 0.25),
    (0.93, 0.20, 0.068, 0.48), (0.83, 0.07, 0.044, 0.36), (0.90, 0.42, 0.052, 0.40), (0.97, 0.60, 0.042, 0.32),
    (0.30, 0.06, 0.036, 0.30), (0.62, 0.03, 0.030, 0.24), (0.82, 0.55, 0.030, 0.22), (0.10, 0.72, 0.034, 0.26),
)  # fmt: skip
"""Lights out of focus: x, y, radius, strength."""


def backdrop(canvas: Canvas, look: Look) -> None:
    """The whole picture behind the figure: lit from the upper left, darker towards the corners."""
    base, light = rgb(look.backdrop), rgb(look.light)
    deep = scaled(mix(base, (0.10, 0.12, 0.2), 0.45), 0.9, 0.9, 1.0)
    if look.background == "evening":
        base, deep = mix(deep, base, 0.35), mix(deep, (0.04, 0.04, 0.09), 0.45)
    canvas.paint(np.ones_like(canvas.alpha), base)
    canvas.paint(canvas.ramp((0.15, 0.1), (0.95, 1.05)), deep, 0.85 if look.background != "plain" else 0.35)
    if look.background == "plain":
        canvas.light(canvas.spot(0.42, 0.34, 0.34), (1.0, 1.0, 1.0), 0.16)
        return
    canvas.light(canvas.spot(0.24, 0.28, 0.24, 0.30), mix(light, (1.0, 1.0, 1.0), 0.35), 0.46)
    if look.background == "studio":
        for x, width, tilt, strength in (
            (0.10, 0.13, 0.05, 0.20),
            (0.86, 0.09, -0.04, 0.12),
            (0.97, 0.05, -0.04, 0.10),
        ):
            pane = [(x, -0.1), (x + width, -0.1), (x + width + tilt, 1.1), (x + tilt, 1.1)]
            canvas.light(canvas.fill(pane, 0.022), mix(light, (1.0, 1.0, 1.0), 0.35), strength)
    else:
        for x, y, radius, strength in BOKEH:
            ring = [
                (x + radius * math.cos(k / 40 * math.tau), y + radius * math.sin(k / 40 * math.tau)) for k in range(40)
            ]
            tint = mix(light, ((1.0, 0.62, 0.36), (0.55, 0.72, 1.0), (1.0, 0.80, 0.55))[round(x * 100) % 3], 0.7)
            disc = canvas.fill(ring, 0.004)
            canvas.light(disc, tint, 0.7 * strength)
            canvas.light(canvas.hollow(disc, 0.006), tint, 0.35 * strength)
    distance = np.sqrt((canvas.x - 0.5) ** 2 + (0.85 * (canvas.y - 0.5)) ** 2)
    canvas.shade(np.clip((distance - 0.33) / 0.5, 0.0, 1.0).astype(np.float32) ** 1.5, (0.25, 0.24, 0.32), 0.75)


SHOULDERS = [
    (0.5, 0.775), (0.565, 0.782), (0.61, 0.802), (0.68, 0.832), (0.77, 0.862), (0.845, 0.90), (0.895, 0.955),
    (0.93, 1.06),
    (0.5, 1.06),
]  # fmt: skip


def shoulders(canvas: Canvas) -> Mask:
    """Where the body is, whatever it wears."""
    return canvas.fill(symmetrical(curve(SHOULDERS[:-1], closed=False)))


def clothes(canvas: Canvas, look: Look) -> None:
    """Shoulders and what they wear; the neck is painted before."""
    fabric, top = rgb(look.fabric), rgb(look.top)
    body = shoulders(canvas)
    if look.clothes == "blazer":
        _top_under_blazer(canvas, top, look)
        _blazer(canvas, fabric, body, look)
        return
    neckline = {
        "crew": [(0.5, 0.868), (0.545, 0.858), (0.585, 0.83), (0.599, 0.802)],
        "turtleneck": [(0.5, 0.757), (0.54, 0.753), (0.575, 0.741), (0.59, 0.728)],
        "hoodie": [(0.5, 0.885), (0.548, 0.868), (0.594, 0.832), (0.606, 0.805)],
    }[look.clothes]
    collar = curve(neckline, closed=False)
    outline = symmetrical(np.vstack([collar, curve(SHOULDERS[2:-1], closed=False)]))
    garment = canvas.fill(outline)
    if look.clothes == "turtleneck":
        garment = np.maximum(garment, body)
    thrown = canvas.blurred(canvas.moved(garment, 0.004, -0.012), 0.012) * canvas.spot(0.5, 0.79, 0.055, 0.05)
    canvas.shade(thrown, (0.72, 0.52, 0.48), 0.6)
    canvas.paint(garment, fabric)
    _folds(canvas, garment, fabric, look)
    if look.clothes == "turtleneck":
        _turtleneck(canvas, fabric, garment)
    else:
        width = 0.02 if look.clothes == "crew" else 0.05
        shape = canvas.stroke(np.vstack([mirrored(collar)[::-1], collar[1:]]), [width] * 3) * garment
        canvas.paint(shape, scaled(fabric, 1.1, 1.1, 1.1))
        canvas.shade(canvas.hollow(shape, 0.006, -0.001, -0.006), (0.4, 0.4, 0.5), 0.6)
        if look.clothes == "hoodie":
            _hood(canvas, fabric)


def _folds(canvas: Canvas, garment: Mask, fabric: Rgb, look: Look) -> None:
    """Form, creases and the light from behind, on any fabric."""
    canvas.shade(garment * canvas.ramp((0.5, 0.80), (0.55, 1.08)), (0.5, 0.5, 0.58), 0.75)
    canvas.shade(garment * canvas.ramp((0.42, 0.9), (0.95, 0.95)), (0.55, 0.55, 0.65), 0.55)
    canvas.light(garment * canvas.spot(0.25, 0.885, 0.09, 0.028, 0.38), mix(fabric, (1, 1, 1), 0.55), 0.4)
    creases = [
        ([(0.22, 0.90), (0.25, 0.95), (0.26, 1.02)], 0.012), ([(0.78, 0.90), (0.755, 0.95), (0.745, 1.02)], 0.014),
        ([(0.40, 0.88), (0.36, 0.95), (0.35, 1.02)], 0.01), ([(0.60, 0.88), (0.645, 0.95), (0.65, 1.02)], 0.01),
    ]  # fmt: skip
    for line, width in creases:
        canvas.shade(
            garment * canvas.stroke(curve(line, closed=False), [0.0, width, width * 0.6], 0.006), (0.5, 0.5, 0.6), 0.32
        )
        lit = [(x - 0.013, y) for x, y in line]
        canvas.light(garment * canvas.stroke(curve(lit, closed=False), [0.0, width * 0.7, 0.0], 0.005), fabric, 0.22)
    rim = canvas.hollow(garment, 0.006, -0.008, 0.008) * canvas.ramp((0.6, 0.8), (0.7, 0.84))
    canvas.light(rim, rgb(look.light), 0.42)


def _top_under_blazer(canvas: Canvas, top: Rgb, look: Look) -> None:
    neckline = curve([(0.5, 0.888), (0.535, 0.875), (0.57, 0.845), (0.59, 0.80)], closed=False)
    shirt = canvas.fill(
        np.vstack([symmetrical(neckline)[: len(neckline)], [(0.66, 1.05), (0.34, 1.05)], mirrored(neckline)[::-1]])
    )
    canvas.shade(canvas.blurred(canvas.moved(shirt, 0.0, -0.01), 0.01), (0.75, 0.55, 0.5), 0.5)
    canvas.paint(shirt, top)
    canvas.shade(shirt * canvas.ramp((0.45, 0.88), (0.62, 0.98)), (0.72, 0.7, 0.76), 0.7)
    edge = np.vstack([mirrored(neckline)[::-1], neckline[1:]])
    canvas.light(canvas.stroke(shifted(edge, 0.0, 0.004), [0.003] * 2, 0.0015) * shirt, (1.0, 1.0, 1.0), 0.5)
    canvas.shade(
        canvas.stroke(shifted(edge, 0.0, 0.011), [0.0022] * 2, 0.0012) * shirt, scaled(top, 0.75, 0.72, 0.72), 0.5
    )
    for x in (0.47, 0.535):
        line = curve([(x, 0.90), (x + 0.008, 0.95), (x, 1.02)], closed=False)
        canvas.shade(canvas.stroke(line, [0.0, 0.012, 0.006], 0.006) * shirt, (0.8, 0.78, 0.82), 0.6)


def _blazer(canvas: Canvas, fabric: Rgb, body: Mask, look: Look) -> None:
    """Two fronts with lapels over the top."""
    opening = np.vstack(
        [
            [(0.5, 1.06)],
            curve([(0.508, 1.02), (0.545, 0.93), (0.60, 0.845), (0.612, 0.79)], closed=False),
            [(0.612, 0.70), (0.5, 0.70)],
        ]
    )
    inner = symmetrical(opening[::-1])
    front = body * (1.0 - canvas.fill(inner))
    canvas.shade(canvas.blurred(canvas.moved(front, 0.006, 0.006), 0.011) * (1 - front) * body, (0.55, 0.45, 0.48), 0.6)
    canvas.paint(front, fabric)
    _folds(canvas, front, fabric, look)
    lapel = [(0.607, 0.786), (0.637, 0.812), (0.672, 0.872), (0.640, 0.884), (0.656, 0.902), (0.615, 0.965),
    (0.556, 1.06),
             (0.505, 1.06), (0.545, 0.93), (0.60, 0.845)]  # fmt: skip
    for side in (1, -1):
        shape = np.array(lapel) if side > 0 else mirrored(lapel)
        mask = canvas.fill(shape)
        canvas.shade(
            canvas.blurred(canvas.moved(mask, 0.006 * side, 0.008), 0.006) * front * (1 - mask), (0.3, 0.3, 0.4), 0.7
        )
        canvas.paint(mask, scaled(mix(fabric, (1, 1, 1), 0.07), 1.05, 1.05, 1.05))
        canvas.shade(mask * canvas.ramp((0.5, 0.84), (0.5, 1.05)), (0.5, 0.5, 0.6), 0.6)
        canvas.light(canvas.hollow(mask, 0.0022, 0.0018 * -side, 0.002), mix(fabric, (1, 1, 1), 0.6), 0.5)
        if side < 0:
            canvas.light(mask * canvas.spot(0.355, 0.86, 0.03, 0.05), mix(fabric, (1, 1, 1), 0.5), 0.28)
        notch = [(0.672, 0.872), (0.640, 0.884)]
        line = np.array(notch) if side > 0 else mirrored(notch)
        canvas.shade(canvas.stroke(line, [0.003, 0.0015], 0.0007), (0.3, 0.3, 0.4), 0.8)


def _turtleneck(canvas: Canvas, fabric: Rgb, garment: Mask) -> None:
    roll = symmetrical(
        [(0.5, 0.757), (0.54, 0.753), (0.575, 0.741), (0.59, 0.728), (0.598, 0.76), (0.60, 0.80), (0.5, 0.838)]
    )
    mask = canvas.fill(curve(roll))
    canvas.shade(canvas.blurred(canvas.moved(mask, 0.0, 0.012), 0.01) * (1 - mask), (0.4, 0.4, 0.5), 0.6)
    canvas.paint(mask, scaled(fabric, 1.08, 1.08, 1.08))
    canvas.shade(mask * canvas.ramp((0.47, 0.8), (0.61, 0.8)), (0.5, 0.5, 0.6), 0.8)
    canvas.shade(mask * canvas.spot(0.5, 0.735, 0.1, 0.022), (0.4, 0.4, 0.5), 0.8)
    ribs = [
        (np.array([(x, 0.74), (0.5 + (x - 0.5) * 1.03, 0.84)]), [0.0028, 0.0028], 1.0)
        for x in np.linspace(0.41, 0.59, 23)
    ]
    canvas.shade(canvas.strands(ribs, 0.001) * mask, (0.55, 0.55, 0.62), 0.45)
    canvas.shade(canvas.hollow(mask, 0.006, 0.0, -0.006), (0.45, 0.45, 0.55), 0.6)


def _hood(canvas: Canvas, fabric: Rgb) -> None:
    for side in (1, -1):
        cord = curve([(0.53, 0.882), (0.535, 0.93), (0.531, 0.985)], closed=False)
        cord = cord if side > 0 else mirrored(cord)
        canvas.shade(canvas.stroke(shifted(cord, 0.004, 0.003), [0.007, 0.007], 0.004), (0.4, 0.4, 0.5), 0.6)
        canvas.paint(canvas.stroke(cord, [0.0065, 0.0065], 0.0005), mix(fabric, (1, 1, 1), 0.72))
