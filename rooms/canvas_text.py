"""Text on the canvas: captions and labels. Text in, a patch of picture with its opacity out, drawn once and blended
often.

OpenCV brings its own typeface (Rubik, and one for Chinese, Japanese and Korean), so no font is looked for on the
system.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
_Weights = npt.NDArray[np.uint16]
Fits = Callable[[str], bool]

CAPTION_LINES = 2
SMALLEST_LABEL = 6
LONGEST_LINE = 1000
"""Letters; nothing that can be read has so many."""
_WORD = re.compile(r"\S+")
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
    size = _caption_size(width, height)
    lines = wrapped(text, _on_canvas(width, height))[:CAPTION_LINES]
    if not lines:
        return None
    return _drawn(lines, size, width, height, at_bottom=True)


def label(text: str, width: int, height: int) -> Patch:
    """A short text in the upper left corner, smaller where it would not fit."""
    size = max(12, round(min(width, height) * 0.034))
    while size > SMALLEST_LABEL and _width(text, size) > 0.86 * width:
        size -= 1
    return _drawn([text], size, width, height, at_bottom=False)


class Pager:
    """Texts that grow while they are said, in pages that each fit one caption.

    Only the page that is being filled is laid out again: a caption costs the same after an hour as at the beginning.

    Args:
        fits: whether a text fits one line; by default whether it does so on a canvas of this size.
    """

    def __init__(self, width: int, height: int, *, fits: Fits | None = None) -> None:
        self._fits = fits or _on_canvas(width, height)
        self._name = self._text = ""
        self._begins = 0
        """Where in the text the page begins."""

    def page(self, name: str, text: str) -> str | None:
        """The page that this much of a text has come to; None where there is nothing to read yet.

        Args:
            name: of the text. Under the same name each text begins with the one before.
        """
        if name != self._name or not text.startswith(self._text):
            self._begins = 0
        self._name, self._text = name, text
        while True:
            end = self._begins
            for _ in range(CAPTION_LINES):
                end = _line_end(text, end, self._fits)
            if not text[end:].strip():
                return " ".join(text[self._begins :].split()) or None
            self._begins = end


def wrapped(text: str, fits: Fits) -> list[str]:
    """Lines that fit, broken at spaces, and within words that are longer than a line."""
    lines, at = [], 0
    while text[at:].strip():
        end = _line_end(text, at, fits)
        lines.append(" ".join(text[at:end].split()))
        at = end
    return lines


def _line_end(text: str, at: int, fits: Fits) -> int:
    """Where the line ends that begins at a place of the text."""
    end = at
    for word in _WORD.finditer(text, at):
        # No line has so many letters; and what is measured stays short, however long a word is.
        if word.end() - at > LONGEST_LINE or not fits(" ".join(text[at : word.end()].split())):
            return end if end > at else word.start() + _letters_that_fit(word.group()[:LONGEST_LINE], fits)
        end = word.end()
    return len(text)


def _letters_that_fit(word: str, fits: Fits) -> int:
    """How many letters of a word that is longer than a line stand on it; at least one."""
    most = 2
    while most < len(word) and fits(word[:most]):
        most *= 2
    return bisect.bisect_left(range(2, min(most, len(word)) + 1), True, key=lambda count: not fits(word[:count])) + 1


def _on_canvas(width: int, height: int) -> Fits:
    size, line_px = _caption_size(width, height), round(width * 0.86)
    return lambda text: _width(text, size) <= line_px


def _caption_size(width: int, height: int) -> int:
    return max(14, round(min(width, height) * 0.052))


def _drawable(text: str) -> str:
    """OpenCV ends the process at half a surrogate pair, as the environment may hold."""
    return text.encode("utf-8", "replace").decode()


def _width(text: str, size: int) -> int:
    return int(cv2.getTextSize((0, 0), _drawable(text), (0, 0), _font(), size, _WEIGHT)[2])


def _drawn(lines: list[str], size: int, canvas_width: int, canvas_height: int, *, at_bottom: bool) -> Patch:
    pad, step = round(size * 0.55), round(size * 1.3)
    widths = [_width(line, size) for line in lines]
    margin = round(min(canvas_width, canvas_height) * 0.035)
    width = _even(min(canvas_width - 2 - margin, max(widths) + 2 * pad))
    height = _even(step * len(lines) + pad)
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
        cv2.putText(text, _drawable(line), place, (255, 255, 255), _font(), size, _WEIGHT)
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
