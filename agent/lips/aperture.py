"""How far a mouth is open in each picture of a video, seen in the decoded pictures alone.

In: a video file and the times at which its mouth is at rest. Out: one aperture a picture, in px. Nothing is known of
who is shown or how the pictures were made. The mouth is where pictures differ most from one to the next; the patch
above it takes the head's own motion out; and between the lips is whatever has a colour that the region does not show
at rest: dark, teeth or tongue. The aperture is the distance from the first to the last such pixel of a column, in the
middle of the mouth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt

from avatar.frames import MienError

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

COARSE = 128
"""Side of the square to which pictures are shrunk to find the mouth."""
MOUTH = (0.18, 0.09)
"""About the size of a mouth and its motion: width and height in shares of the picture's."""
LOOK = (0.10, 0.075)
"""Half the region that is read."""
CENTRE_SHARE = 0.4
"""Of the region's columns, those in the middle that count."""
ABOVE, SWAY = 0.09, 0.03
"""Height of the patch over the region that tells how the head moved, and how far it may have."""
COLOURS = (32, 64, 64)
"""Bins of Y, U and V in which the colours at rest are counted."""
RARE_SHARE = 2e-4
"""A colour with less than this share of the region's pixels at rest is none that shows at rest."""
FEWEST_AT_REST = 5
FEWEST = 25


class NotSeen(MienError):
    """The video does not show what is to be measured; says what is missing."""


@dataclass(frozen=True, eq=False, slots=True)
class Aperture:
    """Of one video.

    Args:
        times_ms: middle of the time that each picture is shown, [n].
        values_px: aperture, [n].
        mouth: where it was found, shares of the picture's width and height.
    """

    times_ms: Floats
    values_px: Floats
    mouth: tuple[float, float]


def watch(path: Path, rest_ms: Sequence[tuple[float, float]]) -> Aperture:
    """Measure a video's mouth. It decodes the file twice and keeps the region's pixels only.

    Args:
        rest_ms: from when to when the mouth is at rest, in the file's own time.

    Raises:
        NotSeen: too few pictures, none of them at rest, or no video that can be decoded.
    """
    small, times = [], []
    for time_ms, picture in _pictures(path):
        times.append(time_ms)
        small.append(cv2.resize(picture[: picture.shape[0] * 2 // 3], (COARSE, COARSE), interpolation=cv2.INTER_AREA))
    if len(times) < FEWEST:
        raise NotSeen(f"{path} has {len(times)} pictures: at least {FEWEST} are needed")
    half_ms = float(np.median(np.diff(times))) / 2
    middles = np.asarray(times) + half_ms
    at_rest = [k for k, time in enumerate(middles) if any(start <= time < end for start, end in rest_ms)]
    if len(at_rest) < FEWEST_AT_REST:
        raise NotSeen(
            f"{path} shows its mouth at rest in {len(at_rest)} pictures: {FEWEST_AT_REST} are needed; "
            "let the speech have a pause, or begin after one"
        )
    x, y = _mouth(np.stack(small))
    strips = np.stack(list(_strips(path, x, y)))
    height = strips.shape[1] // 3
    return Aperture(
        middles, _between(strips[:, :height], strips[:, height : 2 * height], strips[:, 2 * height :], at_rest), (x, y)
    )


def _pictures(path: Path) -> Iterator[tuple[float, Bytes]]:
    """(start in ms, I420 planes uint8 [height * 3 // 2, width]) of each picture."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise NotSeen(f"{path} holds no pictures")
            for frame in container.decode(video=0):
                if frame.pts is None or frame.time_base is None:
                    continue
                yield (
                    1000.0 * float(frame.pts * frame.time_base),
                    np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8),
                )
    except (av.error.FFmpegError, OSError) as error:
        raise NotSeen(f"cannot read {path} as a video: {error}") from error


def _mouth(small: Bytes) -> tuple[float, float]:
    """Where pictures change in most of their steps: eyes and heads move too, but seldom or slowly. Shares of a side."""
    moved = np.abs(np.diff(small.astype(np.int16), axis=0))
    amount = moved.mean(axis=(1, 2))
    active = amount >= np.median(amount)
    usual = np.median(moved[active], axis=0).astype(np.float32)
    box = round(MOUTH[0] * COARSE), round(MOUTH[1] * COARSE)
    summed = cv2.boxFilter(usual, -1, box, borderType=cv2.BORDER_CONSTANT)
    if float(summed.max()) <= 0.0:
        raise NotSeen("nothing in the picture moves as a mouth does")
    row, column = np.unravel_index(int(np.argmax(summed)), summed.shape)
    return (float(column) + 0.5) / COARSE, (float(row) + 0.5) / COARSE


def _strips(path: Path, x: float, y: float) -> Iterator[Bytes]:
    """The mouth's region of each picture with the head's motion taken out: Y, U, V above each other."""
    model: Bytes | None = None
    for _, picture in _pictures(path):
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        luma = picture[:height]
        u, v = (
            cv2.resize(plane.reshape(height // 2, width // 2), (width, height), interpolation=cv2.INTER_LINEAR)
            for plane in (picture[height : height + height // 4], picture[height + height // 4 :])
        )
        half_x, half_y = round(LOOK[0] * width), round(LOOK[1] * height)
        left, top = round(x * width) - half_x, round(y * height) - half_y
        above, sway = round(ABOVE * height), round(SWAY * height)
        patch = luma[max(0, top - above - sway) : top + sway, max(0, left - sway) : left + 2 * half_x + sway]
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), 1.0), np.uint8)
        if model is None:
            model = patch[sway : sway + above, sway : sway + 2 * half_x].copy()
        match = cv2.matchTemplate(patch, model, cv2.TM_CCOEFF_NORMED)
        dx, dy = cv2.minMaxLoc(match)[3]
        left, top = max(0, left + dx - sway), max(0, top + dy - sway)
        region = slice(top, top + 2 * half_y), slice(left, left + 2 * half_x)
        strip = np.concatenate([luma[region], u[region], v[region]])
        if strip.shape != (6 * half_y, 2 * half_x):
            raise NotSeen(f"{path} shows its mouth too near the picture's edge")
        yield strip


def _between(luma: Bytes, u: Bytes, v: Bytes, at_rest: Sequence[int]) -> Floats:
    """Aperture of each picture, px: regions uint8 [n, height, width] and which of them are at rest."""
    bins = [plane // np.uint8(256 // count) for plane, count in zip((luma, u, v), COLOURS, strict=True)]
    counts = np.zeros(COLOURS, np.float32)
    for k in at_rest:
        np.add.at(counts, tuple(plane[k] for plane in bins), 1.0)
    for axis in range(3):
        counts = 0.5 * counts + 0.25 * (np.roll(counts, 1, axis) + np.roll(counts, -1, axis))
    rare = counts < RARE_SHARE * counts.sum()
    width = luma.shape[2]
    margin = round(width * (1 - CENTRE_SHARE) / 2)
    inside = rare[tuple(plane[:, :, margin : width - margin] for plane in bins)]
    rows = np.arange(luma.shape[1])[None, :, None]
    last = np.where(inside, rows, -1).max(axis=1)
    first = np.where(inside, rows, luma.shape[1]).min(axis=1)
    return np.asarray(np.median(np.maximum(0, last - first + 1), axis=1), np.float64)
