"""What a picture of the puppet costs: milliseconds of one core, the analysis of its audio included.

Real speech (espeak-ng) is pushed in pieces of 20 ms, as a voice that streams would, and every picture of it drawn by
the same code that talks live, with expressions changing on the way. Counted is the processor time of the drawing
thread, so that other work on the machine does not count; the wall clock is kept beside it.
"""

from __future__ import annotations

import asyncio
import sys
import time

import cv2
import numpy as np

from agent.persona import load_persona, shipped_personas
from agent.speech.espeak import Espeak
from agent.speech.espeak_worker import RATE_HZ
from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet import motion
from avatar.puppet.acting import Actor
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.look import Look
from avatar.puppet.rig import Rig
from avatar.puppet.speech import Speech
from avatar.renderer import Expression, Shot
from benchmarks.report import Report, arguments

SIZES_PX = (256, 512, 720, 1024)
BOUND_PX, BOUND_MS = 512, 3.0
FIRST = "mien:default"
PICTURES = 1000
PIECE_SAMPLES = SPEECH_RATE_HZ // 50
TEXT = (
    "Papa bought a new boat, and we have five more minutes before the ferry leaves. Who would you like to meet? "
    "The weather is fine, the sea is calm, and everybody on board seems to be in a good mood. Shall we go, then?"
)


def looks() -> list[str]:
    return [f"{name}:{look}" for name in shipped_personas() for look in load_persona(name).look_names]


async def spoken() -> Pcm:
    """Speech at 16 kHz, long enough for every picture and its lookahead."""
    espeak = Espeak()
    try:
        sound = b"".join([chunk.pcm async for chunk in espeak.speak(TEXT, "en-us+f3")])
    finally:
        await espeak.aclose()
    pcm = np.frombuffer(sound, "<i2").astype(np.float32)
    count = len(pcm) * SPEECH_RATE_HZ // RATE_HZ
    at_16k = np.interp(np.arange(count) * RATE_HZ / SPEECH_RATE_HZ, np.arange(len(pcm)), pcm).astype(np.int16)
    return np.tile(at_16k, 1 + (PICTURES + 10) * TICK_SPEECH_SAMPLES // len(at_16k))


def drawn(look: Look, size_px: int, pcm: Pcm, pictures: int) -> list[dict[str, float]]:
    """Draw the speech; one row a picture: {"cpu_ms", "wall_ms"}."""
    rig = Rig(look, size_px)
    speech, moods = Speech(TrainedTracker), motion.Moods()
    actor = Actor(speech, 0)
    rows = []
    pushed = 0
    for n in range(pictures):
        if n % 100 == 0:
            moods.express(list(Expression)[n // 100 % len(Expression)], n)
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        while pushed < TICK_SPEECH_SAMPLES * (n + 3):
            speech.push(1, pcm[pushed : pushed + PIECE_SAMPLES])
            pushed += PIECE_SAMPLES
        rig.draw(*actor.play(Shot(n, 1, n, n), moods.at(n)))
        rows.append(
            {
                "cpu_ms": (time.thread_time_ns() - cpu) / 1e6,
                "wall_ms": (time.perf_counter_ns() - wall) / 1e6,
            }
        )
    return rows


def main() -> int:
    options = arguments("puppet", "milliseconds of one core a picture of the puppet").parse_args()
    report = Report("puppet", options.quick, options.out)
    pictures = 100 if options.quick else PICTURES
    cv2.setNumThreads(1)
    pcm = asyncio.run(spoken())
    worn = {name: Look.parse(load_persona(name).look) for name in looks()}
    cases = [(FIRST, size_px) for size_px in SIZES_PX] + [(name, BOUND_PX) for name in worn if name != FIRST]
    for name, size_px in cases:
        what = f"{size_px} px" if name == FIRST else f"{name}, {size_px} px"
        began = time.thread_time()
        Rig(worn[name], size_px)
        report.facts[f"painting {what}, s of one core"] = round(time.thread_time() - began, 2)
        drawn(worn[name], size_px, pcm, 20)
        rows = drawn(worn[name], size_px, pcm, pictures)
        named = what.replace(" ", "").replace(":", "-").replace(",", "-")
        report.samples(named, [{key: round(value, 4) for key, value in row.items()} for row in rows])
        report.numbers(f"{what}: cpu", [row["cpu_ms"] for row in rows], "ms", stated_n=PICTURES)
        report.numbers(f"{what}: wall", [row["wall_ms"] for row in rows], "ms", stated_n=PICTURES)
        if size_px == BOUND_PX:
            for percent in (50, 95):
                cost = float(np.percentile([row["cpu_ms"] for row in rows], percent))
                report.bound(f"{what}: cpu p{percent}", cost, BOUND_MS, "ms", n=len(rows), stated_n=PICTURES)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
