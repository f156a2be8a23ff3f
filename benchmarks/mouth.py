"""Whether the mouth that a page shows is open, seen from its pictures alone.

In: a visit to an avatar that speaks, and then rests. Out: a region to read and a threshold. The region is where speech
moves the picture most. There an open mouth is a dark hole in the face, and the head may turn as it likes; how dark and
how large a hole, is learned from the avatar's own speech and rest: from pictures shown while sound was heard, and long
after the last of it. A calibration that fails is made again with more pictures, a few times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.chromium import VIDEO, Visit
from benchmarks.measure import Array, NotMeasured, dark_holes, hole_level, moving_box, percentile, stays_below
from benchmarks.recording import Recording, Shown
from benchmarks.story import LOUD

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
ATTEMPTS = 3
PATIENCE = 3
"""For how many times as long as asked pictures are waited for: some speech is pauses."""
SPOKEN_S = (0.12, 0.04)
"""A picture of speech: within so long before and after it there was sound."""
RESTED_S = (0.6, 0.04)
"""A picture of rest: within so long there was none. A mouth shuts within 200 ms."""
HEARD_S = 0.5
"""What was heard around a picture is known so long after it was shown."""
PICTURES_PER_S = 20
"""At least so many of 25 pictures a second are seen by a browser that is not starved."""

Kind = Literal["rest", "speech"]


@dataclass(frozen=True, slots=True)
class MouthWatch:
    """A calibrated look at one avatar's mouth.

    Args:
        level: luma below which the inside of the mouth lies.
        threshold: of the hole's area, in cells; less than this is closed.
        region_px: (x, y, width, height) in the video.
        facts: what calibration saw and from how much, for the summary.
        pictures: the ones that it was made from, for the raw samples: when, of what, the hole's area in cells.
    """

    level: int
    threshold: float
    region_px: tuple[int, int, int, int]
    facts: dict[str, Any]
    pictures: list[dict[str, Any]]

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


@dataclass
class Seen:
    """Pictures of one kind, read in one region: luma [rows, columns], oldest first."""

    kind: Kind
    at: list[float] = field(default_factory=list)
    luma: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    left_out: int = 0
    """Shown, but not known to be of this kind."""

    @property
    def stacked(self) -> npt.NDArray[np.uint8]:
        return np.stack(self.luma)

    def add(self, recording: Recording, shown: list[Shown], shape: tuple[int, int]) -> None:
        """Keep those of the pictures that are of this kind, by the sound that was heard around them."""
        before, after = SPOKEN_S if self.kind == "speech" else RESTED_S
        peaks = recording.loudest_around([picture.at for picture in shown], before, after)
        for picture, peak in zip(shown, peaks, strict=True):
            if picture.luma.size == shape[0] * shape[1] and (peak >= LOUD if self.kind == "speech" else peak < LOUD):
                self.at.append(picture.at)
                self.luma.append(picture.luma.reshape(shape))
            else:
                self.left_out += 1

    def described(self, since: float) -> dict[str, Any]:
        """For the summary; times in s since then."""
        span = [round(at - since, 2) for at in (self.at[0], self.at[-1])] if self.at else []
        return {"n": len(self.at), "left_out": self.left_out, "from_to_s": span}


async def calibrated(visit: Visit, speak: Callable[[], Awaitable[object]], seconds: float) -> MouthWatch:
    """Learn a mouth: ``seconds`` of rest and of speech, at two scales. ``speak`` returns once speech is heard; before
    it is called the avatar is silent.

    Raises:
        NotMeasured: rest and speech cannot be told apart, in none of the attempts; says what each saw.
    """
    width, height = await visit.page.evaluate(f"() => [{VIDEO}.videoWidth, {VIDEO}.videoHeight]")
    coarse = Seen("rest"), Seen("speech")  # all attempts' pictures together: each finds the mouth more surely
    since = visit.recording.pictures[0].at if visit.recording.pictures else 0.0
    failed: list[str] = []
    while len(failed) < ATTEMPTS:
        fine = Seen("rest"), Seen("speech")
        try:
            await visit.look_at(0, 0, width, height, COARSE, COARSE)
            await _watch(visit, seconds, (COARSE, COARSE), coarse[0])
            await speak()
            await _watch(visit, seconds, (COARSE, COARSE), coarse[1])
            region = _region(*coarse, (width, height))
            shape = (region[3] // FINE_PX, region[2] // FINE_PX)
            await visit.look_at(*region, columns=shape[1], rows=shape[0])
            await _watch(visit, seconds, shape, fine[1])
            await visit.page.evaluate("() => window.mien.client.interrupt()")
            await _watch(visit, seconds, shape, fine[0])
            watch = _learned(*fine, region)
        except NotMeasured as reason:
            failed.append(f"{reason} ({_counted(*coarse)}; close by {_counted(*fine)})")
            await visit.page.evaluate("() => window.mien.client.interrupt()")
            continue
        used = {
            f"{seen.kind}, {scale}": seen.described(since)
            for scale, pair in (("whole picture", coarse), ("mouth", fine))
            for seen in pair
        }
        watch.facts.update({"attempts": len(failed) + 1, "failed": failed, "pictures": used})
        return watch
    raise NotMeasured(f"no mouth was found in {ATTEMPTS} attempts: {'; '.join(failed)}")


def _region(rest: Seen, speech: Seen, video_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where the mouth is, with room for the head to move: (x, y, width, height) in px of the video."""
    row, column = moving_box(rest.stacked.astype(np.float64), speech.stacked.astype(np.float64), BOX)
    cell_x, cell_y = video_px[0] // COARSE, video_px[1] // COARSE
    left, top = max(0, column - MARGIN[1]), max(0, row - MARGIN[0])
    right, bottom = min(COARSE, column + BOX[1] + MARGIN[1]), min(COARSE, row + BOX[0] + MARGIN[0])
    return left * cell_x, top * cell_y, (right - left) * cell_x, (bottom - top) * cell_y


