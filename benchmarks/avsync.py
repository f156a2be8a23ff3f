"""Whether sound and picture belong together where they are played: flashes and beeps in a real Chromium.

A real playout and embedded room in a process of their own, the real page in Chromium. Every two seconds an utterance
whose beep has its flash in the same tick. For each, when the browser shows the first white picture and when the beep's
first sample is heard; offset = sound - picture, positive when the sound is late. In the middle of the same run a
control: utterances whose flash comes 80 ms early, which must show as 80 ms more than the flashes beside them have.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

from benchmarks.children import run
from benchmarks.chromium import Visit, conversation
from benchmarks.flash import CONTROL_MS, SIZE_PX
from benchmarks.flashing import COUNTED
from benchmarks.measure import NotMeasured, onsets, pairs, percentile, recovered, slope_with_interval
from benchmarks.recording import EAR_BLOCK_S
from benchmarks.report import Report, arguments
from benchmarks.servers import Server, serving

FLASHES, CONTROLS, EVERY_S = 300, 30, 2.0
OFFSET_MS, DRIFT_MS_PER_MIN, RECOVERED_MS = 40.0, 1.0, 10.0
LOUD = 0.1
QUIET_S = 0.5
WHITE = 128
REACH_S = 0.4
BEFORE_S = 2.0
BESIDE_S = 30.0
"""The control is compared with what comes this long before and after it."""
SETTLED_S = 30.0
"""A browser finds the depth of its buffers in the first seconds of a conversation. That counts in the offsets, as it is
heard and seen; it is no drift."""


async def flash(server: Server, count: int, *, control: bool) -> None:
    """Have so many utterances said."""
    for _ in range(count):
        began = time.monotonic()
        # At any phase of the clock: the rhythm of the flashes must not be that of the ticks.
        await asyncio.sleep(random.random() * 0.1)
        server.tell("early" if control else "flash")
        await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))


def offsets(visit: Visit, start: float, end: float) -> list[tuple[float, float]]:
    """(when the flash was shown, how much later its beep was heard), in seconds."""
    recording = visit.recording
    beeps = [
        recording.heard(block) for block in onsets(recording.played, threshold=LOUD, quiet=round(QUIET_S / EAR_BLOCK_S))
    ]
    white, flashes = False, []
    for shown in recording.pictures:
        if shown.luma.size:
            is_white = float(shown.luma.mean()) > WHITE
            if is_white and not white:
                flashes.append(shown.at)
            white = is_white
    inside = [at for at in flashes if start <= at < end]
    return pairs(inside, beeps, reach=REACH_S)


async def main() -> int:
    chosen = arguments("avsync", (__doc__ or "").splitlines()[0]).parse_args()
    report = Report("avsync", chosen.quick, chosen.out)
    with report.attempt("avsync"):
        await measure(report, 12 if chosen.quick else FLASHES, 6 if chosen.quick else CONTROLS)
    return report.finish()


async def measure(report: Report, count: int, controls: int) -> None:
    async with serving("benchmarks.flashing") as server, conversation(server.url) as visit:
        report.chromium = visit.chromium
        rows = await flashed(report, visit, server, count, controls)
    judge(report, rows, count)


async def flashed(report: Report, visit: Visit, server: Server, count: int, controls: int) -> list[dict[str, Any]]:
    """``{"at_s", "offset_ms", "control"}`` of each flash that was seen with its beep."""
    await visit.look_at(0, 0, SIZE_PX, SIZE_PX, 4, 4)
    await asyncio.sleep(BEFORE_S)
    start = time.monotonic()
    await flash(server, count // 2, control=False)
    control_from = time.monotonic()
    await flash(server, controls, control=True)
    control_to = time.monotonic()
    await flash(server, count - count // 2, control=False)
    end = time.monotonic()
    await asyncio.sleep(1)
    await visit.take()
    seen = offsets(visit, start, control_from) + offsets(visit, control_to, end)
    control = offsets(visit, control_from, control_to)
    statistics = await visit.statistics()
    asked = time.monotonic()
    server.tell("tell")
    counted = await server.event("playout", asked, 5)
    report.facts |= _facts(visit, counted, statistics)
    return [
        {"at_s": round(at - start, 3), "offset_ms": round(offset * 1000, 2), "control": is_control}
        for found, is_control in ((seen, False), (control, True))
        for at, offset in found
    ]


def judge(report: Report, rows: list[dict[str, Any]], count: int) -> None:
    """Samples, numbers and bounds of `flashed`."""
    report.samples("flashes", rows)
    own = [row["offset_ms"] for row in rows if not row["control"]]
    shifted = [row["offset_ms"] for row in rows if row["control"]]
    report.numbers("sound - picture", own, "ms", stated_n=FLASHES)
    report.numbers("|sound - picture|", [abs(ms) for ms in own], "ms", stated_n=FLASHES)
    first = [row["offset_ms"] for row in rows if row["at_s"] < SETTLED_S and not row["control"]]
    report.numbers(f"sound - picture, first {SETTLED_S:.0f} s", first, "ms")
    report.numbers("control: sound 80 ms late", shifted, "ms", stated_n=CONTROLS)
    if not own or not shifted:
        raise NotMeasured(f"{len(own)} flashes and {len(shifted)} of the control were seen with their beep")
    p95 = percentile([abs(ms) for ms in own], 95)
    report.bound("|sound - picture|, p95", p95, OFFSET_MS, "ms", n=len(own), stated_n=FLASHES)
    report.bound("flashes without their beep", count - len(own), count // 100, "flashes", n=count, stated_n=FLASHES)
    with report.attempt("drift"):
        _drift(report, [row for row in rows if not row["control"] and (report.quick or row["at_s"] >= SETTLED_S)])
    began_s, ended_s = (edge(row["at_s"] for row in rows if row["control"]) for edge in (min, max))
    beside = [
        row["offset_ms"]
        for row in rows
        if not row["control"]
        and (began_s - BESIDE_S <= row["at_s"] < began_s or ended_s < row["at_s"] <= ended_s + BESIDE_S)
    ]
    found, by = recovered(beside, shifted, shift=CONTROL_MS, within=RECOVERED_MS)
    report.facts["control_ms"] = {"made": CONTROL_MS, "seen": round(by, 1), "recovered": found}
    label = "control of +80 ms: distance of what was seen from it"
    report.bound(label, abs(by - CONTROL_MS), RECOVERED_MS, "ms", n=len(shifted), stated_n=CONTROLS)


def _drift(report: Report, rows: list[dict[str, Any]]) -> None:
    drift = slope_with_interval([row["at_s"] / 60 for row in rows], [row["offset_ms"] for row in rows])
    numbers = {"slope": round(drift.slope, 3), "low": round(drift.low, 3), "high": round(drift.high, 3)}
    report.facts["drift_ms_per_min"] = numbers | {"minutes": round((rows[-1]["at_s"] - rows[0]["at_s"]) / 60, 2)}
    steepest = max(abs(drift.low), abs(drift.high))
    label = "drift, the far end of its 95% interval"
    report.bound(label, steepest, DRIFT_MS_PER_MIN, "ms/min", n=drift.n, stated_n=FLASHES * 9 // 10)


def _facts(visit: Visit, counted: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
    recording = visit.recording
    presented = [shown.presented for shown in recording.pictures]
    return {
        "clock_error_ms": round(recording.clock.error * 1000, 2),
        "output_latency_ms": round(recording.output_latency_s * 1000, 1),
        "gaps_in_what_was_played": recording.gaps,
        "pictures": {"presented": presented[-1] - presented[0] + 1, "looked_at": len(presented)},
        "page": {kind: {k: v for k, v in statistics[kind].items() if k != "codec"} for kind in ("audio", "video")},
        "playout": {name: counted[name] for name in COUNTED},
    }


if __name__ == "__main__":
    sys.exit(run(main))
