"""The conversation over LiveKit: a real server, `mien agent`, `mien page`, a real Chromium.

1. *avsync*: flashes and beeps through our playout in a LiveKit room, with the method and the control of avsync.py.
2. *bargein*: a spoken sentence at a random moment of a story; decided by the worker → silence heard. Of the same
   conversation, for each thing that is said: speech enough for the first picture → first packet.
3. *worker*: speech that another agent sends over `lk.audio_stream` to `mien avatar`, whose picture somebody watches:
   its first sound → the avatar's first packet, and where the time goes; also until the agent is told that it plays.

Each part has a summary of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from livekit import api, rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput

from agent.speech.espeak import Espeak
from avatar.frames import SAMPLE_RATE_HZ, Pcm
from benchmarks.avsync import CONTROLS, FLASHES, flashed, judge
from benchmarks.bargein import AUDIBLE_S, _decided
from benchmarks.children import run
from benchmarks.chromium import Visit, conversation
from benchmarks.measure import NotMeasured, falls_silent
from benchmarks.recording import EAR_BLOCK_S
from benchmarks.report import Report, arguments
from benchmarks.servers import Server, serving
from benchmarks.story import LOUD, QUIET_S, tell_a_story
from benchmarks.voices import INTERRUPTIONS, spoken
from tests.livekit.server import LiveKitServer, livekit_server

INTERRUPTED, UTTERANCES = 50, 100
DECIDED_TO_SILENCE_MS, SOUND_TO_PACKET_MS, THROUGH_WORKER_MS = 250.0, 80.0, 200.0
WORKER = {"MIEN_ADMISSION": "stated", "STT_PROVIDER": "pocketsphinx"}
READY = r"call '(.+)'"
CHUNK = SAMPLE_RATE_HZ // 50
UTTERANCE_S = 0.6
WARM_UP = 5
_STEPS = {
    "there_ms": "first sound → at the worker",
    "released_ms": "first sound → released",
    "told_ms": "first sound → the agent is told that it plays",
}

_IN_PROCESS = {"released_ms": "first sound → released", "sent_ms": "released → first packet"}


async def avsync(report: Report, livekit: LiveKitServer, quick: bool) -> None:
    count = 12 if quick else FLASHES
    async with (
        serving("benchmarks.livekit_stage", "ours", environment=livekit.environment) as server,
        conversation(server.url) as visit,
    ):
        report.chromium = visit.chromium
        rows = await flashed(report, visit, server, count, 6 if quick else CONTROLS)
    judge(report, rows, count)


async def interrupt(visit: Visit, worker: Server, said: Pcm) -> dict[str, Any]:
    """One interruption at a random moment of a story."""
    await tell_a_story(visit, worker)
    await asyncio.sleep(random.uniform(0.8, 2.2))
    start = await visit.say(said)
    await asyncio.sleep(said.size / SAMPLE_RATE_HZ + 1.5)
    await visit.take()
    recording = visit.recording
    onset = recording.handed_on(recording.mic_block(start))
    decided, how = _decided(worker, onset)
    played = recording.played
    block = falls_silent(played, recording.block_heard_at(decided), threshold=LOUD, quiet=round(QUIET_S / EAR_BLOCK_S))
    if block is None:
        raise NotMeasured("the avatar did not fall silent")
    silent = recording.heard(block)
    return {
        "decided_by": how,
        "onset_to_decided_ms": round((decided - onset) * 1000, 1),
        "decided_to_silence_ms": round((silent - decided) * 1000, 1),
        "audible": silent - decided > AUDIBLE_S,
    }


async def bargein(report: Report, livekit: LiveKitServer, quick: bool) -> None:
    espeak = Espeak()
    voices = [await spoken(espeak, text) for text in INTERRUPTIONS]
    await espeak.aclose()
    count = 3 if quick else INTERRUPTED
    rows: list[dict[str, Any]] = []
    missed: Counter[str] = Counter()
    environment = livekit.environment | WORKER
    async with (
        serving("benchmarks.livekit_worker", environment=environment, ready=READY) as worker,
        serving("agent.cli", "page", environment=livekit.environment) as page,
        conversation(page.url) as visit,
    ):
        report.chromium = visit.chromium
        await asyncio.sleep(5)  # the greeting
        while sum(row["audible"] for row in rows) < count and missed.total() <= max(2, count // 5):
            try:
                rows.append(await interrupt(visit, worker, voices[len(rows) % len(voices)]))
            except NotMeasured as reason:
                missed[str(reason)] += 1
            await asyncio.sleep(1.0)
        report.facts["parts"] = await visit.parts()
    report.samples("interruptions", rows)
    report.facts["interruptions_not_measured"] = dict(missed)
    report.numbers("voice onset → decided", [row["onset_to_decided_ms"] for row in rows], "ms")
    values = [row["decided_to_silence_ms"] for row in rows if row["audible"]]
    p95 = report.numbers("decided → silence heard", values, "ms", stated_n=INTERRUPTED).get("p95")
    label = "decided → silence heard, p95"
    report.bound(label, p95, DECIDED_TO_SILENCE_MS, "ms", n=len(values), stated_n=INTERRUPTED)
    firsts = first_packets(worker)
    report.samples("first_packets", firsts)
    for what, label in _IN_PROCESS.items():
        report.numbers(label, [row[what] for row in firsts], "ms", stated_n=INTERRUPTED)
    waits = [row["packet_ms"] for row in firsts]
    report.facts["first_pictures_there_in_time"] = sum(row["fresh"] for row in firsts)
    p95 = report.numbers("first sound → first packet, in process", waits, "ms", stated_n=INTERRUPTED).get("p95")
    label = "first sound → first packet, in process, p95"
    report.bound(label, p95, SOUND_TO_PACKET_MS, "ms", n=len(waits), stated_n=INTERRUPTED)


def first_packets(worker: Server) -> list[dict[str, Any]]:
    """Of each segment that began in silence: push of the sound that its first picture needs → packet, in steps, ms."""
    ready = {event["segment"]: event["at"] for event in worker.seen("push") if event["ready"]}
    started = {event["segment"]: event for event in worker.seen("started")}
    sent = {event["segment"]: event["sent"] for event in worker.seen("packet")}
    return [
        {
            "segment": one,
            "released_ms": round((started[one]["released"] - ready[one]) * 1000, 1),
            "sent_ms": round((sent[one] - started[one]["released"]) * 1000, 1),
            "packet_ms": round((sent[one] - ready[one]) * 1000, 1),
            "fresh": started[one]["fresh"],
        }
        for one in sorted(ready.keys() & started.keys() & sent.keys())
    ]


async def through_worker(report: Report, livekit: LiveKitServer, quick: bool) -> None:
    count = 8 if quick else UTTERANCES
    environment = livekit.environment | WORKER
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(
            serving("benchmarks.livekit_avatar", environment=environment, ready=READY)
        )
        service = await stack.enter_async_context(api.LiveKitAPI(livekit.url, *_credentials(livekit)))
        room = rtc.Room()
        await room.connect(
            livekit.url, livekit.token("agent", "through", kind="agent"), rtc.RoomOptions(auto_subscribe=False)
        )
        stack.push_async_callback(room.disconnect)
        # Who watches; and a room in which there are only agents counts as empty: the server closes it.
        person = rtc.Room()
        await person.connect(livekit.url, livekit.token("person", "through"))
        stack.push_async_callback(person.disconnect)
        order = {"identity": "face", "on_behalf_of": "agent"}
        await service.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(agent_name="mien-avatar", room="through", metadata=json.dumps(order))
        )
        output = DataStreamAudioOutput(
            room,
            destination_identity="face",
            sample_rate=SAMPLE_RATE_HZ,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            wait_playback_start=True,
        )
        espeak = Espeak()
        said = (await spoken(espeak, INTERRUPTIONS[0]))[: round(UTTERANCE_S * SAMPLE_RATE_HZ)]
        await espeak.aclose()
        # The first waits for the avatar to come, and for somebody to see it.
        rows = [await _say(output, worker, said) for _ in range(count + WARM_UP)][WARM_UP:]
    report.samples("through_worker", rows)
    for what, label in _STEPS.items():
        report.numbers(label, [row[what] for row in rows], "ms", stated_n=UTTERANCES)
    report.facts["pictures_there_in_time"] = sum(row["fresh"] for row in rows)
    waits = [row["packet_ms"] for row in rows]
    p95 = report.numbers("first sound → first packet, avatar worker", waits, "ms", stated_n=UTTERANCES).get("p95")
    label = "first sound → first packet, through the avatar worker, p95"
    report.bound(label, p95, THROUGH_WORKER_MS, "ms", n=len(waits), stated_n=UTTERANCES)


async def _say(output: DataStreamAudioOutput, worker: Server, said: Pcm) -> dict[str, Any]:
    """One utterance, and what became of its first sound when, in ms from its capture."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[float] = loop.create_future()
    ended: asyncio.Future[None] = loop.create_future()

    def on_started(_: object) -> None:
        if not told.done():
            told.set_result(time.monotonic())

    def on_finished(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    output.on("playback_started", on_started)
    output.on("playback_finished", on_finished)
    try:
        began = time.monotonic()
        for start in range(0, said.size, CHUNK):
            part = said[start : start + CHUNK]
            await output.capture_frame(rtc.AudioFrame(part.tobytes(), SAMPLE_RATE_HZ, 1, part.size))
        output.flush()
        async with asyncio.timeout(60):
            heard_of = await told
            await ended
        packet = await worker.event("packet", began, 1)
        started = await worker.event("started", began, 1, segment=packet["segment"])
        await asyncio.sleep(random.uniform(0.3, 0.5))  # at any phase of the clock
    finally:
        output.off("playback_started", on_started)
        output.off("playback_finished", on_finished)
    moments = {"there_ms": started["pushed"], "released_ms": started["released"], "packet_ms": packet["sent"]}
    row: dict[str, Any] = {what: round((at - began) * 1000, 1) for what, at in {**moments, "told_ms": heard_of}.items()}
    return row | {"fresh": started["fresh"]}


def _credentials(livekit: LiveKitServer) -> tuple[str, str]:
    return livekit.environment["LIVEKIT_API_KEY"], livekit.environment["LIVEKIT_API_SECRET"]


PARTS = {"avsync": avsync, "bargein": bargein, "worker": through_worker}


async def main() -> int:
    parser = arguments("livekit", (__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part (all)")
    chosen = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mien-livekit-") as folder, livekit_server(Path(folder)) as livekit:
        for name, part in PARTS.items():
            if name in (chosen.part or PARTS):
                report = Report(f"livekit.{name}", chosen.quick, chosen.out)
                with report.attempt(name):
                    await part(report, livekit, chosen.quick)
                missed |= report.finish()
    return missed


if __name__ == "__main__":
    sys.exit(run(main))
