"""Measuring, without anything to measure: numbers in, numbers out. Pure functions, tested with broken input.

Times are in seconds or ms as their names say; levels are peaks of short blocks of sound, 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

REST_SHARE = 0.05
"""Next to none: this share of the hole of an open mouth."""
HOLE_SHARE = 0.005
"""Of the region's area: no mouth that is worth watching opens less."""


class NotMeasured(Exception):
    """What was recorded does not hold what was to be measured; says what is missing."""


# -- distributions


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0 to 100), interpolated.

    Raises:
        NotMeasured: there are no values, or not all are finite.
    """
    if not len(values):
        raise NotMeasured("a percentile of nothing")
    if not np.all(np.isfinite(values)):
        raise NotMeasured("a percentile of values that are not all finite")
    return float(np.percentile(values, q))


def distribution(values: Sequence[float]) -> dict[str, float]:
    """The numbers that a summary gives of a set of samples; only ``n`` where there are none."""
    if not len(values):
        return {"n": 0}
    points = {"min": 0, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
    return {"n": len(values)} | {name: round(percentile(values, q), 2) for name, q in points.items()}


def share_above(buckets: Sequence[tuple[float, float]], limit: float) -> float:
    """The share of observations above a limit, from a cumulative histogram.

    Args:
        buckets: (upper bound, observations up to it), ascending; the last bound is infinite.
        limit: one of the bounds, so that nothing is interpolated.
    """
    total = buckets[-1][1]
    if not total:
        raise NotMeasured("the histogram is empty")
    for bound, count in buckets:
        if bound == limit:
            return 1 - count / total
    raise NotMeasured(f"{limit} is no bound of the histogram: {[bound for bound, _ in buckets]}")


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through points by least squares; ``low`` and ``high`` hold its slope with 95% confidence."""

    slope: float
    low: float
    high: float
    n: int


