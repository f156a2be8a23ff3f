"""Painting by code: outlines to soft masks, masks to shaded colour, on a float canvas.

In: points in the unit square (x right, y down). Out: float RGB with alpha, premultiplied by nothing: what lies under
full alpha is final. It knows nothing of faces. Drawing happens once for a look, so it may take its time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = Floats
"""Float32 [side, side], 0 to 1."""
Rgb = tuple[float, float, float]
"""0 to 1 each."""
Line = npt.NDArray[np.float64]
"""Points of the unit square, float64 [n, 2]."""
Points = Sequence[tuple[float, float]] | npt.NDArray[np.float64]

_SHIFT = 4
SPOT_REACH = 3.6
"""Beyond so many of its radii a soft spot is nothing (0.0015)."""


def as_floats(values: object) -> Floats:
    """What OpenCV hands back, under the type it has."""
    return np.asarray(values, np.float32)


def rgb(colour: str) -> Rgb:
    """``#rrggbb`` as floats."""
    return tuple(int(colour[k : k + 2], 16) / 255.0 for k in (1, 3, 5))  # type: ignore[return-value]


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """From a (share 0) to b (share 1)."""
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def scaled(a: Rgb, red: float, green: float, blue: float) -> Rgb:
    return min(1.0, a[0] * red), min(1.0, a[1] * green), min(1.0, a[2] * blue)


def luminance(a: Rgb) -> float:
    return 0.299 * a[0] + 0.587 * a[1] + 0.114 * a[2]


def curve(points: Points, closed: bool = True, per_span: int = 14) -> npt.NDArray[np.float64]:
    """A smooth line through all points (centripetal Catmull-Rom), float64 [n, 2]."""
    p = np.asarray(points, np.float64)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    p = np.vstack([before, p, after])
    out = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        t0 = 0.0
        t1 = t0 + max(1e-6, float(np.linalg.norm(b - a)) ** 0.5)
        t2 = t1 + max(1e-6, float(np.linalg.norm(c - b)) ** 0.5)
        t3 = t2 + max(1e-6, float(np.linalg.norm(d - c)) ** 0.5)
        t = np.linspace(t1, t2, per_span, endpoint=False)[:, None]
        a1 = (t1 - t) / (t1 - t0) * a + (t - t0) / (t1 - t0) * b
        a2 = (t2 - t) / (t2 - t1) * b + (t - t1) / (t2 - t1) * c
        a3 = (t3 - t) / (t3 - t2) * c + (t - t2) / (t3 - t2) * d
        b1 = (t2 - t) / (t2 - t0) * a1 + (t - t0) / (t2 - t0) * a2
        b2 = (t3 - t) / (t3 - t1) * a2 + (t - t1) / (t3 - t1) * a3
        out.append((t2 - t) / (t2 - t1) * b1 + (t - t1) / (t2 - t1) * b2)
    if not closed:
        out.append(p[-2:-1])
    return np.vstack(out)


def mirrored(points: Points) -> npt.NDArray[np.float64]:
    """The other half of a figure that is symmetrical about x = 0.5."""
    p = np.asarray(points, np.float64)
    return np.stack([1.0 - p[:, 0], p[:, 1]], axis=1)


def symmetrical(half: Points) -> npt.NDArray[np.float64]:
    """A whole outline from its right half, listed from the top of the middle to the bottom."""
    p = np.asarray(half, np.float64)
    return np.vstack([p, mirrored(p)[::-1]])


def shifted(line: Points, dx: float, dy: float) -> Line:
    """The same points further right and down."""
    return np.add(np.asarray(line, np.float64), (dx, dy), dtype=np.float64)


