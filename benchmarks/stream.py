"""A stream on air: how soon a message is heard, what it costs, and what reaches the server through restarts.

The real `mien stream` in a child process, at a real nginx-rtmp on loopback, read back by FFmpeg. Messages are texts
spoken by espeak (latency, cost) or tones that can be told apart (the long run, whose recording is listened to).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.children import run
from benchmarks.flash import utterance
from benchmarks.measure import NotMeasured
from benchmarks.report import Report, arguments
from benchmarks.rtmpreader import Reader, flash_offsets_ms
from benchmarks.rtmpserver import RtmpServer, rtmp_server
from benchmarks.servers import Server, serving
from benchmarks.sessions import children_cpu_s, cpu_s
from benchmarks.streamtones import heard, line, tone

MESSAGES, QUICK_MESSAGES = 60, 5
WINDOW_S, QUICK_WINDOW_S = 60.0, 12.0
RUN_S, QUICK_RUN_S = 600.0, 60.0
RUN_MESSAGES, QUICK_RUN_MESSAGES = 50, 6
RESTARTS, QUICK_RESTARTS = 3, 1
DOWN_S = 4.0
FLASHES, QUICK_FLASHES = 60, 6

ON_AIR_MS, FIRST_MS, RETURN_MS, OFFSET_MS = 2000.0, 1000.0, 3000.0, 40.0
CORES = 2 * 0.6
LOUD = 0.02
READY_S = 90.0
TEXTS = ("Good evening.", "This comes in just now.", "Here is the next question.", "Thank you for watching tonight.")


async def main() -> int:
    parser = arguments("stream", (__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("latency", "cost", "sync", "run"), help="only this one")
    parser.add_argument("--seconds", type=float, help=f"length of the run ({RUN_S:.0f})")
    chosen = parser.parse_args()
    report, quick = Report("stream", chosen.quick, chosen.out), chosen.quick
    if chosen.part in (None, "latency"):
        with report.attempt("latency"):
            await latency(report, QUICK_MESSAGES if quick else MESSAGES)
    for fps in (25, 30):
        if chosen.part in (None, "cost"):
            with report.attempt(f"cost at {fps}"):
                await cost(report, fps, QUICK_WINDOW_S if quick else WINDOW_S)
    if chosen.part in (None, "sync"):
        with report.attempt("sync"):
            await sync(report, QUICK_FLASHES if quick else FLASHES)
    if chosen.part in (None, "run"):
        with report.attempt("run"):
            seconds = chosen.seconds or (QUICK_RUN_S if quick else RUN_S)
            few = (QUICK_RUN_MESSAGES, QUICK_RESTARTS) if quick else (RUN_MESSAGES, RESTARTS)
            await long_run(report, seconds, *few)
    return report.finish()


# -- asking the stream


async def health(http: aiohttp.ClientSession, server: Server) -> dict[str, Any]:
    async with http.get(f"{server.url}health") as answer:
        told: dict[str, Any] = json.loads(await answer.text())
        return told


async def ready(http: aiohttp.ClientSession, server: Server) -> None:
    until = time.monotonic() + READY_S
    while (await health(http, server))["status"] == "starting":
        if time.monotonic() > until:
            raise NotMeasured(f"not ready to speak within {READY_S:.0f} s")
        await asyncio.sleep(0.1)


async def said(http: aiohttp.ClientSession, server: Server, messages: int, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while (await health(http, server))["queue"]["settled"]["played"] < messages:
        if time.monotonic() > until:
            raise NotMeasured(f"{messages} messages were not said within {timeout_s:.0f} s")
        await asyncio.sleep(0.1)


async def published(rtmp: RtmpServer, since: float, timeout_s: float) -> float:
    """How long after ``since`` the stream was there, in ms."""
    while "a" not in await asyncio.to_thread(rtmp.publishers):
        if time.monotonic() - since > timeout_s:
            raise NotMeasured(f"not on air within {timeout_s:.0f} s")
        await asyncio.sleep(0.01)
    return (time.monotonic() - since) * 1000


# -- the parts


async def latency(report: Report, messages: int) -> None:
    """From a line written to its first sound at a client of the server; and how soon the stream is on air."""
    first_ms: list[float] = []
    with rtmp_server() as rtmp:
        began = time.monotonic()
        async with (
            aiohttp.ClientSession() as http,
            serving("agent.cli", "stream", "--rtmp", rtmp.url("a"), "--port", "0") as server,
        ):
            on_air_ms = await published(rtmp, began, 20)
            await ready(http, server)
            reader = Reader(rtmp.url("a"), decode=True, pictures=False).start()
            await asyncio.to_thread(reader.until, 50, 20)
            for number in range(messages):
                await asyncio.sleep(0.5 + random.random() * 0.04)
                sent = time.monotonic()
                server.tell(TEXTS[number % len(TEXTS)])
                await said(http, server, number + 1, 30)
                loud = [at for at, peak in list(reader.loud) if at > sent and peak > LOUD]
                if not loud:
                    raise NotMeasured(f"message {number} was not heard at the server")
                first_ms.append((loud[0] - sent) * 1000)
            await asyncio.to_thread(reader.stop)
    report.samples("messages", [{"first_sound_ms": round(each, 1)} for each in first_ms])
    described = report.numbers("message to its first sound at the server's client", first_ms, "ms", stated_n=MESSAGES)
    report.bound("the same, p95", described["p95"], FIRST_MS, "ms", n=len(first_ms), stated_n=MESSAGES)
    report.bound("start of the process to being on air", on_air_ms, ON_AIR_MS, "ms", n=1)


async def cost(report: Report, fps: int, window_s: float) -> None:
    """720p with the puppet, speaking all the time."""
    with rtmp_server() as rtmp:
        environment = {"RTMP_FPS": str(fps)}
        command = ("agent.cli", "stream", "--rtmp", rtmp.url("a"), "--port", "0")
        async with aiohttp.ClientSession() as http, serving(*command, environment=environment) as server:
            await ready(http, server)
            story = " ".join(f"Sentence number {number} of a long story, told without a pause." for number in range(60))
            server.tell(story)
            reader = Reader(rtmp.url("a")).start()
            await asyncio.to_thread(reader.until, 50, 20)
            await asyncio.sleep(3)
            before = (time.monotonic(), cpu_s(server.pid), children_cpu_s(server.pid), len(reader.of("video")))
            await asyncio.sleep(window_s)
            after = (time.monotonic(), cpu_s(server.pid), children_cpu_s(server.pid), len(reader.of("video")))
            told = await health(http, server)
            await asyncio.to_thread(reader.stop)
    seconds, own, children, pictures = (now - then for now, then in zip(after, before, strict=True))
    report.facts[f"cost_{fps}"] = {
        "cores": round(own / seconds, 3),
        "children_cores": round(children / seconds, 3),
        "pictures_per_s": round(pictures / seconds, 2),
        "stream": told["stream"],
        "state": told["state"],
    }
    if told["state"] != "talking":
        raise NotMeasured("it had fallen silent before the end")
    label = f"720p{fps}, speaking: cores, of two"
    report.bound(label, (own + children) / seconds, CORES, "cores", n=1)
    report.bound(f"720p{fps}: share of pictures missing", max(0.0, 1 - pictures / seconds / fps), 0.01, "", n=1)


async def sync(report: Report, flashes: int) -> None:
    """Sound against picture, at a client that decodes both."""
    with rtmp_server() as rtmp:
        environment = {"RTMP_URL": rtmp.url("a"), "RTMP_RESOLUTION": "512x512", "MIEN_SIZE_PX": "512"}
        async with (
            aiohttp.ClientSession() as http,
            serving("benchmarks.streamchild", environment=environment) as server,
        ):
            await ready(http, server)
            reader = Reader(rtmp.url("a"), decode=True).start()
            await asyncio.to_thread(reader.until, 25, 20)
            for number in range(flashes):
                server.tell(line(utterance(), f"flash-{number}"))
                await asyncio.sleep(1.0 + random.random() * 0.04)
            await said(http, server, flashes, 30)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(reader.stop)
    offsets = flash_offsets_ms(reader)
    report.samples("flashes", [{"sound_after_picture_ms": round(each, 2)} for each in offsets])
    report.numbers("sound after picture", offsets, "ms", stated_n=FLASHES)
    worst = max(map(abs, offsets), default=None)
    report.bound("sound against picture, the worst", worst, OFFSET_MS, "ms", n=len(offsets), stated_n=FLASHES)


async def long_run(report: Report, seconds: float, messages: int, restarts: int) -> None:
    """Messages at even distances, and a server that is killed and started again."""
    returns_ms: list[float] = []
    readers: list[Reader] = []
    with rtmp_server() as rtmp, tempfile.TemporaryDirectory(prefix="mien-stream-") as folder:
        command = ("agent.cli", "stream", "--rtmp", rtmp.url("a"), "--port", "0", "--record", folder)
        async with aiohttp.ClientSession() as http, serving(*command) as server:
            await ready(http, server)
            began = time.monotonic()
            speaking = asyncio.create_task(_tell(server, messages, seconds))
            for number in range(restarts + 1):
                readers.append(Reader(rtmp.url("a")).start())
                await asyncio.sleep(max(0.0, began + seconds * (number + 1) / (restarts + 1) - time.monotonic()))
                if number < restarts:
                    rtmp.kill()
                    await asyncio.sleep(DOWN_S)
                    await asyncio.to_thread(rtmp.start)
                    returns_ms.append(await published(rtmp, time.monotonic(), 20))
            await speaking
            await said(http, server, messages, 30)
            told = await health(http, server)
            for reader in readers:
                await asyncio.to_thread(reader.stop)
        order = _recorded(Path(folder))
    steps = np.concatenate([reader.steps_ms("video") for reader in readers])
    uneven = int(np.count_nonzero(np.round(steps) != 40))
    shifts_ms = [_clock_ms(reader) - _clock_ms(readers[0]) for reader in readers[1:]]
    report.samples("returns", [{"back_on_air_ms": round(each, 1)} for each in returns_ms])
    report.facts["run"] = {"heard": order, "told": told, "seconds": seconds, "media_clock_shifts_ms": shifts_ms}
    report.bound("the server's return to being back on air", max(returns_ms), RETURN_MS, "ms", n=len(returns_ms))
    report.bound("steps between pictures that are not 40 ms", uneven, 0, "", n=steps.size)
    report.bound("media time against the clock after restarts", max(map(abs, shifts_ms)), 250, "ms", n=len(shifts_ms))
    wrong = sum(1 for number in range(messages) if order[number : number + 1] != [number]) + max(
        0, len(order) - messages
    )
    report.bound("messages not heard once and in their place", wrong, 0, "", n=messages)


async def _tell(server: Server, messages: int, seconds: float) -> None:
    for number in range(messages):
        server.tell(line(tone(number), f"tone-{number}"))
        await asyncio.sleep(0.9 * seconds / messages)


def _clock_ms(reader: Reader) -> float:
    """How far the stream's media time is behind the clock, at its most punctual picture."""
    return min(packet.at_s * 1000 - packet.time_ms for packet in reader.of("video"))


def _recorded(folder: Path) -> list[int]:
    """The tones in the recording, which hears what no server heard."""
    numbers: list[int] = []
    for file in sorted(folder.glob("*.mp4"), key=lambda each: each.stat().st_mtime):
        numbers += heard(Reader(str(file), decode=True, pictures=False).start().finished().sound()[1])
    return numbers


if __name__ == "__main__":
    sys.exit(run(main))
