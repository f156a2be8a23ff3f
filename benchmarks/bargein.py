"""Interrupting the avatar: how soon it is silent and its mouth shut, and what must not interrupt it.

A real Chromium on the real page; the built-in persona tells its long stories. Four parts:

1. *interruptions*: a spoken sentence, with default settings, at a random moment of a story. Voice onset at the
   microphone → decided by the server (it pauses at once, and clears when it has understood words) → silence heard,
   mouth seen shut. Over the whole conversation each segment must have ended exactly once.
2. *coughs*: short noises during a story; it must be told to its end, every sample of it.
3. *its own voice*: what the page plays comes back into its microphone at -20 dB, 80 ms late, past no browser's echo
   canceller; it must not interrupt itself.
4. *cancelled*: the same interruption with a slow language model and a slow voice behind OpenAI's protocol; their open
   streams must be closed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from typing import Any

from agent.speech.espeak import Espeak
from avatar.frames import SAMPLE_RATE_HZ, Pcm
from benchmarks.children import run
from benchmarks.chromium import Visit, conversation
from benchmarks.disturbances import COUGHS, ECHO_S, coughs, own_voice
from benchmarks.endpoint import SlowEndpoint, slow_endpoint
from benchmarks.measure import NotMeasured, falls_silent
from benchmarks.mouth import MouthWatch, calibrated
from benchmarks.recording import EAR_BLOCK_S
from benchmarks.report import Report, arguments
from benchmarks.servers import Server, serving
from benchmarks.story import LOUD, QUIET_S, leaves_speaking, silenced, tell_a_story
from benchmarks.voices import INTERRUPTIONS, spoken

INTERRUPTED, CANCELLED = 100, 20
DECIDED_TO_SILENCE_MS, DECIDED_TO_SHUT_MS, ONSET_TO_SILENCE_MS = 200.0, 300.0, 700.0
AUDIBLE_S = 0.02
"""No sound stops sooner than this after the decision: the way to the ear alone takes longer. Where none was heard
later, the interruption met a pause between two words; such samples are kept and counted, and meet no bound."""
NEW_S = 0.2
CLOSED_S = 1.0
"""How long after a cut the streams of the LLM and the TTS may stay open."""


# -- 1. interruptions


async def interrupt(visit: Visit, server: Server, mouth: MouthWatch, said: Pcm) -> dict[str, Any]:
    """One interruption at a random moment of a story; times in ms."""
    await tell_a_story(visit, server)
    before = await visit.buffered()
    await asyncio.sleep(random.uniform(0.8, 2.2))
    buffered = [after - earlier for after, earlier in zip(await visit.buffered(), before, strict=True)]
    start = await visit.say(said)
    await asyncio.sleep(said.size / SAMPLE_RATE_HZ + 1.5)
    await visit.take()
    recording = visit.recording
    onset = recording.handed_on(recording.mic_block(start))
    decided, how = _decided(server, onset)
    block = falls_silent(
        recording.played, recording.block_heard_at(decided), threshold=LOUD, quiet=round(QUIET_S / EAR_BLOCK_S)
    )
    shut = mouth.closes(visit, decided, decided + 2.0)
    if block is None:
        raise NotMeasured("the avatar did not fall silent")
    silent = recording.heard(block)
    cuts = server.seen("cut", onset, onset + 6)
    return {
        "decided_by": how,
        "onset_to_decided_ms": round((decided - onset) * 1000, 1),
        "decided_to_silence_ms": round((silent - decided) * 1000, 1),
        "decided_to_shut_ms": None if shut is None else round((shut - decided) * 1000, 1),
        "onset_to_silence_ms": round((silent - onset) * 1000, 1),
        "onset_to_cut_ms": round((cuts[0]["at"] - onset) * 1000, 1) if cuts else None,
        "jitter_buffer_ms": round(buffered[0] / buffered[1] * 1000, 1),
        "audible": silent - decided > AUDIBLE_S,
        "mouth_open": shut is None or shut - decided > AUDIBLE_S,
    }


def _decided(server: Server, onset: float) -> tuple[float, str]:
    """When the server stopped the voice: it leaves the state of speaking as it pauses, or it clears at once."""
    paused = [event for event in server.seen("told", onset, onset + 3) if leaves_speaking(event)]
    cut = server.seen("cut", onset, onset + 3)
    first = min([*paused, *cut], key=lambda event: float(event["at"]), default=None)
    if first is None:
        raise NotMeasured("the server did not notice the interruption")
    return first["at"], "cut" if first["e"] == "cut" else "pause"


async def interruptions(report: Report, visit: Visit, server: Server, voices: list[Pcm], count: int) -> None:
    await silenced(visit)
    mouth = await calibrated(visit, lambda: tell_a_story(visit, server), 2.5 if report.quick else 5.0)
    report.facts["mouth"] = mouth.facts | {"region_px": mouth.region_px}
    report.samples("mouth", mouth.pictures)
    rows: list[dict[str, Any]] = []
    missed: Counter[str] = Counter()
    while sum(row["audible"] for row in rows) < count and missed.total() <= max(2, count // 10):
        try:
            rows.append(await interrupt(visit, server, mouth, voices[len(rows) % len(voices)]))
        except NotMeasured as reason:
            missed[str(reason)] += 1
        await asyncio.sleep(1.0)
    report.samples("interruptions", rows)
    report.facts["interruptions_not_measured"] = dict(missed)
    audible = [row for row in rows if row["audible"]]
    report.facts["interruptions_in_a_pause"] = len(rows) - len(audible)
    bounds = {
        "decided → silence heard": ("decided_to_silence_ms", DECIDED_TO_SILENCE_MS),
        "decided → mouth seen shut": ("decided_to_shut_ms", DECIDED_TO_SHUT_MS),
        "voice onset → silence heard": ("onset_to_silence_ms", ONSET_TO_SILENCE_MS),
    }
    report.numbers("voice onset → decided", [row["onset_to_decided_ms"] for row in rows], "ms")
    report.numbers("leg: the browser's sound buffer", [row["jitter_buffer_ms"] for row in rows], "ms")
    for label, (column, limit) in bounds.items():
        values = [row[column] for row in audible if row[column] is not None]
        p95 = report.numbers(label, values, "ms", stated_n=INTERRUPTED).get("p95")
        report.bound(f"{label}, p95", p95, limit, "ms", n=len(values), stated_n=INTERRUPTED)
    # In half of the moments of speech lips are together anyway; by themselves, those that were open count too.
    opened = [
        row["decided_to_shut_ms"] for row in audible if row["mouth_open"] and row["decided_to_shut_ms"] is not None
    ]
    label = "decided → mouth seen shut, where it was open"
    p95 = report.numbers(label, opened, "ms", stated_n=INTERRUPTED // 4).get("p95")
    report.bound(f"{label}, p95", p95, DECIDED_TO_SHUT_MS, "ms", n=len(opened), stated_n=INTERRUPTED // 4)


# -- 4. cancelled


async def cancelled(report: Report, voices: list[Pcm], count: int) -> None:
    espeak = Espeak()
    async with slow_endpoint(espeak) as endpoint:
        environment = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": "unused", "STT_PROVIDER": "pocketsphinx"}
        async with (
            serving("benchmarks.probe", environment=environment) as server,
            conversation(server.url) as visit,
        ):
            await asyncio.sleep(2)
            rows = [await _cancel(visit, server, endpoint, voices[n % len(voices)]) for n in range(count)]
            await asyncio.sleep(1)
        _segments_ended_once(report, server, "slow endpoint")
    await espeak.aclose()
    report.samples("cancelled", rows)
    for kind in ("llm", "tts"):
        closed = [row[f"{kind}_closed_ms"] for row in rows if row[f"{kind}_open"]]
        report.facts[f"{kind}_streams_open_at_the_cut"] = len(closed)
        report.numbers(f"cut → {kind} stream closed", [ms for ms in closed if ms is not None], "ms")
        still = sum(ms is None or ms > CLOSED_S * 1000 for ms in closed)
        label = f"{kind} streams open {CLOSED_S:.0f} s after a cut"
        # Whether a stream was open is up to chance for the voice: most sentences' are, for most of their length.
        report.bound(label, still, 0, "streams", n=len(closed), stated_n=CANCELLED if kind == "llm" else CANCELLED // 2)


async def _cancel(visit: Visit, server: Server, endpoint: SlowEndpoint, said: Pcm) -> dict[str, Any]:
    story = await tell_a_story(visit, server)
    await asyncio.sleep(random.uniform(0.8, 2.2))
    await visit.say(said)
    cut = (await server.event("cut", story.began, 10))["at"]
    await asyncio.sleep(max(0.0, cut + CLOSED_S + 0.5 - time.monotonic()))
    row: dict[str, Any] = {}
    for kind in ("llm", "tts"):
        # What was under way for the story, not what the words that cut it ask for.
        ends = [answer.ended for answer in endpoint.open(cut) if answer.kind == kind and answer.began < cut - NEW_S]
        closed = [end for end in ends if end is not None]
        row[f"{kind}_open"] = len(ends)
        row[f"{kind}_closed_ms"] = round((max(closed) - cut) * 1000, 1) if len(closed) == len(ends) > 0 else None
    return row


# -- all of it


def _segments_ended_once(report: Report, server: Server, where: str) -> None:
    said = {event["segment"] for event in server.seen("push")}
    ended = Counter(event["segment"] for event in server.seen("finished"))
    wrong = {segment: ended[segment] for segment in said | set(ended) if ended[segment] != 1}
    report.facts[f"segments ({where})"] = {"said": len(said), "ended_once": len(said) - len(wrong), "wrong": wrong}
    report.bound(f"segments not ended exactly once ({where})", len(wrong), 0, "segments", n=len(said))


PARTS = ("interruptions", "coughs", "own-voice", "cancelled")


def _instrument(report: Report, visit: Visit) -> None:
    recording = visit.recording
    report.facts["instrument"] = {
        "clock_error_ms": round(recording.clock.error * 1000, 2),
        "output_latency_ms": round(recording.output_latency_s * 1000, 1),
        "gaps_in_what_was_played": recording.gaps,
        "microphone_blocks_lost": recording.lost_blocks,
    }


async def main() -> int:
    parser = arguments("bargein", (__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part (all)")
    chosen = parser.parse_args()
    parts, quick = chosen.part or PARTS, chosen.quick
    report = Report("bargein", quick, chosen.out)
    espeak = Espeak()
    voices = [await spoken(espeak, text) for text in INTERRUPTIONS]
    await espeak.aclose()
    if {"interruptions", "coughs"} & set(parts):
        async with serving("benchmarks.probe") as server:
            async with conversation(server.url) as visit:
                report.chromium = visit.chromium
                await asyncio.sleep(5)  # the greeting
                report.facts["parts"] = await visit.parts()
                if "interruptions" in parts:
                    with report.attempt("interruptions"):
                        await interruptions(report, visit, server, voices, 4 if quick else INTERRUPTED)
                if "coughs" in parts:
                    with report.attempt("coughs"):
                        await coughs(report, visit, server, 3 if quick else COUGHS)
                _instrument(report, visit)
            await asyncio.sleep(1)
        report.samples("server", server.events)
        _segments_ended_once(report, server, "interruptions and coughs")
    if "own-voice" in parts:
        async with serving("benchmarks.probe") as server:
            async with conversation(server.url) as visit:
                with report.attempt("own voice"):
                    await own_voice(report, visit, server, 20.0 if quick else ECHO_S)
            await asyncio.sleep(1)
        report.samples("own_voice_server", server.events)
        _segments_ended_once(report, server, "own voice")
    if "cancelled" in parts:
        with report.attempt("cancelled"):
            await cancelled(report, voices, 3 if quick else CANCELLED)
    return report.finish()


if __name__ == "__main__":
    sys.exit(run(main))
