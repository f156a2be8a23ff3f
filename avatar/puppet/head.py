"""Neck, ears and the shape and skin of the face, shaded once; `features.py` adds nose, beard and age. Light falls
from the upper left: warm where it strikes, red where it goes under the skin, cool where only the room reaches.
"""

from __future__ import annotations

import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import (
    Canvas,
    Line,
    Mask,
    Rgb,
    curve,
    luminance,
    mirrored,
    mix,
    rgb,
    scaled,
    shifted,
    symmetrical,
)  # fmt: skip
from avatar.puppet.look import Look
from avatar.puppet.scene import shoulders

FACES = {
    "oval": [
        (0.5, 0.15), (0.585, 0.170), (0.648, 0.240), (0.671, 0.330), (0.675, 0.420), (0.672, 0.485), (0.660, 0.548),
        (0.633, 0.608), (0.590, 0.657), (0.545, 0.687), (0.5, 0.695),
    ],
    "square": [
        (0.5, 0.15), (0.585, 0.168), (0.648, 0.238), (0.674, 0.330), (0.679, 0.420), (0.678, 0.500), (0.670, 0.572),
        (0.646, 0.634), (0.602, 0.684), (0.552, 0.708), (0.5, 0.712),
    ],
}  # fmt: skip


class Complexion:
    """The colours that one skin takes in light and shadow."""

    def __init__(self, look: Look) -> None:
        self.base = rgb(look.skin)
        dark = 1.0 - luminance(self.base)
        self.shadow: Rgb = mix((0.83, 0.63, 0.60), (0.60, 0.50, 0.55), dark)
        """Multiplied in shade: redder than it is dark, as blood under skin makes it."""
        self.cool: Rgb = mix((0.70, 0.62, 0.70), (0.52, 0.50, 0.60), dark)
        """Multiplied where a form turns away from the light."""
        self.deep: Rgb = scaled(self.shadow, 0.70, 0.56, 0.58)
        self.lit: Rgb = mix(mix(self.base, (1.0, 0.95, 0.86), 0.6), (1.0, 0.85, 0.7), 0.4 * dark)
        self.blush: Rgb = (
            rgb(look.blush) if look.blush else mix(scaled(self.base, 1.0, 0.66, 0.60), (0.95, 0.36, 0.34), 0.22)
        )
        self.lips: Rgb = (
            rgb(look.lips) if look.lips else mix(scaled(self.base, 0.86, 0.66, 0.66), (0.72, 0.30, 0.33), 0.16)
        )


def face_mask(canvas: Canvas, look: Look) -> Mask:
    return canvas.fill(symmetrical(curve(FACES[look.face], closed=False)))


def neck(canvas: Canvas, look: Look) -> None:
    """Neck and the top of the chest, with the shadow that the head throws."""
    tone = Complexion(look)
    wide = 0.014 if look.face == "square" else 0.0
    half = [(0.5, 0.6), (0.578 + wide, 0.6), (0.577 + wide, 0.69), (0.578 + wide, 0.735), (0.590 + wide, 0.775),
            (0.618 + wide, 0.805), (0.655, 0.83), (0.74, 0.90), (0.74, 1.06), (0.5, 1.06)]  # fmt: skip
    skin = canvas.fill(symmetrical(np.vstack([half[:1], curve(half[1:-1], closed=False), half[-1:]])))
    if look.clothes == "dress":
        skin = np.maximum(skin, shoulders(canvas))
    canvas.paint(skin, scaled(tone.base, 0.97, 0.94, 0.93))
    canvas.shade(skin * canvas.ramp((0.44, 0.75), (0.61, 0.76)), tone.cool, 0.62)
    canvas.shade(skin * canvas.hollow(skin, 0.02, 0.012, 0.0), tone.shadow, 0.7)
    thrown = symmetrical(curve([(0.5, 0.60), (0.645, 0.6), (0.622, 0.69), (0.57, 0.758), (0.5, 0.782)], closed=False))
    soft, sharp = canvas.fill(shifted(thrown, 0.014, 0.002), 0.010), canvas.fill(shifted(thrown, 0.012, -0.008), 0.004)
    canvas.shade(skin * soft, tone.shadow, 0.62)
    canvas.shade(skin * sharp, mix(tone.shadow, tone.cool, 0.5), 0.36)
    canvas.shade(skin * canvas.fill(shifted(thrown, 0.010, -0.045), 0.012), tone.deep, 0.22)
    for side, strength in ((-1, 1.0), (1, 0.6)):
        cord = curve([(0.560, 0.73), (0.548, 0.78), (0.515, 0.838)], closed=False)
        bone = curve([(0.516, 0.846), (0.56, 0.834), (0.62, 0.836), (0.71, 0.858)], closed=False)
        cord, bone = (cord, bone) if side > 0 else (mirrored(cord), mirrored(bone))
        canvas.shade(skin * canvas.stroke(cord, [0.002, 0.009, 0.003], 0.006), tone.shadow, 0.30)
        canvas.shade(skin * canvas.stroke(shifted(bone, 0.0, 0.007), [0.003, 0.010, 0.0], 0.006), tone.shadow, 0.5)
        canvas.light(
            skin * canvas.stroke(shifted(bone, 0.0, -0.004), [0.002, 0.008, 0.0], 0.004), tone.lit, 0.28 * strength
        )
    canvas.shade(skin * canvas.spot(0.5, 0.848, 0.010, 0.012), tone.shadow, 0.45)
    canvas.light(skin * canvas.spot(0.447, 0.80, 0.012, 0.03, 0.3), tone.lit, 0.16)


