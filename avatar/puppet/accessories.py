"""Brows and glasses."""

from __future__ import annotations

import numpy as np

from avatar.puppet import anatomy as at
from avatar.puppet.brush import Canvas, curve, mirrored, mix, rgb, scaled, shifted
from avatar.puppet.hairstyles import STYLES
from avatar.puppet.head import Complexion
from avatar.puppet.look import Look


def brows(canvas: Canvas, look: Look) -> None:
    """One clean shape, soft where it begins, with single hairs only at its upper edge and its start."""
    tone = Complexion(look)
    colour = rgb(look.brows) if look.brows else mix(scaled(rgb(look.hair), 0.66, 0.60, 0.60), (0.12, 0.08, 0.07), 0.25)
    heavy = 0.6 + 0.8 * look.brow_weight
    y = at.BROW_Y
    points = [(0.5355, y + 0.0040), (0.556, y - 0.0010), (0.582, y - 0.0060), (0.606, y - 0.0075), (0.628, y - 0.0005),
              (0.645, y + 0.0105)]  # fmt: skip
    spine = curve(points, closed=False, per_span=10)
    widths = [0.0040 * heavy, 0.0112 * heavy, 0.0132 * heavy, 0.0122 * heavy, 0.0092 * heavy, 0.0050 * heavy, 0.0006]
    random = np.random.default_rng(11)
    for side in (1, -1):
        line = spine if side > 0 else mirrored(spine)
        canvas.shade(canvas.stroke(shifted(line, 0.002, 0.006), widths, 0.006), tone.shadow, 0.35)
        start = 0.5 + side * 0.030, 0.5 + side * 0.062
        body = canvas.stroke(line, widths, 0.0011)
        canvas.paint(body * (0.55 + 0.45 * canvas.ramp((start[0], y), (start[1], y))), colour, 0.82)
        canvas.light(canvas.stroke(shifted(line, 0.0, -0.0015), [0.0, 0.003, 0.0], 0.0015) * body, tone.lit, 0.10)
        hairs = []
        for _ in range(34):
            place = abs(random.normal(0.0, 0.33))
            if place > 0.95:
                continue
            k = int(place * (len(line) - 2))
            width = float(np.interp(place, np.linspace(0, 1, len(widths)), widths))
            across = random.uniform(-0.35, 0.40) * width
            along = (line[k + 1] - line[k]) / np.linalg.norm(line[k + 1] - line[k])
            aim = along * (0.40 + 0.9 * place) + np.array([0.0, -1.0 + 0.8 * place])
            root = line[k] + np.array([0.0, -across])
            course = np.linspace(root, root + aim / np.linalg.norm(aim) * random.uniform(0.006, 0.0095), 5)
            hairs.append((course, [0.0012, 0.0014, 0.0003], random.uniform(0.3, 0.8)))
        canvas.paint(canvas.strands(hairs, 0.0004), scaled(colour, 0.85, 0.85, 0.85), 0.6)


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
    arm_end = 0.176 if STYLES[look.hair_style].ears else 0.162  # before the ear, or under the hair
    for target in (canvas, front):
        for side in (-1, 1):
            ring = shifted(rim, 0.5 + side * (at.EYE_X + 0.002), y)
            shadow = canvas.stroke(shifted(ring, 0.003, 0.006), [0.005, 0.005], 0.004)
            if target is canvas:
                target.shade(shadow, tone.shadow, 0.5)
            arm = np.array([(0.5 + side * (at.EYE_X + rx), y - 0.012), (0.5 + side * arm_end, y - 0.018)])
            for line, width in ((ring, 0.0070), (arm, 0.0070)):
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