class Canvas:
    """A picture in the making, or a window on part of one.

    Args:
        width_px, height_px: of this canvas.
        scale: px that one unit takes; for a whole picture its side.
        x0, y0: where in the unit square the canvas's top left corner lies.

    ``colour`` is float32 [height, width, 3] RGB, ``alpha`` float32 [height, width].
    """

    def __init__(self, width_px: int, height_px: int, scale: float, x0: float = 0.0, y0: float = 0.0) -> None:
        self.width, self.height, self.scale, self.x0, self.y0 = width_px, height_px, scale, x0, y0
        self.colour: Floats = np.zeros((height_px, width_px, 3), np.float32)
        self.alpha: Floats = np.zeros((height_px, width_px), np.float32)
        columns = (np.arange(width_px, dtype=np.float32) + 0.5) / np.float32(scale) + np.float32(x0)
        rows = (np.arange(height_px, dtype=np.float32) + 0.5) / np.float32(scale) + np.float32(y0)
        self.x: Floats = np.broadcast_to(columns[None, :], (height_px, width_px))
        self.y: Floats = np.broadcast_to(rows[:, None], (height_px, width_px))

    # masks ------------------------------------------------------------------------------------------------------------

    def empty(self) -> Mask:
        return np.zeros((self.height, self.width), np.float32)

    def fill(self, outline: Points, blur: float = 0.0) -> Mask:
        """The inside of an outline; ``blur`` is the softness of its edge (a standard deviation, share of the side)."""
        return self._filled([(outline, 1.0)], blur)

    def stroke(self, line: Points, widths: Sequence[float], blur: float = 0.0) -> Mask:
        """A brush drawn along a line, its width given at equal steps from start to end."""
        return self.fill(ribbon(line, widths), blur)

    def strands(self, lines: Sequence[tuple[Points, Sequence[float], float]], blur: float = 0.0) -> Mask:
        """Many strokes at once: (line, widths, strength 0 to 1) each; where they cross, the later one counts."""
        return self._filled([(ribbon(line, widths), strength) for line, widths, strength in lines], blur)

    def spot(self, x: float, y: float, rx: float, ry: float | None = None, angle: float = 0.0) -> Mask:
        """A soft round spot: 1 in the middle, 0.6 at (rx, ry), turned by ``angle`` radians."""
        ry = rx if ry is None else ry
        mask, reach = self.empty(), SPOT_REACH * max(rx, ry)
        box = self._box(x - reach, y - reach, x + reach, y + reach)
        dx, dy = self.x[box] - np.float32(x), self.y[box] - np.float32(y)
        if angle:
            c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            dx, dy = dx * c + dy * s, dy * c - dx * s
        mask[box] = np.exp(-0.5 * ((dx / np.float32(rx)) ** 2 + (dy / np.float32(ry)) ** 2))
        return mask

    def ramp(self, from_point: tuple[float, float], to_point: tuple[float, float]) -> Mask:
        """From 0 to 1 between two points, smoothly."""
        dx, dy = to_point[0] - from_point[0], to_point[1] - from_point[1]
        along = ((self.x - from_point[0]) * dx + (self.y - from_point[1]) * dy) / (dx * dx + dy * dy)
        along = np.clip(along, 0.0, 1.0)
        return (along * along * (3.0 - 2.0 * along)).astype(np.float32)

    def blurred(self, mask: Mask, blur: float) -> Mask:
        sigma = blur * self.scale
        if sigma < 0.3:
            return mask
        shrink = 1
        while sigma / shrink > 4.0:
            shrink *= 2
        height, width = mask.shape
        if shrink == 1 or min(height, width) < 8 * shrink:
            return as_floats(cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))
        size = width // shrink, height // shrink
        small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        return as_floats(large).clip(0.0, 1.0)

    def moved(self, mask: Mask, dx: float, dy: float) -> Mask:
        """A mask shifted right and down, edges repeated."""
        matrix = np.array([[1, 0, dx * self.scale], [0, 1, dy * self.scale]], np.float32)
        return as_floats(cv2.warpAffine(mask, matrix, (self.width, self.height), borderMode=cv2.BORDER_REPLICATE))

    def hollow(self, mask: Mask, blur: float, dx: float = 0.0, dy: float = 0.0) -> Mask:
        """The inner edge of a mask, soft: what is left of it beside its own blurred, shifted copy."""
        return as_floats(mask * np.clip(1.0 - self.blurred(self.moved(mask, dx, dy), blur), 0.0, 1.0))

    # colour -----------------------------------------------------------------------------------------------------------

    def paint(self, mask: Mask, colour: Rgb | Floats, opacity: float = 1.0) -> None:
        """Lay colour over what is there. The figure's alpha grows with it."""
        box = _used(mask)
        if box is None:
            return
        share = mask[box] * np.float32(opacity)
        target = np.asarray(colour, np.float32) if isinstance(colour, tuple) else colour[box]
        self.colour[box] += share[..., None] * (target - self.colour[box])
        self.alpha[box] += share * (1.0 - self.alpha[box])

    def shade(self, mask: Mask, colour: Rgb, opacity: float = 1.0) -> None:
        """Multiply by a colour, as shadow does."""
        box = _used(mask)
        if box is not None:
            share = (mask[box] * np.float32(opacity))[..., None]
            self.colour[box] *= 1.0 - share * (1.0 - np.asarray(colour, np.float32))

    def light(self, mask: Mask, colour: Rgb, opacity: float = 1.0) -> None:
        """Screen with a colour, as light does."""
        box = _used(mask)
        if box is not None:
            share = (mask[box] * np.float32(opacity))[..., None]
            self.colour[box] += share * np.asarray(colour, np.float32) * (1.0 - self.colour[box])

    def lay(self, other: Canvas) -> None:
        """Put a canvas of the same window on top."""
        self.paint(other.alpha, other.colour)

    def part(self, x0: float, y0: float, x1: float, y1: float) -> Canvas:
        """A window on this canvas that shares its pixels: what is painted there is painted here."""
        rows, columns = self._box(x0, y0, x1, y1)
        part = Canvas.__new__(Canvas)
        part.width, part.height, part.scale = columns.stop - columns.start, rows.stop - rows.start, self.scale
        part.x0, part.y0 = self.x0 + columns.start / self.scale, self.y0 + rows.start / self.scale
        part.colour, part.alpha = self.colour[rows, columns], self.alpha[rows, columns]
        part.x, part.y = self.x[rows, columns], self.y[rows, columns]
        return part

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """The pixels of a rectangle, as far as they lie on the canvas; never none."""

        def span(low: float, high: float, start: float, count: int) -> slice:
            first = min(count - 1, max(0, math.floor((low - start) * self.scale)))
            return slice(first, max(first + 1, min(count, math.ceil((high - start) * self.scale))))

        return span(y0, y1, self.y0, self.height), span(x0, x1, self.x0, self.width)

    def _filled(self, shapes: Sequence[tuple[Points, float]], blur: float) -> Mask:
        """Outlines, each with a strength, drawn and softened where they lie."""
        mask = self.empty()
        if not shapes:
            return mask
        corners = np.vstack([np.asarray(outline, np.float64) for outline, _ in shapes])
        reach = 3.5 * blur + 3.0 / self.scale
        (x0, y0), (x1, y1) = corners.min(axis=0) - reach, corners.max(axis=0) + reach
        rows, columns = self._box(float(x0), float(y0), float(x1), float(y1))
        plane = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        offset = np.array([columns.start, rows.start], np.int32) << _SHIFT
        for outline, strength in shapes:
            cv2.fillPoly(plane, [self._pixels(outline) - offset], round(255 * strength), cv2.LINE_AA, _SHIFT)
        mask[rows, columns] = self.blurred(plane.astype(np.float32) / 255.0, blur)
        return mask

    def _pixels(self, outline: Points) -> npt.NDArray[np.int32]:
        points = ((np.asarray(outline, np.float64) - (self.x0, self.y0)) * self.scale - 0.5) * (1 << _SHIFT)
        return np.rint(points).astype(np.int32)


def ribbon(line: Points, widths: Sequence[float]) -> npt.NDArray[np.float64]:
    """The outline of a brush stroke, float64 [n, 2]."""
    p = np.asarray(line, np.float64)
    along = np.gradient(p, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    width = np.interp(np.linspace(0, 1, len(p)), np.linspace(0, 1, len(widths)), widths)[:, None]
    return np.vstack([p + across * width / 2, (p - across * width / 2)[::-1]])


def _used(mask: Mask) -> tuple[slice, slice] | None:
    """The part of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0.002), np.flatnonzero(mask.max(axis=0) > 0.002)
    if not len(rows) or not len(columns):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
