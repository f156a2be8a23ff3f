"""Neck, ears, face and nose, shaded once; eyes and lips come later and move. Light falls from the upper left."""

from __future__ import annotations

import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, Mask, Rgb, curve, luminance, mirrored, mix, rgb, scaled, shifted, symmetrical
from avatar.puppet.look import Look

FACES = {
    "oval": [
        (0.5, 0.15), (0.58, 0.168), (0.638, 0.235), (0.662, 0.33), (0.666, 0.42), (0.661, 0.49), (0.647, 0.555),
        (0.619, 0.613), (0.576, 0.662), (0.535, 0.687), (0.5, 0.692),
    ],
    "square": [
        (0.5, 0.15), (0.58, 0.168), (0.64, 0.235), (0.664, 0.33), (0.669, 0.42), (0.667, 0.50), (0.657, 0.572),
        (0.631, 0.636), (0.587, 0.684), (0.545, 0.703), (0.5, 0.707),
    ],
}  # fmt: skip


class Complexion:
    """The colours that one skin takes in light and shadow."""

    def __init__(self, look: Look) -> None:
        self.base = rgb(look.skin)
        dark = 1.0 - luminance(self.base)
        self.shadow: Rgb = mix((0.82, 0.61, 0.56), (0.62, 0.50, 0.52), dark)
        """Multiplied in shade: redder than it is dark, as blood under skin makes it."""
        self.deep: Rgb = scaled(self.shadow, 0.72, 0.6, 0.62)
        self.lit: Rgb = mix(mix(self.base, (1.0, 0.95, 0.86), 0.6), (1.0, 0.85, 0.7), 0.4 * dark)
        self.blush: Rgb = (
            rgb(look.blush) if look.blush else mix(scaled(self.base, 0.98, 0.62, 0.58), (0.9, 0.35, 0.35), 0.2)
        )
        self.lips: Rgb = (
            rgb(look.lips) if look.lips else mix(scaled(self.base, 0.86, 0.66, 0.66), (0.72, 0.30, 0.33), 0.16)
        )


def face_mask(canvas: Canvas, look: Look) -> Mask:
    return canvas.fill(symmetrical(curve(FACES[look.face], closed=False)))


def neck(canvas: Canvas, look: Look) -> None:
    """Neck and the top of the chest, with the shadow that the head throws."""
    tone = Complexion(look)
    wide = 0.012 if look.face == "square" else 0.0
    half = [(0.5, 0.6), (0.570 + wide, 0.6), (0.571 + wide, 0.69), (0.574 + wide, 0.740), (0.585 + wide, 0.780),
            (0.606 + wide, 0.812), (0.635, 0.85), (0.66, 0.95), (0.66, 1.06), (0.5, 1.06)]  # fmt: skip
    skin = canvas.fill(symmetrical(np.vstack([half[:1], curve(half[1:-1], closed=False), half[-1:]])))
    canvas.paint(skin, scaled(tone.base, 0.965, 0.94, 0.93))
    canvas.shade(skin * canvas.ramp((0.45, 0.75), (0.60, 0.75)), tone.shadow, 0.75)
    canvas.shade(skin * canvas.hollow(skin, 0.02, 0.012, 0.0), tone.shadow, 0.7)
    thrown = canvas.fill(
        symmetrical(curve([(0.5, 0.60), (0.63, 0.6), (0.605, 0.69), (0.56, 0.752), (0.5, 0.772)], closed=False)), 0.012
    )
    canvas.shade(skin * canvas.moved(thrown, 0.012, 0.0), tone.shadow, 0.85)
    canvas.shade(skin * canvas.moved(thrown, 0.010, -0.028), tone.deep, 0.35)
    for side in (1, -1):
        cord = curve([(0.556, 0.70), (0.546, 0.76), (0.518, 0.825)], closed=False)
        bone = curve([(0.52, 0.832), (0.56, 0.822), (0.62, 0.826), (0.70, 0.843)], closed=False)
        cord, bone = (cord, bone) if side > 0 else (mirrored(cord), mirrored(bone))
        canvas.shade(skin * canvas.stroke(cord, [0.004, 0.009, 0.003], 0.005), tone.shadow, 0.4)
        canvas.shade(skin * canvas.stroke(shifted(bone, 0.0, 0.006), [0.004, 0.01, 0.0], 0.005), tone.shadow, 0.6)
        canvas.light(skin * canvas.stroke(shifted(bone, 0.0, -0.004), [0.002, 0.007, 0.0], 0.004), tone.lit, 0.25)
    canvas.shade(skin * canvas.spot(0.5, 0.835, 0.012, 0.014), tone.shadow, 0.5)
    canvas.light(skin * canvas.spot(0.458, 0.79, 0.014, 0.03), tone.lit, 0.12)


