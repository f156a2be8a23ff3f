"""What must not interrupt the avatar: coughs, and its own voice in its microphone. Parts of bargein.py.

In: a visit and the observed server behind it. Out: samples and bounds in the report.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np

from avatar.frames import SAMPLE_RATE_HZ
from benchmarks.chromium import Visit
from benchmarks.recording import EAR_BLOCK_S, MIC_BLOCK_FRAMES, RATE_HZ
from benchmarks.report import Report
from benchmarks.servers import Server
from benchmarks.story import LOUD, leaves_speaking, tell_a_story
from benchmarks.voices import cough

COUGHS, ECHO_S = 24, 180.0
COUGHS_A_STORY = 6
RESUMED_S = 4.0
STORY_S = 90.0
ECHO_GAIN = 0.1
"""-20 dB."""
GREETING_S = 5.0
HOPELESS = 10
"""After so many stories that it stopped itself there is no need for more."""


async def coughs(report: Report, visit: Visit, server: Server, count: int) -> None:
    rows: list[dict[str, Any]] = []
    for story in range(-(-count // COUGHS_A_STORY)):
        rows += await _coughed_story(visit, server, story, min(COUGHS_A_STORY, count - len(rows)))
    report.samples("coughs", rows)
    report.numbers("silence around a cough", [row["silence_ms"] for row in rows], "ms")
    paused = sum(row["paused"] for row in rows)
    report.facts["coughs"] = {"n": len(rows), "paused_for": paused, "ignored": len(rows) - paused}
    lost = sum(not row["whole"] for row in rows)
    report.bound("coughs that ended the story", lost, 0, "coughs", n=len(rows), stated_n=COUGHS)


async def _coughed_story(visit: Visit, server: Server, story: int, count: int) -> list[dict[str, Any]]:
    """A story with coughs, and whether it was told to its end."""
    told = await tell_a_story(visit, server)
    rows = []
    for number in range(count):
        await asyncio.sleep(random.uniform(1.5, 3.0))
        sound = cough(seed=story * 100 + number, seconds=random.choice((0.25, 0.35, 0.5)))
        start = await visit.say(sound)
        await asyncio.sleep(RESUMED_S)
        await visit.take()
        at = visit.recording.handed_on(visit.recording.mic_block(start))
        paused = any(leaves_speaking(event) for event in server.seen("told", at, at + RESUMED_S))
        rows.append(
            {"seconds": sound.size / SAMPLE_RATE_HZ, "silence_ms": _longest_silence(visit, at), "paused": paused}
        )
    finished = await server.event("finished", told.began, STORY_S, segment=told.segment)
    whole = not finished["interrupted"] and abs(finished["position_s"] - finished["pushed_s"]) < 0.01
    return [row | {"whole": whole, "segment": told.segment} for row in rows]


def _longest_silence(visit: Visit, at: float) -> float:
    recording = visit.recording
    start = recording.block_heard_at(at)
    loud = np.flatnonzero(recording.played[start : start + round(RESUMED_S / EAR_BLOCK_S)] >= LOUD)
    gaps = np.diff(np.concatenate([[0], loud, [round(RESUMED_S / EAR_BLOCK_S)]]))
    return round(float(gaps.max()) * EAR_BLOCK_S * 1000, 1)


async def own_voice(report: Report, visit: Visit, server: Server, seconds: float) -> None:
    """Stories with the echo open, which it is from the greeting on, as in a room. Any sign that the avatar heard itself
    is kept, not only that it stopped."""
    await visit.echo(ECHO_GAIN)
    await asyncio.sleep(GREETING_S)
    spoke_s = 0.0
    rows: list[dict[str, Any]] = []
    while spoke_s < seconds and sum(row["interrupted"] for row in rows) < HOPELESS:
        story = await tell_a_story(visit, server)
        finished = await server.event("finished", story.began, STORY_S, segment=story.segment)
        told = server.seen("told", story.began, finished["at"])
        messages = [event["message"] for event in told]
        rows.append(
            {
                "position_s": finished["position_s"],
                "interrupted": finished["interrupted"],
                "paused": sum(leaves_speaking(event) for event in told),
                "heard_as_voice": sum(m["type"] == "user_state" and m["state"] == "speaking" for m in messages),
                "heard_as_words": sum(m["type"] == "caption" and m["role"] == "user" for m in messages),
                "left_of_echo_rms": [event["rms"] for event in server.seen("level", story.began, finished["at"])],
                "echo_peak": _microphone_peaks(visit, story.began, finished["at"]),
            }
        )
        spoke_s += finished["position_s"]
    report.samples("own_voice", rows)
    report.facts["own_voice"] = {
        "spoke_s": round(spoke_s, 1),
        "paused": sum(row["paused"] for row in rows),
        "heard_as_voice": sum(row["heard_as_voice"] for row in rows),
        "heard_as_words": sum(row["heard_as_words"] for row in rows),
    }
    stopped = sum(row["interrupted"] or row["paused"] > 0 for row in rows)
    label = "stories that its own voice at -20 dB stopped or paused"
    report.bound(label, stopped, 0, "stories", n=round(spoke_s), stated_n=round(ECHO_S))


def _microphone_peaks(visit: Visit, start: float, end: float) -> list[float]:
    """The loudest block of each second in the microphone of the page."""
    levels = visit.recording.mic_between(start, end)
    second = RATE_HZ // MIC_BLOCK_FRAMES
    return [round(float(levels[at : at + second].max()), 4) for at in range(0, levels.size - second, second)]