def ears(canvas: Canvas, look: Look) -> None:
    tone = Complexion(look)
    half = [(0.660, 0.440), (0.680, 0.417), (0.698, 0.422), (0.705, 0.452), (0.698, 0.492), (0.687, 0.528),
            (0.673, 0.546), (0.660, 0.530)]  # fmt: skip
    for side in (1, -1):
        ear = curve(half) if side > 0 else mirrored(curve(half))
        mask = canvas.fill(ear)
        canvas.paint(mask, scaled(tone.base, 0.99, 0.88, 0.85))
        canvas.shade(mask * canvas.ramp((0.5, 0.46), (0.5, 0.56)), tone.shadow, 0.35)
        canvas.shade(canvas.hollow(mask, 0.007, -0.003 * side, 0.0), tone.shadow, 0.7)
        inner = curve([(0.676, 0.440), (0.692, 0.436), (0.696, 0.460), (0.687, 0.490), (0.678, 0.508)], closed=False)
        inner = inner if side > 0 else mirrored(inner)
        canvas.shade(mask * canvas.stroke(inner, [0.002, 0.0075, 0.003], 0.003), tone.deep, 0.55)
        canvas.light(canvas.hollow(mask, 0.003, -0.0025 * side, 0.002), tone.lit, 0.34 if side < 0 else 0.18)
        if look.earrings != "none":
            _earring(canvas, look, 0.5 + side * 0.1755)


def _earring(canvas: Canvas, look: Look, x: float) -> None:
    metal = rgb(look.jewellery)
    if look.earrings == "studs":
        stud = canvas.fill(circle(x, 0.536, 0.0072))
        canvas.paint(stud, metal)
        canvas.shade(canvas.spot(x + 0.003, 0.539, 0.004) * stud, (0.6, 0.5, 0.4), 0.8)
        canvas.light(canvas.spot(x - 0.002, 0.534, 0.0020), (1.0, 1.0, 1.0), 0.95)
        return
    if look.earrings == "drops":
        canvas.paint(canvas.stroke([(x, 0.538), (x, 0.566)], [0.0020, 0.0020]), metal)
        drop = canvas.fill(curve([(x, 0.562), (x + 0.0085, 0.586), (x, 0.597), (x - 0.0085, 0.586)]))
        canvas.paint(drop, metal)
        canvas.shade(drop * canvas.ramp((x - 0.004, 0.57), (x + 0.010, 0.594)), (0.50, 0.40, 0.36), 0.8)
        canvas.light(canvas.spot(x - 0.0028, 0.581, 0.0022, 0.0042) * drop, (1.0, 1.0, 0.96), 0.95)
        return
    ring = canvas.stroke(circle(x, 0.566, 0.026), [0.0058] * 2)
    canvas.paint(ring, metal)
    canvas.shade(ring * canvas.ramp((x - 0.02, 0.555), (x + 0.024, 0.585)), (0.55, 0.42, 0.3), 0.8)
    canvas.light(canvas.stroke(circle(x, 0.566, 0.0265)[26:38], [0.0, 0.0028, 0.0], 0.0007), (1.0, 1.0, 0.95), 0.9)


