"""A stream on air: how soon a message is heard, what it costs, and what reaches the server through restarts.

The real `mien stream` in a child process, at a real nginx-rtmp on loopback, read back by FFmpeg. Messages are texts
spoken by espeak (latency, cost), or flashes with beeps. The run through restarts is streamrun.py's. Each part has a
summary of its own.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from benchmarks.children import run
from benchmarks.flash import utterance
from benchmarks.measure import NotMeasured, share_above
from benchmarks.onair import health, published, ready, said
from benchmarks.report import Report, arguments
from benchmarks.rtmpreader import Reader, flash_offsets_ms
from benchmarks.rtmpserver import rtmp_server
from benchmarks.servers import serving
from benchmarks.sessions import LATE_PICTURES, LATE_TICK_S, LATE_TICKS, Window
from benchmarks.streamrun import MESSAGES as RUN_MESSAGES
from benchmarks.streamrun import QUICK_MESSAGES as QUICK_RUN_MESSAGES
from benchmarks.streamrun import QUICK_RESTARTS, QUICK_RUN_S, RESTARTS, RUN_S, long_run
from benchmarks.streamtones import line

MESSAGES, QUICK_MESSAGES = 60, 5
WINDOW_S, QUICK_WINDOW_S = 60.0, 12.0
FLASHES, QUICK_FLASHES = 60, 6

ON_AIR_MS, FIRST_MS, OFFSET_MS = 2000.0, 1000.0, 40.0
CORES = 2 * 0.6
"""At 25 pictures a second: two cores, of which 40% are to spare."""
LOUD = 0.02
TEXTS = ("Good evening.", "This comes in just now.", "Here is the next question.", "Thank you for watching tonight.")


async def main() -> int:
    parser = arguments("stream", (__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("latency", "cost", "sync", "run"), action="append", help="only this one")
    parser.add_argument("--seconds", type=float, help=f"length of the run ({RUN_S:.0f})")
    parser.add_argument("--messages", type=int, help=f"how many it is told in the run ({RUN_MESSAGES})")
    parser.add_argument("--restarts", type=int, help=f"of each server in the run ({RESTARTS})")
    chosen = parser.parse_args()
    quick, missed = chosen.quick, 0
    seconds = chosen.seconds or (QUICK_RUN_S if quick else RUN_S)
    messages = chosen.messages or (QUICK_RUN_MESSAGES if quick else RUN_MESSAGES)
    restarts = chosen.restarts or (QUICK_RESTARTS if quick else RESTARTS)
    parts: dict[str, Callable[[Report], Awaitable[None]]] = {
        "latency": lambda report: latency(report, QUICK_MESSAGES if quick else MESSAGES),
        "cost": lambda report: costs(report, QUICK_WINDOW_S if quick else WINDOW_S),
        "sync": lambda report: sync(report, QUICK_FLASHES if quick else FLASHES),
        "run": lambda report: long_run(report, seconds, messages, restarts),
    }
    for name, part in parts.items():
        if name in (chosen.part or parts):
            report = Report(f"stream.{name}", quick, chosen.out)
            with report.attempt(name):
                await part(report)
            missed |= report.finish()
    return missed


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
            on_air_ms = await published(rtmp, "a", began, 20)
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


async def costs(report: Report, window_s: float) -> None:
    for fps in (25, 30):
        await cost(report, fps, window_s)


async def cost(report: Report, fps: int, window_s: float) -> None:
    """720p with the puppet, speaking all the time: what it needs of the CPU, and whether it keeps up."""
    with rtmp_server() as rtmp:
        environment = {"RTMP_FPS": str(fps)}
        command = ("agent.cli", "stream", "--rtmp", rtmp.url("a"), "--port", "0")
        async with aiohttp.ClientSession() as http, serving(*command, environment=environment) as server:
            await ready(http, server)
            server.tell(" ".join(f"Sentence number {number} of a story told without a pause." for number in range(60)))
            reader = Reader(rtmp.url("a")).start()
            await asyncio.to_thread(reader.until, 50, 20)
            await asyncio.sleep(3)
            received_before = len(reader.of("video"))
            then, before = await health(http, server), await Window.read(server, http)
            await asyncio.sleep(window_s)
            received = len(reader.of("video")) - received_before
            now, after = await health(http, server), await Window.read(server, http)
            await asyncio.to_thread(reader.stop)
    seconds = after.at - before.at
    own, children = (after.server_s - before.server_s) / seconds, (after.children_s - before.children_s) / seconds
    lateness = after.since(before, "mien_tick_lateness_seconds_bucket")
    buckets = sorted((float(bound), count) for bound, count in lateness.items())
    pictures = after.since(before, "mien_pictures_total")
    late = after.since(before, "mien_pictures_late_total")[""]
    left_out = sum(now["stream"][name] - then["stream"][name] for name in ("pictures_dropped", "ticks_dropped"))
    ticks = now["stream"]["ticks"] - then["stream"]["ticks"]
    report.facts[f"cost_{fps}"] = {
        "seconds": round(seconds, 1),
        "cores": round(own, 3),
        "children_cores": round(children, 3),
        "share_of_two_cores": round((own + children) / 2, 3),
        "pictures_per_s": round(received / seconds, 2),
        "pictures_shown": pictures,
        "stream": now["stream"],
        "state": now["state"],
    }
    if (then["state"], now["state"]) != ("talking", "talking"):
        raise NotMeasured("it had fallen silent before the end")
    label = f"720p{fps}, speaking"
    if fps == 25:
        report.bound(f"{label}: cores, of two", own + children, CORES, "cores", n=1)
    else:
        report.numbers(f"{label}: cores, of two", [own + children], "cores")
    report.bound(f"{label}: share of pictures missing", max(0.0, 1 - received / seconds / fps), 0.01, "", n=received)
    report.bound(f"{label}: left out by composing and encoding", left_out, 0, "", n=ticks)
    report.bound(f"{label}: share of ticks over 20 ms late", share_above(buckets, LATE_TICK_S), LATE_TICKS, "", n=ticks)
    drawn = max(1, int(sum(pictures.values())))
    report.bound(f"{label}: share of pictures late", late / drawn, LATE_PICTURES, "", n=drawn)


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


if __name__ == "__main__":
    sys.exit(run(main))