def ears(canvas: Canvas, look: Look) -> None:
    tone = Complexion(look)
    half = [
        (0.655, 0.43),
        (0.675, 0.408),
        (0.694, 0.414),
        (0.699, 0.445),
        (0.690, 0.487),
        (0.678, 0.522),
        (0.664, 0.536),
        (0.652, 0.52),
    ]
    for side in (1, -1):
        ear = curve(half) if side > 0 else mirrored(curve(half))
        mask = canvas.fill(ear)
        canvas.paint(mask, scaled(tone.base, 0.97, 0.87, 0.85))
        canvas.shade(canvas.hollow(mask, 0.006, -0.003 * side, 0.0), tone.shadow, 0.7)
        inner = curve([(0.668, 0.43), (0.684, 0.428), (0.686, 0.455), (0.676, 0.485), (0.667, 0.50)], closed=False)
        inner = inner if side > 0 else mirrored(inner)
        canvas.shade(mask * canvas.stroke(inner, [0.003, 0.007, 0.004], 0.003), tone.deep, 0.6)
        canvas.light(canvas.hollow(mask, 0.003, -0.0025 * side, 0.002), tone.lit, 0.3)
        if look.earrings != "none":
            _earring(canvas, look, 0.5 + side * 0.1675)


def _earring(canvas: Canvas, look: Look, x: float) -> None:
    metal = rgb(look.jewellery)
    if look.earrings == "studs":
        canvas.paint(canvas.fill(_circle(x, 0.527, 0.0068)), metal)
        canvas.shade(
            canvas.spot(x + 0.003, 0.530, 0.004) * canvas.fill(_circle(x, 0.527, 0.0068)), (0.6, 0.5, 0.4), 0.8
        )
        canvas.light(canvas.spot(x - 0.002, 0.525, 0.0018), (1.0, 1.0, 1.0), 0.95)
        return
    ring = canvas.stroke(_circle(x, 0.560, 0.026), [0.0058] * 2)
    canvas.paint(ring, metal)
    canvas.shade(ring * canvas.ramp((x - 0.02, 0.55), (x + 0.024, 0.58)), (0.55, 0.42, 0.3), 0.8)
    canvas.light(canvas.stroke(_circle(x, 0.560, 0.0265)[26:38], [0.0, 0.0028, 0.0], 0.0007), (1.0, 1.0, 0.95), 0.9)