def slope_with_interval(x: Sequence[float], y: Sequence[float]) -> Slope:
    """The slope of y over x. The residuals are taken as independent, which a jittering measurement nearly is.

    Raises:
        NotMeasured: fewer than 10 points, or all at one x.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = xs.size
    if n < 10 or n != ys.size or np.ptp(xs) == 0:
        raise NotMeasured(f"a slope needs at least 10 points at different times, not {n}")
    dx = xs - xs.mean()
    slope = float((dx * ys).sum() / (dx**2).sum())
    residuals = ys - ys.mean() - slope * dx
    error = math.sqrt(float((residuals**2).sum()) / (n - 2) / float((dx**2).sum()))
    # Student's t at 97.5%, by the first terms of its expansion around the normal quantile: exact to 1% from 8 on.
    z, freedom = 1.959964, n - 2
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return Slope(slope, slope - t * error, slope + t * error, n)


# -- clocks


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """``there + offset = here``; the truth is within ``error`` of it."""

    offset: float
    error: float


def clock_offset(exchanges: Sequence[tuple[float, float, float]]) -> ClockOffset:
    """Relate two clocks by (sent here, read there, returned here): the fastest exchange bounds the error the most."""
    if not exchanges:
        raise NotMeasured("no exchange between the clocks")
    sent, there, returned = min(exchanges, key=lambda exchange: exchange[2] - exchange[0])
    return ClockOffset((sent + returned) / 2 - there, (returned - sent) / 2)


# -- sound as levels


def onsets(levels: Array, *, threshold: float, quiet: int) -> list[int]:
    """Where sound begins: the first block at or above the threshold after at least ``quiet`` blocks below it."""
    loud = np.flatnonzero(levels >= threshold)
    if not loud.size:
        return []
    gaps = np.diff(loud, prepend=-1) - 1
    return [int(at) for at in loud[gaps >= quiet]]


def first_loud(levels: Array, start: int, *, threshold: float) -> int | None:
    """The first block at or above the threshold, from ``start`` on."""
    loud = np.flatnonzero(levels[start:] >= threshold)
    return start + int(loud[0]) if loud.size else None


def falls_silent(levels: Array, start: int, *, threshold: float, quiet: int) -> int | None:
    """The block after the last loud one: silence of at least ``quiet`` blocks begins there, at ``start`` or later.

    None when the recording has no such silence (it goes on, or it ends before the silence has been long enough).
    """
    if start + quiet > levels.size:
        return None
    loud = start + np.flatnonzero(levels[start:] >= threshold)
    edges = np.concatenate([[start - 1], loud, [levels.size]])
    gaps = np.diff(edges) - 1
    long = np.flatnonzero(gaps >= quiet)
    return int(edges[long[0]]) + 1 if long.size else None


# -- pictures


def moving_box(idle: Array, speech: Array, size: tuple[int, int]) -> tuple[int, int]:
    """Where speech moves the picture most: the corner (row, column) of the box of this size that it enlivens the most.

    A mouth that speaks changes from almost every picture to the next; a head that sways is slow, and a blink is rare.

    Args:
        idle, speech: pictures in their order, [n, rows, columns].
        size: of the box, (rows, columns).
    """
    gain = np.maximum(_liveliness(speech) - _liveliness(idle), 0)
    if not gain.any():
        raise NotMeasured("no pixel moves more in speech than at rest")
    sums = np.lib.stride_tricks.sliding_window_view(gain, size).sum(axis=(2, 3))
    row, column = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(row), int(column)


def _liveliness(pictures: Array) -> Array:
    """How much each pixel changes from one picture to the next, in all but its quickest quarter, [rows, columns]."""
    change: Array = np.percentile(np.abs(np.diff(pictures, axis=0)), 75, axis=0)
    return change


def dark_holes(pictures: npt.NDArray[np.uint8], level: int) -> Array:
    """How much of each picture is a dark hole, [n] in pixels: darker than ``level``, and nowhere at the picture's rim.

    An open mouth is one, wherever the head has moved it; hair and shadow reach in from outside.

    Args:
        pictures: luma, [n, rows, columns].
    """
    areas = []
    for picture in pictures:
        dark = (picture < level).astype(np.uint8)
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
        rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        sizes = statistics[:, cv2.CC_STAT_AREA].astype(np.float64)
        sizes[rim] = 0
        sizes[0] = 0  # what is not dark
        areas.append(sizes.sum())
    return np.array(areas, np.float64)


def hole_level(rest: npt.NDArray[np.uint8], speech: npt.NDArray[np.uint8]) -> int:
    """The level at which an open mouth stands out: speech has large holes (90th percentile) and rest next to none.

    That holds for a range of levels, from the inside of the mouth up to the lips; the highest of the longest range is
    taken, where the hole is all of the open mouth. A level by itself is chance: hair or lips just reach the rim there.

    Raises:
        NotMeasured: at no level has speech large holes and rest none.
    """
    smallest = HOLE_SHARE * rest[0].size
    ranges: list[list[int]] = [[]]
    for level in range(20, 130, 5):
        speaking = percentile(list(dark_holes(speech, level)), 90)
        if speaking >= smallest and dark_holes(rest, level).max() <= REST_SHARE * speaking:
            ranges[-1].append(level)
        else:
            ranges.append([])
    found = max(ranges, key=len)
    if not found:
        raise NotMeasured("in speech there is no dark hole that rest has not: no mouth opens in this region")
    return found[-1]


def stays_below(times: Array, values: Array, start: float, *, threshold: float, hold: float) -> float | None:
    """The first time from ``start`` on from which the values stay below the threshold for ``hold``."""
    inside = np.flatnonzero(times >= start)
    began: float | None = None
    for at in inside:
        if values[at] >= threshold:
            began = None
        elif began is None:
            began = float(times[at])
        if began is not None and times[at] - began >= hold:
            return began
    return None


# -- sound against picture


def pairs(flashes: Sequence[float], beeps: Sequence[float], *, reach: float) -> list[tuple[float, float]]:
    """Each flash with its nearest beep, as (flash's time, beep - flash), where one is within reach of it.

    Flashes must be further apart than twice the reach, or a beep could belong to two of them.
    """
    ordered = np.sort(np.asarray(flashes, np.float64))
    if ordered.size > 1 and float(np.diff(ordered).min()) < 2 * reach:
        raise NotMeasured(f"flashes are {np.diff(ordered).min():.3f} apart, too close for a reach of {reach}")
    found = []
    sounds = np.asarray(beeps, np.float64)
    for flash in ordered:
        if not sounds.size:
            break
        offset = float(sounds[np.argmin(np.abs(sounds - flash))] - flash)
        if abs(offset) <= reach:
            found.append((float(flash), offset))
    return found


def recovered(offsets: Sequence[float], control: Sequence[float], *, shift: float, within: float) -> tuple[bool, float]:
    """Whether a deliberate shift shows in the control's median, and how much of it was seen."""
    if not len(offsets) or not len(control):
        raise NotMeasured("the control or what it is compared with is empty")
    seen = percentile(control, 50) - percentile(offsets, 50)
    return abs(seen - shift) <= within, seen
