"""How long a turn takes: from the TTS's first sound to its packet, and from a spoken question to the answer heard.

1. *sound to packet*: a real playout, renderer and embedded room here, an aiortc client in another process. For each
   utterance, from the push that completes the first picture's audio to the sending of the first packet.
2. *question to answer*: the built-in persona, espeak and the local recognizer in a child process, the real page in a
   real Chromium. From the last sample of the question at the microphone to the first sound of the answer heard, with
   the server's own waterfall and the two legs that it does not see: microphone to session, packet to loudspeaker.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

from agent.face import choose_face
from agent.persona import load_persona
from agent.settings import AvatarSettings
from agent.speech.espeak import Espeak
from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, Pcm
from avatar.playout import Started
from avatar.renderer import Renderer
from benchmarks.children import run
from benchmarks.chromium import Visit, conversation
from benchmarks.measure import NotMeasured, first_loud
from benchmarks.recording import EAR_BLOCK_S
from benchmarks.report import Report, arguments
from benchmarks.servers import Server, serving
from benchmarks.stage import Stage, staged
from benchmarks.voices import QUESTIONS, spoken

UTTERANCES, TURNS = 200, 30
SOUND_TO_PACKET_MS = 60.0
CHUNK = SAMPLE_RATE_HZ // 100
UTTERANCE_S = 0.4
GAP_S = 0.25
LOUD = 0.005
"""Peak of full scale; the decoded silence of the avatar is far below it."""
ANSWER_S = 12.0
HEARD_S = 5.0
QUIET_S = 0.8


# -- 1. sound to packet


async def sound_to_packet(report: Report, count: int) -> None:
    settings = AvatarSettings()
    renderer: Renderer = await asyncio.to_thread(choose_face(settings, load_persona(settings.persona)).make)
    espeak = Espeak()
    words = [await spoken(espeak, text) for text in ("Well, yes.", "Hello there.", "Of course.", "I think so.")]
    await espeak.aclose()
    try:
        async with staged(renderer) as stage, serving("benchmarks.caller", stage.url, ready="(joined)") as caller:
            await stage.joined.wait()
            await asyncio.sleep(1)
            rows = [await _utter(stage, renderer, words[number % len(words)]) for number in range(count)]
            await asyncio.sleep(0.5)
        heard = caller.seen("heard")[0]["onsets"]
    finally:
        await renderer.aclose()
    late_ms = [row["sent_ms"] for row in rows]
    report.samples("utterances", rows)
    report.facts["sound_to_packet"] = {"utterances": count, "heard_by_client": heard, "renderer": renderer.name}
    numbers = report.numbers("first sound pushed → its packet sent", late_ms, "ms", stated_n=UTTERANCES)
    limit = SOUND_TO_PACKET_MS
    report.bound("first sound pushed → packet sent, p95", numbers["p95"], limit, "ms", n=count, stated_n=UTTERANCES)
    report.bound("utterances that the client did not hear", abs(count - heard), 0, "of them")


async def _utter(stage: Stage, renderer: Renderer, word: Pcm) -> dict[str, Any]:
    """One utterance, at a random phase of the clock; times in ms from when its first picture's audio was complete."""
    loop = asyncio.get_running_loop()
    sent: asyncio.Future[float] = loop.create_future()
    ticks: list[Started] = []
    assert stage.room is not None

    def on_sent(tick: int, at_s: float) -> None:
        if ticks and tick >= ticks[0].tick and not sent.done():
            sent.set_result(at_s)

    stage.on_start = ticks.append
    stage.ended.clear()
    stage.room.on_sent = on_sent
    await asyncio.sleep(GAP_S + random.random() * 0.04)
    said = word[: int(UTTERANCE_S * SAMPLE_RATE_HZ)]
    # The resampler to 16 kHz holds the last millisecond back, so the lookahead is complete a chunk later.
    needed = TICK_SAMPLES + round(renderer.lookahead_ms * SAMPLE_RATE_HZ / 1000) + SAMPLE_RATE_HZ // 1000
    complete = 0.0
    for start in range(0, said.size, CHUNK):
        stage.playout.push(said[start : start + CHUNK])
        if not complete and start + CHUNK >= needed:
            complete = loop.time()
    stage.playout.end()
    at = await asyncio.wait_for(sent, 5)
    await asyncio.wait_for(stage.ended.wait(), 5)
    return {
        "released_ms": round((ticks[0].released_at - complete) * 1000, 2),
        "sent_ms": round((at - complete) * 1000, 2),
        "fresh": ticks[0].fresh,
    }


