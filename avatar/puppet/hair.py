"""Hair as locks: a lock lies between two guide lines from root to tip, filled with strands that catch the light.

In: a look's style and colours. What hangs behind the neck and what lies over the face are painted at different times.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from avatar.puppet.brush import Canvas, Line, Mask, Rgb, curve, luminance, mirrored, mix, rgb, ribbon, scaled
from avatar.puppet.hairstyles import STYLES, Loose
from avatar.puppet.locks import STEPS, Lock, even
from avatar.puppet.look import Look
from avatar.puppet.scene import shoulders


class Shades:
    """The colours of one head of hair."""

    def __init__(self, look: Look) -> None:
        self.base = rgb(look.hair)
        bright = luminance(self.base)
        self.dark: Rgb = scaled(self.base, 0.42, 0.40, 0.46)
        self.light: Rgb = mix(self.base, (1.0, 0.86, 0.68), 0.16 + 0.14 * look.hair_light + 0.1 * bright)
        self.gloss: Rgb = mix(
            self.base,
            mix(rgb(look.light), (1.0, 1.0, 1.0), 0.45),
            0.20 + 0.26 * look.hair_light + 0.45 * min(bright, 0.5),
        )
        self.rim: Rgb = rgb(look.light)


def paint_lock(canvas: Canvas, lock: Lock, shades: Shades, seed: int) -> None:
    """Fill one lock: a dark ground, strands from side to side, gloss, and a soft dark edge where it dips under."""
    random = np.random.default_rng(seed)
    a, b = lock.guides()
    ground = canvas.fill(np.vstack([a, b[::-1]]))
    width = float(np.linalg.norm(a - b, axis=1).max())
    count = max(10, int(width * 620))
    plane = _plane(canvas, mix(shades.dark, shades.base, 0.35))
    cover = np.zeros((canvas.height, canvas.width), np.uint8)
    order = random.permutation(count)
    for place in order:
        t = (place + random.uniform(-0.4, 0.4)) / count
        line = _strand(a, b, t, random, lock.ends)
        lit = np.exp(-(((t - lock.lit) / 0.30) ** 2)) + random.normal(0.0, 0.22) - 1.15 * lock.shade
        tone = mix(
            mix(shades.dark, shades.base, float(np.clip(0.35 + lit * 0.9, 0, 1))),
            shades.light,
            float(np.clip(lit - 0.55, 0, 1)),
        )
        wide = width / count * random.uniform(1.3, 3.0)
        shape = canvas._pixels(ribbon(line, [wide * 0.8, wide, wide, wide * 0.7, 0.0004]))
        cv2.fillPoly(plane, [shape], tuple(255.0 * v for v in tone), cv2.LINE_AA, 4)
        cv2.fillPoly(cover, [shape], 255, cv2.LINE_AA, 4)
    colour = cv2.GaussianBlur(plane, (0, 0), max(0.5, 0.0011 * canvas.scale)).astype(np.float32) / 255.0
    mask = np.maximum(ground, canvas.blurred(cover.astype(np.float32) / 255.0, 0.0004))
    canvas.paint(mask, colour)
    root = _along(canvas, a, b, 0.0, 0.16, random)
    canvas.shade(mask * root, scaled(shades.dark, 1.1, 1.1, 1.1), lock.root)
    for place in lock.gloss:
        streaks = _streaks(canvas, a, b, place, count, lock, random)
        canvas.light(streaks * mask, shades.gloss, 0.55)
    canvas.shade(canvas.hollow(mask, 0.008), (0.35, 0.3, 0.36), 0.32)


def _plane(canvas: Canvas, colour: Rgb) -> npt.NDArray[np.uint8]:
    plane = np.empty((canvas.height, canvas.width, 3), np.uint8)
    plane[:] = np.array([round(255 * v) for v in colour], np.uint8)
    return plane


def _strand(a: Line, b: Line, t: float, random: np.random.Generator, ends: float) -> Line:
    """One hair line between the guides, a little its own way."""
    t = float(np.clip(t, 0.0, 1.0))
    along = np.linspace(0.0, 1.0, STEPS)
    drift = 0.05 * random.normal() * np.sin(np.pi * along * random.uniform(0.6, 1.6) + random.uniform(0, 3))
    share = np.clip(t + drift * along, 0.0, 1.0)[:, None]
    line = a * (1.0 - share) + b * share
    keep = STEPS - min(STEPS // 3, int(abs(random.normal(0.0, ends)) * STEPS))
    return line[: max(8, keep)]


def _along(canvas: Canvas, a: Line, b: Line, start: float, end: float, random: np.random.Generator) -> Mask:
    """The part of a lock between two heights, soft."""
    first, last = int(start * (STEPS - 1)), max(int(end * (STEPS - 1)), int(start * (STEPS - 1)) + 2)
    return canvas.fill(np.vstack([a[first : last + 1], b[first : last + 1][::-1]]), 0.014)


def _streaks(
    canvas: Canvas, a: Line, b: Line, place: float, count: int, lock: Lock, random: np.random.Generator
) -> Mask:
    """Gloss: short strokes along the strands, uneven at both ends, strongest where the lock bulges."""
    strokes = []
    for k in range(count):
        t = (k + random.uniform(-0.3, 0.3)) / count
        strength = float(np.exp(-(((t - lock.lit) / 0.33) ** 2))) * random.uniform(0.25, 1.0)
        half = random.uniform(0.045, 0.11)
        first, last = (int(np.clip(place + d, 0, 1) * (STEPS - 1)) for d in (-half * random.uniform(0.6, 1.2), half))
        if last - first < 4:
            continue
        line = _strand(a, b, t, np.random.default_rng(k), 0.0)[first:last]
        if len(line) >= 4:
            strokes.append((line, [0.0, 0.0026, 0.0034, 0.0026, 0.0], strength))
    return canvas.strands(strokes, 0.0016)


def wisps(canvas: Canvas, lines: Sequence[Loose], shades: Shades) -> None:
    """Single hairs that left their lock."""
    strokes: list[tuple[Line, list[float], float]] = [
        (even(curve(line, closed=False)), [0.0004, 0.0015, 0.0012, 0.0002], 0.6) for line in lines
    ]
    canvas.paint(canvas.strands(strokes, 0.0004), mix(shades.base, shades.dark, 0.3))


def cap(canvas: Canvas) -> Mask:
    """The crown under the front locks, so that no scalp shows between them."""
    crown = [
        (0.5, 0.092),
        (0.60, 0.10),
        (0.67, 0.16),
        (0.697, 0.27),
        (0.692, 0.36),
        (0.655, 0.34),
        (0.62, 0.27),
        (0.56, 0.232),
        (0.5, 0.222),
    ]
    half = np.array(curve(crown, closed=False))
    return canvas.fill(np.vstack([half, mirrored(half)[::-1]]))


def back(canvas: Canvas, look: Look) -> None:
    """What hangs behind neck and shoulders."""
    shades = Shades(look)
    for seed, lock in enumerate(STYLES[look.hair_style].back):
        paint_lock(canvas, lock, shades, 100 + seed)


def fringe(canvas: Canvas, look: Look) -> Mask:
    """Where hair will lie over the face."""
    masks = [canvas.fill(lock.outline()) for lock in STYLES[look.hair_style].front]
    crown = [cap(canvas)] if STYLES[look.hair_style].crown else []
    return np.asarray(np.maximum.reduce([*crown, *masks]), np.float32)


def front(canvas: Canvas, look: Look) -> None:
    """What lies over the face."""
    shades = Shades(look)
    style = STYLES[look.hair_style]
    thrown = canvas.blurred(canvas.moved(fringe(canvas, look), 0.004, 0.012), 0.010) * shoulders(canvas)
    canvas.shade(thrown, (0.35, 0.32, 0.40), 0.65)
    if style.crown:
        canvas.paint(cap(canvas), shades.dark)
    for seed, lock in enumerate(style.front):
        paint_lock(canvas, lock, shades, 200 + seed)
    wisps(canvas, style.loose, shades)


def rim_light(canvas: Canvas, mask: Mask, look: Look) -> None:
    """Light from behind on the right edge of the hair."""
    edge = canvas.hollow(mask, 0.006, -0.007, 0.005) * canvas.ramp((0.52, 0.3), (0.72, 0.3))
    canvas.light(edge, Shades(look).rim, 0.5)
