"""What a picture of a portrait costs: milliseconds of one core, the analysis of its audio included.

As benchmarks/puppet.py, and with its speech: the same words, pushed in the same pieces, expressions changing on the
way. The portrait is made here of the puppet's own drawing (`--portrait` names another one), so that finding a face in a
picture is measured too. Counted is the processor time of the drawing thread; the wall clock is kept beside it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from agent.prepare import cropped, square_around
from avatar.frames import TICK_SPEECH_SAMPLES, Pcm
from avatar.photo.rig import PhotoRig, Prepared, prepared
from avatar.portrait import load_portrait
from avatar.portrait_curves import Curves, find_curves
from avatar.portrait_detect import FaceFinder, FaceMesh
from avatar.puppet import motion
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.mouth import opening
from avatar.puppet.speech import Speech
from avatar.renderer import Expression
from avatar.static import still_from_puppet
from benchmarks.puppet import PIECE_SAMPLES, spoken
from benchmarks.report import Report, arguments

SIZES_PX = (256, 512, 720, 1024)
BOUND_PX, BOUND_MS = 512, 6.0
PICTURES = 1000
FOUND_AGAIN = 20


def drawn_portrait(report: Report) -> tuple[npt.NDArray[np.uint8], FaceMesh, Curves]:
    """The puppet's drawing, as `mien prepare` prepares it; how long that takes goes into the report."""
    drawing = np.asarray(cv2.cvtColor(still_from_puppet({}, 1024).planes, cv2.COLOR_YUV2BGR_I420), np.uint8)
    finder = FaceFinder()
    took_ms = []
    for _ in range(FOUND_AGAIN):
        began = time.perf_counter()
        whole = finder.mesh(drawing, finder.faces(drawing)[0])
        picture, mesh = cropped(drawing, whole, square_around(whole, 1024, 1024))
        curves = find_curves(picture, mesh)
        took_ms.append(1000 * (time.perf_counter() - began))
    report.numbers("finding the face in 1024 px: wall", took_ms, "ms", stated_n=FOUND_AGAIN)
    return picture, mesh, curves


def drawn(shared: Prepared, pcm: Pcm, pictures: int) -> list[dict[str, float]]:
    """Draw the speech; one row a picture: {"cpu_ms", "wall_ms"}."""
    rig = PhotoRig(shared)
    speech, moods = Speech(TrainedTracker), motion.Moods()
    rows = []
    pushed = 0
    for n in range(pictures):
        if n % 100 == 0:
            moods.express(list(Expression)[n // 100 % 4], n)
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        while pushed < TICK_SPEECH_SAMPLES * (n + 3):
            speech.push(1, pcm[pushed : pushed + PIECE_SAMPLES])
            pushed += PIECE_SAMPLES
        mouth = opening(speech.mouth(1, n), n)
        rig.draw(motion.pose(n, 0, moods.at(n), mouth.effort), mouth)
        rows.append(
            {
                "cpu_ms": round((time.thread_time_ns() - cpu) / 1e6, 4),
                "wall_ms": round((time.perf_counter_ns() - wall) / 1e6, 4),
            }
        )
    return rows


def main() -> int:
    parser = arguments("portrait", "milliseconds of one core a picture of a portrait")
    parser.add_argument("--portrait", type=Path, metavar="FOLDER", help="one that `mien prepare` made")
    options = parser.parse_args()
    report = Report("portrait", options.quick, options.out)
    pictures = 100 if options.quick else PICTURES
    cv2.setNumThreads(1)
    if options.portrait is None:
        parts = drawn_portrait(report)
    else:
        loaded = load_portrait(options.portrait)
        parts = loaded.picture, loaded.mesh, loaded.curves
    pcm = asyncio.run(spoken())
    for size_px in SIZES_PX:
        began = time.perf_counter()
        shared = prepared(*parts, size_px)
        PhotoRig(shared)
        report.facts[f"readying at {size_px} px, s"] = round(time.perf_counter() - began, 2)
        drawn(shared, pcm, 20)
        rows = drawn(shared, pcm, pictures)
        report.samples(f"{size_px}px", rows)
        report.numbers(f"{size_px} px: cpu", [row["cpu_ms"] for row in rows], "ms", stated_n=PICTURES)
        report.numbers(f"{size_px} px: wall", [row["wall_ms"] for row in rows], "ms", stated_n=PICTURES)
        if size_px == BOUND_PX:
            for share in (50, 95):
                cost = float(np.percentile([row["cpu_ms"] for row in rows], share))
                report.bound(f"{size_px} px: cpu p{share}", cost, BOUND_MS, "ms", n=len(rows), stated_n=PICTURES)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
