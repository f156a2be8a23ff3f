"""Hair as locks: a lock lies between two guide lines from root to tip, filled with strands that catch the light.

In: a look's style and colours. What hangs behind the neck and what lies over the face are painted at different times.
Strands are painted as tones, one number a pixel: the light on the whole head, the bulge of the lock and each strand's
own shade add up, and only their sum is looked up in the colours of this hair. So highlights run over all locks alike.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from avatar.puppet.brush import (
    Canvas,
    Floats,
    Line,
    Mask,
    Points,
    Rgb,
    curve,
    luminance,
    mirrored,
    mix,
    rgb,
    ribbon,
    scaled,
)
from avatar.puppet.hairstyles import STYLES, Loose
from avatar.puppet.locks import STEPS, Lock, even
from avatar.puppet.look import Look
from avatar.puppet.scene import shoulders

CROWN_X, CROWN_Y, CROWN_RX, CROWN_RY = 0.49, 0.41, 0.205, 0.272
"""The ball of the skull on which the light makes a band."""


class Shades:
    """The colours of one head of hair, from the deepest shade to the light on it."""

    def __init__(self, look: Look) -> None:
        base = rgb(look.hair)
        bright = luminance(base)
        shine = 0.35 + 0.65 * look.hair_light
        self.base = base
        self.dark: Rgb = mix(scaled(base, 0.40, 0.36, 0.44), (0.10, 0.07, 0.12), 0.25)
        deep = mix(scaled(base, 0.22, 0.19, 0.28), (0.06, 0.04, 0.09), 0.35)
        light = mix(scaled(base, 1.30, 1.26, 1.18), (1.0, 0.80, 0.55), 0.10 + 0.10 * bright)
        gloss = mix(light, (1.0, 0.93, 0.82), 0.26 + 0.34 * shine)
        stops = np.array([deep, self.dark, scaled(base, 0.78, 0.75, 0.78), base, light, gloss])
        at = (0.0, 0.2, 0.4, 0.58, 0.80, 1.0)
        tones = np.linspace(0.0, 1.0, 256)
        self.ramp: Floats = np.stack([np.interp(tones, at, stops[:, k]) for k in range(3)], axis=1).astype(np.float32)
        self.rim: Rgb = rgb(look.light)
        self.shine = shine

    def colours(self, tone: Floats) -> Floats:
        """RGB of tones, 0 deep to 1 gloss."""
        return np.asarray(self.ramp[np.clip(tone * 255.0, 0, 255).astype(np.uint8)], np.float32)


def lit(canvas: Canvas, shade: float) -> Floats:
    """The light that falls on any hair there, as a tone: from the upper left, less towards neck and right."""
    field = 0.46 + 0.13 * canvas.spot(0.36, 0.20, 0.16, 0.22) - 0.15 * canvas.ramp((0.46, 0.40), (0.80, 0.60))
    field -= 0.10 * canvas.ramp((0.5, 0.42), (0.5, 0.72))
    return np.asarray(field - 0.42 * shade, np.float32)


def halo(canvas: Canvas) -> Mask:
    """The band of light around the crown."""
    x, y = (canvas.x - CROWN_X) / CROWN_RX, (canvas.y - CROWN_Y) / CROWN_RY
    away = np.sqrt(x * x + y * y)
    wobble = 0.03 * np.sin(9.0 * np.arctan2(y, x))
    band = np.exp(-(((away - 0.94 + wobble) / 0.11) ** 2)) + 0.4 * np.exp(-(((away - 0.70 - wobble) / 0.06) ** 2))
    side = np.clip(0.25 - y, 0.0, 0.5) * 2.0 * (1.0 - 0.45 * canvas.ramp((0.50, 0.3), (0.72, 0.3)))
    return np.asarray(band * side, np.float32)


def paint_lock(whole: Canvas, lock: Lock, shades: Shades, seed: int) -> None:
    """One lock: its shadow on what lies below, strands from side to side, light, and a dark edge where it dips."""
    random = np.random.default_rng(seed)
    a, b = lock.guides()
    (x0, y0), (x1, y1) = np.minimum(a.min(axis=0), b.min(axis=0)), np.maximum(a.max(axis=0), b.max(axis=0))
    canvas = whole.part(float(x0) - 0.03, float(y0) - 0.03, float(x1) + 0.03, float(y1) + 0.03)
    ground = canvas.fill(np.vstack([a, b[::-1]]))
    width = float(np.linalg.norm(a - b, axis=1).max())
    count = max(9, int(width * 520))
    plane = np.full((canvas.height, canvas.width), 100, np.uint8)
    cover = np.zeros((canvas.height, canvas.width), np.uint8)
    for place in random.permutation(count):
        t = (place + random.uniform(-0.4, 0.4)) / count
        line = _strand(a, b, t, random, lock.ends)
        bulge = np.exp(-(((t - lock.lit) / 0.36) ** 2)) - 0.5
        own = 0.5 + 0.30 * bulge + random.normal(0.0, 0.115)
        wide = width / count * random.uniform(1.2, 3.0)
        shape = canvas._pixels(ribbon(line, [wide * 0.8, wide, wide, wide * 0.7, 0.0003]))
        cv2.fillPoly(plane, [shape], round(255 * float(np.clip(own, 0.0, 1.0))), cv2.LINE_AA, 4)
        cv2.fillPoly(cover, [shape], 255, cv2.LINE_AA, 4)
    own = cv2.GaussianBlur(plane, (0, 0), max(0.5, 0.0008 * canvas.scale)).astype(np.float32) / 255.0 - 0.5
    mask = np.maximum(ground, canvas.blurred(cover.astype(np.float32) / 255.0, 0.0004))
    thrown = canvas.blurred(canvas.moved(mask, 0.003, 0.005), 0.006) * (1.0 - mask) * canvas.alpha
    canvas.shade(np.asarray(thrown, np.float32), (0.42, 0.34, 0.40), 0.38)
    streak = np.clip(0.55 + 2.4 * own, 0.0, 1.6)
    tone = lit(canvas, lock.shade) + 0.62 * own - 0.30 * lock.root * _along(canvas, a, b, 0.0, 0.16)
    glow = halo(canvas) if lock.halo else canvas.empty()
    for place in lock.gloss:
        glow = np.maximum(glow, 0.75 * _along(canvas, a, b, place - 0.06, place + 0.06))
    tone += (0.14 + 0.17 * shades.shine) * glow * streak
    tone -= 0.30 * canvas.hollow(mask, 0.0045)
    canvas.paint(mask, shades.colours(np.asarray(tone, np.float32)))


def _strand(a: Line, b: Line, t: float, random: np.random.Generator, ends: float) -> Line:
    """One hair line between the guides, a little its own way."""
    t = float(np.clip(t, 0.0, 1.0))
    along = np.linspace(0.0, 1.0, STEPS)
    drift = 0.05 * random.normal() * np.sin(np.pi * along * random.uniform(0.6, 1.6) + random.uniform(0, 3))
    share = np.clip(t + drift * along, 0.0, 1.0)[:, None]
    line = a * (1.0 - share) + b * share
    keep = STEPS - min(STEPS // 3, int(abs(random.normal(0.0, ends)) * STEPS))
    return line[: max(8, keep)]


def _along(canvas: Canvas, a: Line, b: Line, start: float, end: float) -> Mask:
    """The part of a lock between two heights, soft."""
    first, last = max(0, int(start * (STEPS - 1))), max(int(end * (STEPS - 1)), int(start * (STEPS - 1)) + 2)
    return canvas.fill(np.vstack([a[first : last + 1], b[first : last + 1][::-1]]), 0.014)


def wisps(canvas: Canvas, lines: tuple[Loose, ...], shades: Shades) -> None:
    """Single hairs that left their lock."""
    strokes: list[tuple[Points, list[float], float]] = [
        (even(curve(line, closed=False)), [0.0004, 0.0017, 0.0013, 0.0002], 0.75) for line in lines
    ]
    canvas.paint(canvas.strands(strokes, 0.0004), mix(shades.base, shades.dark, 0.25))


def curls(whole: Canvas, outline: npt.NDArray[np.float64], shades: Shades, light: float) -> None:
    """Cropped coils: a soft-edged cap of little arcs, each lit from the upper left."""
    random = np.random.default_rng(17)
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    canvas = whole.part(float(x0) - 0.03, float(y0) - 0.03, float(x1) + 0.03, float(y1) + 0.03)
    ground = canvas.fill(outline, 0.0022)
    plane = np.full((canvas.height, canvas.width), 105, np.uint8)
    cover = np.zeros((canvas.height, canvas.width), np.uint8)
    inside = np.argwhere(ground > 0.35)
    for row, column in inside[random.integers(0, len(inside), 3000)]:
        x, y = float(canvas.x[row, column]), float(canvas.y[row, column])
        turn = random.uniform(0.0, 2 * np.pi) + np.linspace(0.0, random.uniform(2.0, 4.4), 9)
        radius = random.uniform(0.0022, 0.0046)
        arc = np.stack([x + radius * np.cos(turn), y + 0.85 * radius * np.sin(turn)], axis=1)
        shape = canvas._pixels(ribbon(arc, [0.0008, 0.0020, 0.0018, 0.0005]))
        cv2.fillPoly(plane, [shape], int(np.clip(random.normal(128, 34), 0, 255)), cv2.LINE_AA, 4)
        cv2.fillPoly(cover, [shape], 255, cv2.LINE_AA, 4)
    own = cv2.GaussianBlur(plane, (0, 0), max(0.5, 0.0007 * canvas.scale)).astype(np.float32) / 255.0 - 0.5
    mask = np.maximum(ground, 0.8 * canvas.blurred(cover.astype(np.float32) / 255.0, 0.0005))
    tone = lit(canvas, 0.0) + 0.55 * own + light * halo(canvas) * np.clip(0.7 + 1.6 * own, 0.0, 1.5)
    tone -= 0.34 * canvas.hollow(ground, 0.014, -0.004, -0.004)
    canvas.paint(mask, shades.colours(np.asarray(tone, np.float32)))


def back(canvas: Canvas, look: Look) -> None:
    """What hangs behind neck and shoulders."""
    shades = Shades(look)
    for seed, lock in enumerate(STYLES[look.hair_style].back):
        paint_lock(canvas, lock, shades, 100 + seed)


def _cap(points: Points) -> npt.NDArray[np.float64]:
    half = curve(points, closed=False)
    return np.vstack([half, mirrored(half)[::-1]])


def fringe(canvas: Canvas, look: Look) -> Mask:
    """Where hair will lie over the face."""
    style = STYLES[look.hair_style]
    masks = [canvas.fill(lock.outline()) for lock in style.front]
    if style.cap:
        masks.append(canvas.fill(_cap(style.cap)))
    return np.asarray(np.maximum.reduce(masks), np.float32)


def front(canvas: Canvas, look: Look) -> None:
    """What lies over the face."""
    shades = Shades(look)
    style = STYLES[look.hair_style]
    thrown = canvas.blurred(canvas.moved(fringe(canvas, look), 0.004, 0.012), 0.010) * shoulders(canvas)
    canvas.shade(thrown, (0.35, 0.32, 0.40), 0.5)
    if style.cap and style.coils:
        curls(canvas, _cap(style.cap), shades, 0.30 * shades.shine)
    elif style.cap:
        canvas.paint(canvas.fill(_cap(style.cap), 0.002), shades.dark)
    for seed, lock in enumerate(style.front):
        paint_lock(canvas, lock, shades, 200 + seed)
    wisps(canvas, style.loose, shades)


def rim_light(canvas: Canvas, mask: Mask, look: Look) -> None:
    """Light from behind on the right edge of the hair: a crisp line in a soft glow."""
    side = canvas.ramp((0.52, 0.3), (0.70, 0.3))
    canvas.light(canvas.hollow(mask, 0.010, -0.009, 0.006) * side, Shades(look).rim, 0.26 * look.rim)
    if not STYLES[look.hair_style].coils:  # its edge is too rough for a line
        canvas.light(canvas.hollow(mask, 0.0028, -0.0030, 0.0020) * side, Shades(look).rim, 0.85 * look.rim)
