"""A stream for an hour: does memory grow, and do sound and picture drift apart?

Two children at one nginx-rtmp: the real `mien stream` with the puppet, which says something every few seconds, whose
memory is read; and the same program with flashing pictures (streamchild.py), whose sound is measured against them.
Every few minutes the server is killed and started again, since what leaks in a connection shows only then.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import aiohttp

from benchmarks.children import run
from benchmarks.flash import utterance
from benchmarks.measure import NotMeasured, slope_with_interval
from benchmarks.report import Report, arguments
from benchmarks.rtmpreader import Reader, flash_offsets_ms
from benchmarks.rtmpserver import RtmpServer, rtmp_server
from benchmarks.servers import Server, serving
from benchmarks.stream import TEXTS, health, ready
from benchmarks.streamtones import line

MINUTES, QUICK_MINUTES = 60.0, 2.0
SETTLE_S, QUICK_SETTLE_S = 300.0, 20.0
SAMPLE_S = 2.0
SAY_S = 7.0
RESTART_S, QUICK_RESTART_S = 300.0, 45.0
FLASH_S = 5.0
MB_AN_HOUR, DRIFT_MS_A_MINUTE = 10.0, 1.0


async def main() -> int:
    parser = arguments("stream_soak", (__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, help=f"how long ({MINUTES:.0f})")
    chosen = parser.parse_args()
    report, quick = Report("stream_soak", chosen.quick, chosen.out), chosen.quick
    minutes = chosen.minutes or (QUICK_MINUTES if quick else MINUTES)
    with report.attempt("soak"):
        settle_s, restart_s = (QUICK_SETTLE_S, QUICK_RESTART_S) if quick else (SETTLE_S, RESTART_S)
        await soak(report, minutes * 60, settle_s, restart_s)
    return report.finish()


async def soak(report: Report, seconds: float, settle_s: float, restart_s: float) -> None:
    flashes: list[tuple[float, float]] = []
    memory: list[tuple[float, float]] = []
    with rtmp_server() as rtmp:
        command = ("agent.cli", "stream", "--rtmp", rtmp.url("puppet"), "--port", "0", "--captions")
        environment = {"RTMP_URL": rtmp.url("flash"), "RTMP_RESOLUTION": "512x512", "RTMP_BITRATE": "600"}
        async with (
            aiohttp.ClientSession() as http,
            serving(*command) as puppet,
            serving("benchmarks.streamchild", environment=environment | {"MIEN_SIZE_PX": "512"}) as flashing,
        ):
            await ready(http, puppet)
            await ready(http, flashing)
            began = time.monotonic()
            speaking = [
                asyncio.create_task(_say(puppet)),
                asyncio.create_task(_flash(flashing)),
                asyncio.create_task(_restart(rtmp, restart_s)),
            ]
            try:
                reading = asyncio.create_task(_read(rtmp, began, seconds, flashes))
                while time.monotonic() - began < seconds:
                    await asyncio.sleep(SAMPLE_S)
                    at_s = time.monotonic() - began
                    if at_s > settle_s:
                        memory.append((at_s / 3600, private_mb(puppet.pid)))
                await reading
                told = await health(http, puppet)
            finally:
                for task in speaking:
                    task.cancel()
                await asyncio.gather(*speaking, return_exceptions=True)
    report.facts |= {"told": told, "seconds": seconds, "restart_s": restart_s}
    report.samples("memory", [{"h": round(h, 5), "mb": round(mb, 2)} for h, mb in memory])
    report.samples("flashes", [{"min": round(at, 3), "sound_after_picture_ms": round(ms, 2)} for at, ms in flashes])
    report.numbers("sound after picture", [ms for _, ms in flashes], "ms")
    growth = slope_with_interval(*zip(*memory, strict=True))
    report.facts["memory_mb_an_hour"] = {"slope": growth.slope, "low": growth.low, "high": growth.high}
    report.bound("memory, growth by a straight line", growth.slope, MB_AN_HOUR, "MB/h", n=growth.n)
    if len(flashes) < 10:
        raise NotMeasured(f"only {len(flashes)} flashes were read back")
    drift = slope_with_interval(*zip(*flashes, strict=True))
    report.bound("drift of sound against picture", abs(drift.slope), DRIFT_MS_A_MINUTE, "ms/min", n=drift.n)
    failed = told["queue"]["settled"]["failed"]
    report.bound("messages that failed", failed, 0, "", n=told["queue"]["settled"]["played"])


async def _say(server: Server) -> None:
    number = 0
    while True:
        server.tell(TEXTS[number % len(TEXTS)])
        number += 1
        await asyncio.sleep(SAY_S)


async def _flash(server: Server) -> None:
    number = 0
    while True:
        server.tell(line(utterance(), f"flash-{number}"))
        number += 1
        await asyncio.sleep(FLASH_S)


async def _restart(rtmp: RtmpServer, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        rtmp.kill()
        await asyncio.sleep(2)
        await asyncio.to_thread(rtmp.start)


async def _read(rtmp: RtmpServer, began: float, seconds: float, flashes: list[tuple[float, float]]) -> None:
    """A client that comes for a minute, is judged, and comes again."""
    while (left_s := seconds - (time.monotonic() - began)) > 15:
        reader = Reader(rtmp.url("flash"), decode=True).start()
        await asyncio.sleep(min(60.0, left_s))
        await asyncio.to_thread(reader.stop)
        at_min = (time.monotonic() - began) / 60
        if len(reader.luma) > 50 and max(luma for _, luma in reader.luma) > 100:
            flashes += [(at_min, each) for each in flash_offsets_ms(reader)]


def private_mb(pid: int) -> float:
    """What the process alone holds (shared libraries do not count)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = (each.split() for each in rollup.splitlines()[1:])
    kb = sum(int(field[1]) for field in fields if field[0] in ("Private_Clean:", "Private_Dirty:"))
    return kb / 1024


if __name__ == "__main__":
    sys.exit(run(main))