def circle(x: float, y: float, radius: float) -> Line:
    turn = np.linspace(0.0, 2.0 * np.pi, 49)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def face(canvas: Canvas, look: Look, fringe: Mask) -> None:
    """The skin of the face. ``fringe`` is where hair lies over it, and so throws shadow."""
    tone = Complexion(look)
    mask = face_mask(canvas, look)
    canvas.shade(canvas.blurred(mask, 0.006) * (1 - mask) * canvas.ramp((0.5, 0.6), (0.5, 0.68)), tone.shadow, 0.5)
    canvas.paint(mask, tone.base)
    # form: forehead and cheeks to the light, the right side and everything below away from it
    canvas.light(mask * canvas.spot(0.45, 0.32, 0.10, 0.10), tone.lit, 0.24)
    canvas.shade(mask * canvas.ramp((0.52, 0.42), (0.71, 0.50)), tone.cool, 0.46)
    side = curve([(0.655, 0.30), (0.640, 0.40), (0.628, 0.50), (0.612, 0.58), (0.575, 0.64), (0.545, 0.70)],
                 closed=False)  # fmt: skip
    plane = canvas.fill(np.vstack([side, [(0.72, 0.74), (0.72, 0.30)]]), 0.016)
    canvas.shade(mask * plane, tone.shadow, 0.42)
    canvas.shade(canvas.hollow(mask, 0.020, -0.010, -0.010), tone.shadow, 0.80)
    canvas.shade(canvas.hollow(mask, 0.008, -0.003, -0.005), tone.shadow, 0.45)
    edge = canvas.hollow(mask, 0.006, -0.006, 0.001) * canvas.ramp((0.60, 0.5), (0.66, 0.5))
    canvas.light(edge * canvas.ramp((0.5, 0.68), (0.5, 0.60)), mix(rgb(look.light), tone.base, 0.3), 0.5 * look.rim)
    # the hair's shadow: soft far from it, with a warm seam where the light ends
    wide = canvas.blurred(canvas.moved(fringe, 0.005, 0.024), 0.012)
    near = canvas.blurred(canvas.moved(fringe, 0.004, 0.014), 0.0035)
    canvas.shade(mask * wide, tone.shadow, 0.55)
    canvas.shade(mask * near, mix(tone.shadow, tone.cool, 0.4), 0.62)
    _sockets(canvas, tone, mask)
    # warmth
    for x, y, rx, ry, turn, strength in (
        (0.393, 0.532, 0.036, 0.024, 0.25, 0.30), (0.607, 0.532, 0.034, 0.024, -0.25, 0.24),
        (0.5, 0.520, 0.022, 0.014, 0.0, 0.16), (0.5, 0.690, 0.03, 0.014, 0.0, 0.12),
    ):  # fmt: skip
        canvas.paint(mask * canvas.spot(x, y, rx, ry, turn), tone.blush, strength)
    for x, y, rx, ry, angle, strength in (
        (0.386, 0.502, 0.026, 0.012, 0.45, 0.36), (0.611, 0.500, 0.018, 0.009, -0.45, 0.16),
        (0.482, 0.664, 0.020, 0.010, 0.0, 0.24),
    ):  # fmt: skip
        canvas.light(mask * canvas.spot(x, y, rx, ry, angle), tone.lit, strength)
    _mouth_surroundings(canvas, tone, mask)


def _sockets(canvas: Canvas, tone: Complexion, mask: Mask) -> None:
    for side in (-1, 1):
        x = 0.5 + side * at.EYE_X
        canvas.shade(mask * canvas.spot(x - side * 0.006, at.EYE_Y - 0.024, 0.038, 0.016), tone.shadow, 0.42)
        canvas.shade(
            mask * canvas.spot(0.5 + side * 0.034, at.EYE_Y - 0.014, 0.011, 0.024, side * -0.2), tone.shadow, 0.50
        )
        canvas.shade(mask * canvas.spot(x, at.EYE_Y + 0.031, 0.032, 0.007), tone.shadow, 0.20)
        canvas.light(mask * canvas.spot(x + side * 0.014, at.BROW_Y + 0.021, 0.028, 0.006, side * 0.1), tone.lit, 0.20)


def _mouth_surroundings(canvas: Canvas, tone: Complexion, mask: Mask) -> None:
    y = at.MOUTH_Y
    canvas.shade(canvas.spot(0.501, y - 0.030, 0.0055, 0.011), tone.shadow, 0.28)
    canvas.light(canvas.spot(0.491, y - 0.025, 0.004, 0.010), tone.lit, 0.20)
    for side in (-1, 1):
        fold = curve([(0.541, 0.530), (0.562, 0.558), (0.572, 0.590)], closed=False)
        fold = fold if side > 0 else mirrored(fold)
        canvas.shade(canvas.stroke(fold, [0.0, 0.008, 0.0], 0.007), tone.shadow, 0.22)
    canvas.shade(mask * canvas.spot(0.503, y + 0.033, 0.027, 0.0075), tone.shadow, 0.60)
