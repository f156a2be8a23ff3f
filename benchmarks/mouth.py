"""Whether the mouth that a page shows is open, seen from its pictures alone.

In: a visit to an avatar that speaks, and then rests. Out: a region to read and a threshold. The region is where speech
moves the picture most. There an open mouth is a dark hole in the face, and the head may turn as it likes; how dark and
how large a hole, is learned from the avatar's own speech and rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.chromium import VIDEO, Visit
from benchmarks.measure import Array, NotMeasured, dark_holes, hole_level, moving_box, percentile, stays_below

COARSE = 64
BOX = (5, 10)
"""Of the picture's 64 by 64: about the size of a mouth."""
MARGIN = (2, 3)
"""So far the head may move the mouth; more would let the nostrils in."""
FINE_PX = 2
"""Size of a cell of the region that is read."""
OPEN_SHARE = 0.05
HEADROOM = 1.3
"""Closed is a hole of at most this much more than rest ever had, and in any case of at most this share of those of
speech (their 90th percentile): lips that part by a hair are not an open mouth."""
HOLD_S = 0.2
FEWEST = 20


@dataclass(frozen=True, slots=True)
class MouthWatch:
    """A calibrated look at one avatar's mouth.

    Args:
        level: luma below which the inside of the mouth lies.
        threshold: of the hole's area, in cells; less than this is closed.
        region_px: (x, y, width, height) in the video.
        facts: what calibration saw, for the summary.
    """

    level: int
    threshold: float
    region_px: tuple[int, int, int, int]
    facts: dict[str, float]

    def opened(self, visit: Visit, start: float, end: float) -> tuple[Array, Array]:
        """(times, area of the hole) of the pictures shown between two times."""
        columns, rows = self.region_px[2] // FINE_PX, self.region_px[3] // FINE_PX
        inside = [shown for shown in visit.recording.pictures if start <= shown.at < end]
        seen = [shown for shown in inside if shown.luma.size == columns * rows]
        if not seen:
            raise NotMeasured("no picture was shown in the time in question")
        pictures = np.stack([shown.luma for shown in seen]).reshape(-1, rows, columns)
        return np.array([shown.at for shown in seen]), dark_holes(pictures, self.level)

    def closes(self, visit: Visit, start: float, end: float) -> float | None:
        """When the mouth is closed for good, after ``start``."""
        times, opened = self.opened(visit, start, end)
        return stays_below(times, opened, start, threshold=self.threshold, hold=HOLD_S)


async def calibrated(visit: Visit, speak: Callable[[], Awaitable[object]], seconds: float) -> MouthWatch:
    """Learn a mouth: ``seconds`` of rest and of speech, at two scales. ``speak`` returns once speech is heard.

    Raises:
        NotMeasured: rest and speech cannot be told apart.
    """
    width, height = await visit.page.evaluate(f"() => [{VIDEO}.videoWidth, {VIDEO}.videoHeight]")
    await visit.look_at(0, 0, width, height, COARSE, COARSE)
    idle = await _watch(visit, seconds, (COARSE, COARSE))
    await speak()
    speech = await _watch(visit, seconds, (COARSE, COARSE))
    row, column = moving_box(idle.astype(np.float64), speech.astype(np.float64), BOX)
    cell_x, cell_y = width // COARSE, height // COARSE
    region = (
        (column - MARGIN[1]) * cell_x,
        (row - MARGIN[0]) * cell_y,
        (BOX[1] + 2 * MARGIN[1]) * cell_x,
        (BOX[0] + 2 * MARGIN[0]) * cell_y,
    )
    shape = (region[3] // FINE_PX, region[2] // FINE_PX)
    await visit.look_at(*region, columns=shape[1], rows=shape[0])
    speech = await _watch(visit, seconds, shape)
    await visit.page.evaluate("() => window.mien.client.interrupt()")
    await asyncio.sleep(1.0)
    rest = await _watch(visit, seconds, shape)
    level = hole_level(rest, speech)
    at_rest, speaking = dark_holes(rest, level), dark_holes(speech, level)
    threshold = max(HEADROOM * float(at_rest.max()), OPEN_SHARE * percentile(list(speaking), 90)) + 1
    facts = {
        "level": level,
        "threshold": round(threshold, 1),
        "rest_max": float(at_rest.max()),
        "speech_p50": percentile(list(speaking), 50),
        "speech_p90": percentile(list(speaking), 90),
    }
    return MouthWatch(level, threshold, region, facts)


async def _watch(visit: Visit, seconds: float, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The pictures of the coming seconds, luma [n, *shape]."""
    await visit.take()
    before = len(visit.recording.pictures)
    await asyncio.sleep(seconds)
    await visit.take()
    size = shape[0] * shape[1]
    seen = [shown.luma for shown in visit.recording.pictures[before:] if shown.luma.size == size]
    if len(seen) < FEWEST:
        raise NotMeasured(f"only {len(seen)} pictures were shown in {seconds:.0f} s")
    return np.stack(seen).reshape(-1, *shape)
