"""Text on the canvas: captions and labels. Text in, a patch of picture with its opacity out, drawn once and blended
often.

OpenCV brings its own typeface (Rubik, and one for Chinese, Japanese and Korean), so no font is looked for on the
system.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
_Weights = npt.NDArray[np.uint16]

CAPTION_LINES = 2
_BOX_BGR = (24, 18, 14)
_BOX_OPACITY = 0.62
_TEXT_BGR = (250, 250, 250)
_WEIGHT = 500


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Something drawn, at its place on the canvas. Premultiplied: blending is one multiplication a sample.

    Args:
        x, y: px, even.
        colours: Y, U and V times opacity, 0 to 255 * 256.
        keeps: for each of the three planes, how much of what is under it stays, 0 to 256.
    """

    x: int
    y: int
    width: int
    height: int
    colours: tuple[_Weights, _Weights, _Weights]
    keeps: tuple[_Weights, _Weights]

    def blend(self, planes: tuple[Plane, Plane, Plane]) -> None:
        """Into a canvas's Y, U and V."""
        for index, plane in enumerate(planes):
            half = index > 0
            x, y, width, height = (
                (self.x // 2, self.y // 2, self.width // 2, self.height // 2)
                if half
                else (self.x, self.y, self.width, self.height)
            )
            under = plane[y : y + height, x : x + width]
            under[:] = (under * self.keeps[half] + self.colours[index]) >> 8


@functools.cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def caption(text: str, width: int, height: int) -> Patch | None:
    """The text over the lower edge, in at most two lines; what does not fit is left out. None for no text."""
    size = max(14, round(min(width, height) * 0.052))
    lines = wrapped(text, round(width * 0.86), size)[:CAPTION_LINES]
    if not lines:
        return None
    return _drawn(lines, size, width, height, at_bottom=True)


def label(text: str, width: int, height: int) -> Patch:
    """A short text in the upper left corner."""
    return _drawn([text], max(12, round(min(width, height) * 0.034)), width, height, at_bottom=False)


def pages(text: str, width: int, height: int) -> list[str]:
    """A long text in pieces that each fit one caption."""
    size = max(14, round(min(width, height) * 0.052))
    lines = wrapped(text, round(width * 0.86), size)
    return [" ".join(lines[at : at + CAPTION_LINES]) for at in range(0, len(lines), CAPTION_LINES)]


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Lines of at most ``width`` px, broken at spaces, and within words that are longer than a line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        tried = f"{line} {word}".strip()
        if _width(tried, size) <= width:
            line = tried
            continue
        if line:
            lines.append(line)
        while _width(word, size) > width:
            cut = next(at for at in range(len(word) - 1, 0, -1) if at == 1 or _width(word[:at], size) <= width)
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line] if line else lines


def _width(text: str, size: int) -> int:
    return int(cv2.getTextSize((0, 0), text, (0, 0), _font(), size, _WEIGHT)[2])


def _drawn(lines: list[str], size: int, canvas_width: int, canvas_height: int, *, at_bottom: bool) -> Patch:
    pad, step = round(size * 0.55), round(size * 1.3)
    widths = [_width(line, size) for line in lines]
    width = _even(min(canvas_width - 2, max(widths) + 2 * pad))
    height = _even(step * len(lines) + pad)
    margin = round(min(canvas_width, canvas_height) * 0.035)
    x = _even((canvas_width - width) // 2) if at_bottom else _even(margin)
    y = _even(canvas_height - height - margin) if at_bottom else _even(margin)
    box = np.zeros((height, width), np.uint8)
    radius = min(height // 2, round(size * 0.45))
    cv2.rectangle(box, (radius, 0), (width - radius - 1, height - 1), 255, -1)
    cv2.rectangle(box, (0, radius), (width - 1, height - radius - 1), 255, -1)
    for corner in ((radius, radius), (width - radius - 1, radius), (radius, height - radius - 1)):
        cv2.circle(box, corner, radius, 255, -1, cv2.LINE_AA)
    cv2.circle(box, (width - radius - 1, height - radius - 1), radius, 255, -1, cv2.LINE_AA)
    text = np.zeros((height, width, 3), np.uint8)
    for index, (line, line_width) in enumerate(zip(lines, widths, strict=True)):
        place = ((width - line_width) // 2, pad // 2 + step * index + size)
        cv2.putText(text, line, place, (255, 255, 255), _font(), size, _WEIGHT)
    ink = text[:, :, 0].astype(np.float32) / 255
    opacity = np.maximum(ink, box.astype(np.float32) / 255 * _BOX_OPACITY)
    share = np.divide(ink, opacity, out=np.zeros_like(ink), where=opacity > 0)[..., np.newaxis]
    bgr = (share * np.array(_TEXT_BGR, np.float32) + (1 - share) * np.array(_BOX_BGR, np.float32)).astype(np.uint8)
    return _patch(x, y, bgr, opacity)


def _patch(x: int, y: int, bgr: npt.NDArray[np.uint8], opacity: npt.NDArray[np.float32]) -> Patch:
    height, width = opacity.shape
    planes = split(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), np.uint8), width, height)
    half = cv2.resize(opacity, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    y_colour, u_colour, v_colour = (
        (plane * np.round(weight * 256)).astype(np.uint16)
        for plane, weight in zip(planes, (opacity, half, half), strict=True)
    )
    keep, half_keep = ((256 - np.round(weight * 256)).astype(np.uint16) for weight in (opacity, half))
    return Patch(x, y, width, height, (y_colour, u_colour, v_colour), (keep, half_keep))


def split(planes: Plane, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """Y, U and V of an I420 picture, as views."""
    flat = planes.reshape(-1)
    luma, chroma = width * height, width * height // 4
    return (
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(height // 2, width // 2),
        flat[luma + chroma :].reshape(height // 2, width // 2),
    )


def _even(value: int) -> int:
    return value - value % 2