def _learned(rest: Seen, speech: Seen, region: tuple[int, int, int, int]) -> MouthWatch:
    level = hole_level(rest.stacked, speech.stacked)
    at_rest, speaking = dark_holes(rest.stacked, level), dark_holes(speech.stacked, level)
    threshold = max(HEADROOM * float(at_rest.max()), OPEN_SHARE * percentile(list(speaking), 90)) + 1
    facts: dict[str, Any] = {
        "level": level,
        "threshold": round(threshold, 1),
        "rest_max": float(at_rest.max()),
        "speech_p50": percentile(list(speaking), 50),
        "speech_p90": percentile(list(speaking), 90),
    }
    pictures = [
        {"at": round(at, 3), "kind": seen.kind, "hole": int(hole)}
        for seen, holes in ((speech, speaking), (rest, at_rest))
        for at, hole in zip(seen.at, holes, strict=True)
    ]
    return MouthWatch(level, threshold, region, facts, pictures)


def _counted(rest: Seen, speech: Seen) -> str:
    return f"pictures of rest {len(rest.at)}, of speech {len(speech.at)}, neither {rest.left_out + speech.left_out}"


async def _watch(visit: Visit, seconds: float, shape: tuple[int, int], seen: Seen) -> None:
    """Add so many seconds' pictures of this kind."""
    await visit.take()
    done, wanted = len(visit.recording.pictures), len(seen.at) + round(seconds * PICTURES_PER_S)
    deadline = time.monotonic() + PATIENCE * seconds
    while len(seen.at) < wanted:
        if time.monotonic() > deadline:
            raise NotMeasured(f"only {len(seen.at)} of {wanted} pictures of {seen.kind} in {PATIENCE * seconds:.0f} s")
        await asyncio.sleep(0.25)
        await visit.take()
        known = time.monotonic() - HEARD_S
        shown = [picture for picture in visit.recording.pictures[done:] if picture.at < known]
        seen.add(visit.recording, shown, shape)
        done += len(shown)
