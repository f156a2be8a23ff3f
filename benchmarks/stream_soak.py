"""A stream for an hour: does memory grow, and do sound and picture drift apart?

Two children at one nginx-rtmp: the real `mien stream` with the puppet, which says something every few seconds, whose
memory is read, its voice's included; and the same program with flashing pictures (streamchild.py), whose sound is
measured against them. Every few minutes the server is killed and started again, since what leaks in a connection shows
only then. Beside them a third child leaks at a known rate: if that is not found, nothing here is believed.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp

from benchmarks.children import run
from benchmarks.flash import utterance
from benchmarks.measure import NotMeasured, slope_with_interval
from benchmarks.onair import health, ready
from benchmarks.report import Report, arguments
from benchmarks.rtmpreader import Reader, flash_offsets_ms
from benchmarks.rtmpserver import RtmpServer, rtmp_server
from benchmarks.servers import Server, serving
from benchmarks.stream import TEXTS
from benchmarks.streammemory import BIN_S, WARM_UP_S, growth, private_mb, with_children_mb
from benchmarks.streamtones import line

MINUTES, QUICK_MINUTES = 60.0, 2.0
QUICK_WARM_UP_S, QUICK_BIN_S = 20.0, 5.0
SAMPLE_S = 2.0
SAY_S = 7.0
RESTART_S, QUICK_RESTART_S = 300.0, 45.0
FLASH_S = 5.0
MB_AN_HOUR, DRIFT_MS_A_MINUTE = 10.0, 1.0
LEAK_MB_AN_HOUR, QUICK_LEAK_MB_AN_HOUR = 10.0, 600.0
"""The control's: the hour's is what the bound would just allow."""
LEAK_TOLERANCE = 0.1


async def main() -> int:
    parser = arguments("stream_soak", (__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, help=f"how long ({MINUTES:.0f})")
    chosen = parser.parse_args()
    report, quick = Report("stream_soak", chosen.quick, chosen.out), chosen.quick
    minutes = chosen.minutes or (QUICK_MINUTES if quick else MINUTES)
    with report.attempt("soak"):
        await soak(report, minutes * 60, quick=quick)
    return report.finish()


async def soak(report: Report, seconds: float, *, quick: bool) -> None:
    restart_s = QUICK_RESTART_S if quick else RESTART_S
    leak_mb_an_hour = QUICK_LEAK_MB_AN_HOUR if quick else LEAK_MB_AN_HOUR
    flashes: list[tuple[float, float]] = []
    own: list[tuple[float, float]] = []
    memory: list[tuple[float, float]] = []
    leaking: list[tuple[float, float]] = []
    with rtmp_server() as rtmp:
        command = ("agent.cli", "stream", "--rtmp", rtmp.url("puppet"), "--port", "0", "--captions")
        environment = {"RTMP_URL": rtmp.url("flash"), "RTMP_RESOLUTION": "512x512", "RTMP_BITRATE": "600"}
        async with (
            aiohttp.ClientSession() as http,
            serving(*command) as puppet,
            serving("benchmarks.streamchild", environment=environment | {"MIEN_SIZE_PX": "512"}) as flashing,
            serving("benchmarks.streamleak", str(leak_mb_an_hour), ready="(leaking)") as leak,
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
                    own.append((at_s, private_mb(puppet.pid)))
                    memory.append((at_s, with_children_mb(puppet.pid)))
                    leaking.append((at_s, private_mb(leak.pid)))
                await reading
                told = await health(http, puppet)
            finally:
                for task in speaking:
                    task.cancel()
                await asyncio.gather(*speaking, return_exceptions=True)
    report.facts |= {"told": told, "seconds": seconds, "restart_s": restart_s}
    rows = zip(own, memory, leaking, strict=True)
    report.samples(
        "memory",
        [
            {"s": round(at_s), "mb": round(mb, 2), "with_voice_mb": round(all_mb, 2), "control_mb": round(leaked, 2)}
            for (at_s, mb), (_, all_mb), (_, leaked) in rows
        ],
    )
    report.samples("flashes", [{"min": round(at, 3), "sound_after_picture_ms": round(ms, 2)} for at, ms in flashes])
    report.numbers("sound after picture", [ms for _, ms in flashes], "ms")
    warm_up_s, bin_s = (QUICK_WARM_UP_S, QUICK_BIN_S) if quick else (WARM_UP_S, BIN_S)
    found = {
        "stream": growth(own, warm_up_s=warm_up_s, bin_s=bin_s),
        "with its voice": growth(memory, warm_up_s=warm_up_s, bin_s=bin_s),
        "control": growth(leaking, warm_up_s=warm_up_s, bin_s=bin_s),
    }
    report.facts["memory"] = {
        "warm_up_s": warm_up_s,
        "control_mb_an_hour": leak_mb_an_hour,
        **{name: {"mb_an_hour": each.slope, "low": each.low, "high": each.high} for name, each in found.items()},
    }
    whole = found["with its voice"]
    report.bound(f"memory's growth after {warm_up_s:.0f} s", whole.slope, MB_AN_HOUR, "MB/h", n=whole.n)
    off = abs(found["control"].slope / leak_mb_an_hour - 1)
    report.bound("control: share of a known leak that was not found", off, LEAK_TOLERANCE, "", n=found["control"].n)
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


if __name__ == "__main__":
    sys.exit(run(main))