def _circle(x: float, y: float, radius: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    turn = np.linspace(0.0, 2.0 * np.pi, 49)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def face(canvas: Canvas, look: Look, fringe: Mask) -> None:
    """The face without eyes, brows and lips. ``fringe`` is where hair lies over it, and so throws shadow."""
    tone = Complexion(look)
    mask = face_mask(canvas, look)
    canvas.shade(canvas.blurred(mask, 0.006) * (1 - mask) * canvas.ramp((0.5, 0.6), (0.5, 0.68)), tone.shadow, 0.5)
    canvas.paint(mask, tone.base)
    # form: one broad light from the upper left, edges turning away
    canvas.light(mask * canvas.spot(0.44, 0.33, 0.10, 0.13), tone.lit, 0.26)
    canvas.shade(mask * canvas.ramp((0.50, 0.42), (0.70, 0.50)), tone.shadow, 0.42)
    canvas.shade(canvas.hollow(mask, 0.022, -0.010, -0.010), tone.shadow, 0.85)
    canvas.shade(canvas.hollow(mask, 0.010, -0.003, -0.005), tone.shadow, 0.5)
    canvas.shade(mask * canvas.blurred(canvas.moved(fringe, 0.004, 0.020), 0.014), tone.shadow, 0.75)
    canvas.shade(mask * canvas.blurred(canvas.moved(fringe, 0.003, 0.009), 0.006), tone.deep, 0.45)
    _sockets(canvas, tone, mask)
    # warmth
    for side, strength in ((-1, 0.6), (1, 0.45)):
        canvas.paint(
            mask * canvas.spot(0.5 + side * 0.103, 0.528, 0.034, 0.026, side * -0.25), tone.blush, 0.42 * strength
        )
    canvas.paint(mask * canvas.spot(0.5, 0.517, 0.022, 0.016), tone.blush, 0.2)
    canvas.paint(mask * canvas.spot(0.5, 0.69, 0.03, 0.014), tone.blush, 0.12)
    for x, y, rx, ry, angle, strength in (
        (0.388, 0.492, 0.024, 0.011, 0.5, 0.34), (0.608, 0.490, 0.018, 0.009, -0.5, 0.16),
        (0.484, 0.66, 0.018, 0.010, 0.0, 0.2),
    ):  # fmt: skip
        canvas.light(mask * canvas.spot(x, y, rx, ry, angle), tone.lit, strength)
    _mouth_surroundings(canvas, tone, mask)
    _nose(canvas, tone)
    if look.freckles > 0.0:
        _freckles(canvas, look, tone)
    if look.stubble > 0.0:
        _stubble(canvas, look, mask)


def _sockets(canvas: Canvas, tone: Complexion, mask: Mask) -> None:
    for side in (-1, 1):
        x = 0.5 + side * at.EYE_X
        canvas.shade(mask * canvas.spot(x - side * 0.004, at.EYE_Y - 0.020, 0.036, 0.017), tone.shadow, 0.5)
        canvas.shade(
            mask * canvas.spot(0.5 + side * 0.034, at.EYE_Y - 0.012, 0.011, 0.022, side * -0.2), tone.shadow, 0.6
        )
        canvas.shade(mask * canvas.spot(x, at.EYE_Y + 0.030, 0.030, 0.007), tone.shadow, 0.22)
        canvas.light(mask * canvas.spot(x + side * 0.012, at.BROW_Y + 0.020, 0.028, 0.006, side * 0.1), tone.lit, 0.18)


def _mouth_surroundings(canvas: Canvas, tone: Complexion, mask: Mask) -> None:
    y = at.MOUTH_Y
    canvas.shade(canvas.spot(0.5, y - 0.030, 0.006, 0.012), tone.shadow, 0.30)
    for side in (-1, 1):
        canvas.light(canvas.spot(0.5 + side * 0.009, y - 0.024, 0.004, 0.010), tone.lit, 0.16)
        fold = curve([(0.541, 0.528), (0.562, 0.556), (0.570, 0.588)], closed=False)
        fold = fold if side > 0 else mirrored(fold)
        canvas.shade(canvas.stroke(fold, [0.0, 0.008, 0.0], 0.006), tone.shadow, 0.24)
    canvas.shade(mask * canvas.spot(0.5, y + 0.031, 0.028, 0.008), tone.shadow, 0.62)
    canvas.light(mask * canvas.spot(0.49, 0.672, 0.022, 0.012), tone.lit, 0.16)


def _nose(canvas: Canvas, tone: Complexion) -> None:
    """Small and soft: a shaded side, a lit bridge and tip, wings and nostrils."""
    y = at.NOSE_Y
    side = curve([(0.518, 0.40), (0.512, 0.44), (0.515, 0.48), (0.527, 0.515), (0.533, 0.535)], closed=False)
    canvas.shade(canvas.stroke(side, [0.004, 0.012, 0.014, 0.018, 0.010], 0.008), tone.shadow, 0.50)
    canvas.shade(canvas.spot(0.5, y + 0.008, 0.026, 0.007), tone.shadow, 0.65)
    canvas.shade(canvas.spot(0.513, y - 0.004, 0.017, 0.012), tone.shadow, 0.28)
    canvas.light(
        canvas.stroke(curve([(0.494, 0.40), (0.495, 0.45), (0.494, 0.50)], closed=False), [0.004, 0.008, 0.012], 0.006),
        tone.lit,
        0.32,
    )
    canvas.light(canvas.spot(0.492, 0.512, 0.010, 0.008), tone.lit, 0.42)
    canvas.light(canvas.spot(0.490, 0.509, 0.0035, 0.003), (1.0, 1.0, 1.0), 0.38)
    for s in (-1, 1):
        wing = curve([(0.527, 0.516), (0.5345, 0.527), (0.532, 0.539), (0.524, 0.5425)], closed=False)
        hole = curve(
            [(0.506, y + 0.0055), (0.513, y + 0.001), (0.5215, y + 0.003), (0.521, y + 0.0065), (0.513, y + 0.0068)]
        )
        wing, hole = (wing, hole) if s > 0 else (mirrored(wing), mirrored(hole))
        canvas.shade(canvas.stroke(wing, [0.0, 0.0042, 0.0045, 0.002], 0.0018), tone.deep, 0.42)
        canvas.shade(canvas.fill(hole, 0.0016), scaled(tone.deep, 0.5, 0.4, 0.4), 0.82)
    canvas.shade(canvas.spot(0.5, y + 0.0085, 0.010, 0.003), tone.deep, 0.3)


def _freckles(canvas: Canvas, look: Look, tone: Complexion) -> None:
    random = np.random.default_rng(7)
    dots = canvas.empty()
    for _ in range(int(90 * look.freckles)):
        x, y = 0.5 + random.normal(0, 0.065), 0.505 + random.normal(0, 0.022)
        dots = np.maximum(
            dots, canvas.fill(_circle(x, y, random.uniform(0.0012, 0.0026)), 0.0008) * random.uniform(0.3, 0.9)
        )
    canvas.shade(dots, scaled(tone.shadow, 0.95, 0.85, 0.78), 0.55)


def _stubble(canvas: Canvas, look: Look, mask: Mask) -> None:
    """A beard's shadow: jaw, chin and upper lip, grained."""
    hair = mix(rgb(look.hair), (0.1, 0.09, 0.1), 0.4)
    outer = symmetrical(
        curve(
            [
                (0.5, 0.562),
                (0.55, 0.566),
                (0.585, 0.60),
                (0.625, 0.565),
                (0.66, 0.50),
                (0.70, 0.50),
                (0.68, 0.72),
                (0.5, 0.74),
            ],
            closed=False,
        )
    )
    area = canvas.fill(outer, 0.010) * mask
    bare = canvas.fill(
        symmetrical(curve([(0.5, 0.585), (0.56, 0.6), (0.545, 0.628), (0.5, 0.634)], closed=False)), 0.006
    )
    grain = np.random.default_rng(5).random(mask.shape).astype(np.float32)
    grain = np.clip((canvas.blurred(grain, 0.0007) - 0.42) * 5.0, 0.0, 1.0)
    area *= 1.0 - 0.85 * bare
    canvas.shade(area, mix(hair, (1, 1, 1), 0.45), 0.55 * look.stubble)
    canvas.shade(area * grain, hair, 0.5 * look.stubble)