# -- 2. question to answer


async def question_to_answer(report: Report, count: int) -> None:
    espeak = Espeak()
    questions = {text: await spoken(espeak, text) for text in QUESTIONS}
    await espeak.aclose()
    rows: list[dict[str, Any]] = []
    unanswered = 0
    async with serving("benchmarks.probe") as server, conversation(server.url) as visit:
        report.chromium = visit.chromium
        await _quiet(visit)
        report.facts["parts"] = await visit.parts()
        while len(rows) < count and unanswered <= max(3, count // 3):
            text = QUESTIONS[(len(rows) + unanswered) % len(QUESTIONS)]
            row = await _ask(visit, server, text, questions[text])
            if row is None:
                unanswered += 1
            else:
                rows.append(row)
            await _quiet(visit)
        statistics = await visit.statistics()
        report.facts["page"] = {
            "clock_error_ms": round(visit.recording.clock.error * 1000, 2),
            "output_latency_ms": round(visit.recording.output_latency_s * 1000, 1),
            "jitter_buffer_ms": round(statistics["audio"]["jitter_buffer_ms"], 1),
            "gaps_in_what_was_played": visit.recording.gaps,
            "microphone_blocks_lost": visit.recording.lost_blocks,
        }
    report.samples("turns", rows)
    report.facts["questions_unanswered"] = unanswered
    columns = {
        "end of question → first sound heard": "heard_ms",
        "leg: microphone → session": "microphone_ms",
        "leg: packet sent → heard": "loudspeaker_ms",
        "server: end of speech (its estimate) → packet sent": "server_ms",
        "  transcript": "transcript",
        "  llm_first_token": "llm_first_token",
        "  tts_first_sound": "tts_first_sound",
        "  picture_released": "picture_released",
        "  packet_sent": "packet_sent",
    }
    for label, column in columns.items():
        report.numbers(label, [row[column] for row in rows], "ms", stated_n=TURNS)
    report.bound("turns that were missing", max(0, count - len(rows)), 0, "turns", n=len(rows), stated_n=TURNS)


async def _ask(visit: Visit, server: Server, text: str, sound: Pcm) -> dict[str, Any] | None:
    """One spoken turn; None when no answer came (the recognizer heard no words)."""
    mark = visit.mark
    start = await visit.say(sound)
    turn = await visit.event(mark, "turn", ANSWER_S)
    if turn is None:
        return None
    recording = visit.recording
    block = None
    deadline = time.monotonic() + HEARD_S
    while block is None and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        await visit.take()
        began = recording.handed_on(recording.mic_block(start))
        ended = recording.handed_on(recording.mic_block(start + sound.size))
        block = first_loud(recording.played, recording.block_heard_at(ended), threshold=LOUD)
    session = [event for event in server.seen("mic", began) if event["sound"]]
    packets = server.seen("packet", ended)
    if block is None or not session or not packets:
        raise NotMeasured(f"the answer to {text!r} was announced but {'not heard' if block is None else 'not seen'}")
    heard = recording.heard(block)
    return {
        "question": text,
        "heard_ms": round((heard - ended) * 1000, 1),
        "microphone_ms": round((session[0]["at"] - began) * 1000, 1),
        "loudspeaker_ms": round((heard - packets[0]["sent"]) * 1000, 1),
        "server_ms": turn.detail["total_ms"],
    } | {stage["name"]: stage["ms"] for stage in turn.detail["stages"]}


async def _quiet(visit: Visit) -> None:
    """Wait until the avatar has said what it had to say and nothing has been heard for a moment."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        recent = visit.recording.played[-round(QUIET_S / EAR_BLOCK_S) :]
        state = await visit.page.evaluate("() => window.mien.client.state")
        if state == "listening" and recent.size and recent.max() < LOUD:
            return
    raise NotMeasured("the avatar did not stop talking within a minute")


async def main() -> int:
    chosen = arguments("turn", (__doc__ or "").splitlines()[0]).parse_args()
    report = Report("turn", chosen.quick, chosen.out)
    with report.attempt("sound to packet"):
        await sound_to_packet(report, 20 if chosen.quick else UTTERANCES)
    with report.attempt("question to answer"):
        await question_to_answer(report, 3 if chosen.quick else TURNS)
    return report.finish()


if __name__ == "__main__":
    sys.exit(run(main))
