"""Brows and glasses."""

from __future__ import annotations

import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, curve, mirrored, mix, rgb, scaled, shifted
from avatar.puppet.head import Complexion
from avatar.puppet.look import Look


def brows(canvas: Canvas, look: Look) -> None:
    """A soft body and single hairs that lean outwards."""
    tone = Complexion(look)
    colour = rgb(look.brows) if look.brows else mix(scaled(rgb(look.hair), 0.72, 0.68, 0.68), (0.12, 0.08, 0.07), 0.25)
    heavy = 0.6 + 0.8 * look.brow_weight
    y = at.BROW_Y
    spine = curve(
        [
            (0.5375, y + 0.0075),
            (0.556, y + 0.0010),
            (0.580, y - 0.0055),
            (0.602, y - 0.0075),
            (0.622, y + 0.0005),
            (0.636, y + 0.0105),
        ],
        closed=False,
        per_span=10,
    )
    widths = [0.0045 * heavy, 0.0105 * heavy, 0.0125 * heavy, 0.0118 * heavy, 0.0095 * heavy, 0.0058 * heavy, 0.0008]
    random = np.random.default_rng(11)
    for side in (1, -1):
        line = spine if side > 0 else mirrored(spine)
        canvas.shade(canvas.stroke(shifted(line, 0.0, 0.006), widths, 0.006), tone.shadow, 0.35)
        canvas.paint(canvas.stroke(line, widths, 0.0016), colour, 0.62)
        hairs = []
        for _ in range(70):
            place = random.uniform(0.0, 0.97)
            k = int(place * (len(line) - 2))
            width = float(np.interp(place, np.linspace(0, 1, len(widths)), widths))
            across = random.uniform(-0.42, 0.42) * width
            along = (line[k + 1] - line[k]) / np.linalg.norm(line[k + 1] - line[k])
            root = line[k] + np.array([0.0, -across])
            lift = np.array([0.0, -1.0]) * (0.95 - 0.9 * place) * (1.0 if across < 0 else 0.6)
            aim = along * (0.45 + 0.6 * place) + lift
            aim /= np.linalg.norm(aim)
            length = 0.0095 * random.uniform(0.6, 1.0) * (1.0 - 0.35 * place)
            hairs.append(
                (np.linspace(root, root + aim * length, 5), [0.0012, 0.0014, 0.0003], random.uniform(0.4, 0.95))
            )
        canvas.paint(canvas.strands(hairs, 0.0004), scaled(colour, 0.8, 0.8, 0.8), 0.75)


def glasses(canvas: Canvas, front: Canvas, look: Look) -> None:
    """Frames over the eyes, on the painting and on the layer that is laid over moving eyes."""
    if look.glasses == "none":
        return
    tone = Complexion(look)
    frame = rgb(look.glasses_frame)
    squareness, rx, ry = (2.0, 0.0640, 0.0560) if look.glasses == "round" else (3.6, 0.0650, 0.0485)
    turn = np.linspace(0.0, 2 * np.pi, 81)
    c, s = np.cos(turn), np.sin(turn)
    rim = np.stack(
        [np.sign(c) * np.abs(c) ** (2 / squareness) * rx, np.sign(s) * np.abs(s) ** (2 / squareness) * ry], axis=1
    )
    y = at.EYE_Y + 0.006
    bridge = curve([(0.5 - 0.0165, y - 0.010), (0.5, y - 0.017), (0.5 + 0.0165, y - 0.010)], closed=False)
    for target in (canvas, front):
        for side in (-1, 1):
            ring = shifted(rim, 0.5 + side * (at.EYE_X + 0.002), y)
            shadow = canvas.stroke(shifted(ring, 0.003, 0.006), [0.005, 0.005], 0.004)
            if target is canvas:
                target.shade(shadow, tone.shadow, 0.5)
            arm = np.array([(0.5 + side * (at.EYE_X + rx), y - 0.012), (0.5 + side * 0.168, y - 0.016)])
            for line, width in ((ring, 0.0062), (arm, 0.0068)):
                stroke = canvas.stroke(line, [width, width])
                target.paint(stroke, frame)
                edge = canvas.stroke(shifted(line, -0.0008, -0.0016), [0.0014, 0.0014], 0.0006)
                target.light(edge * stroke, (1.0, 1.0, 1.0), 0.35)
            glint = [
                (x + 0.5 + side * (at.EYE_X + 0.002), h + y)
                for x, h in ((-0.034, -0.030), (-0.020, -0.036), (-0.044, 0.012), (-0.050, -0.004))
            ]
            shine = canvas.fill(glint, 0.003) * 0.11
            target.paint(shine, (1.0, 1.0, 1.0))
        stroke = canvas.stroke(bridge, [0.006, 0.005, 0.006])
        target.paint(stroke, frame)
