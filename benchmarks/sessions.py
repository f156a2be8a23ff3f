"""How many talking conversations this machine holds, and what one costs.

The real `mien talk` in a child process; visitors that do not decode in another (rtpclient.py). One conversation after
the other joins, all of them telling long stories at the same time, each with an open microphone. It is full when, over
a window, more than 1% of the ticks are more than 20 ms late, or more than 0.1% of the pictures miss their tick, or a
visitor gets fewer than 24.5 pictures a second. What the server's process uses, what its children (voice, recognizer)
use and what the visitors use are told apart, by the kernel's own count.

A shared machine's speed changes from one half minute to the next: there are several windows for each number of
conversations, of which the middle one is what it costs, and before each a fixed piece of work tells how fast the
machine is just then.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.children import run
from benchmarks.measure import NotMeasured, share_above
from benchmarks.report import Report, arguments
from benchmarks.servers import Server, serving

MOST, SETTLE_S, WINDOW_S, WINDOWS = 24, 6.0, 30.0, 3
LATE_TICK_S, LATE_TICKS, LATE_PICTURES, PICTURES_PER_S = 0.02, 0.01, 0.001, 24.5
CORES_A_SESSION = 0.3
COSTS = ("server_cores", "cores_a_session", "event_loop_cores", "children_cores", "visitors_cores")
ASK = "Tell me another story."
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of one process, all its threads, without its children."""
    return _used_s(Path(f"/proc/{pid}/stat"))


def loop_cpu_s(pid: int) -> float:
    """The same of its main thread alone, which runs the event loop: what it needs of one core limits everything."""
    return _used_s(Path(f"/proc/{pid}/task/{pid}/stat"))


def _used_s(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def switches(pid: int) -> int:
    """How often its threads gave up a core or lost it."""
    statuses = [status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")]
    lines = [line.split() for status in statuses for line in status.splitlines()]
    return sum(int(words[1]) for words in lines if words[0].endswith("ctxt_switches:"))


def fixed_work_ms() -> float:
    """Processor time of the same work each time: how fast the machine is now."""
    began_s = time.thread_time()
    sum(number * number for number in range(500_000))
    return (time.thread_time() - began_s) * 1000


def children_cpu_s(pid: int) -> float:
    """The same of the children that it has now."""
    lists = [tasks.read_text() for tasks in Path(f"/proc/{pid}/task").glob("*/children")]
    return sum(cpu_s(int(child)) for children in lists for child in children.split())


@dataclass(frozen=True)
class Window:
    """What is read at the start and at the end of a window; ``since`` gives the difference."""

    at: float
    server_s: float
    loop_s: float
    children_s: float
    switches: int
    metrics: dict[tuple[str, str], float]

    @classmethod
    async def read(cls, server: Server, http: aiohttp.ClientSession) -> Window:
        async with http.get(f"{server.url}metrics") as response:
            text = await response.text()
        samples = {
            (sample.name, sample.labels.get("le", sample.labels.get("kind", ""))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        pid = server.pid
        return cls(time.monotonic(), cpu_s(pid), loop_cpu_s(pid), children_cpu_s(pid), switches(pid), samples)

    def since(self, before: Window, name: str) -> dict[str, float]:
        """By label, how much a metric grew."""
        return {
            label: value - before.metrics.get((metric, label), 0.0)
            for (metric, label), value in self.metrics.items()
            if metric == name
        }


async def measured(server: Server, visitors: Server, http: aiohttp.ClientSession, window_s: float) -> dict[str, Any]:
    """One window with as many conversations as there are now."""
    work_ms = fixed_work_ms()
    before = await Window.read(server, http)
    await asyncio.sleep(window_s)
    after = await Window.read(server, http)
    seconds = after.at - before.at
    lateness = after.since(before, "mien_tick_lateness_seconds_bucket")
    buckets = sorted((float(bound), count) for bound, count in lateness.items())
    pictures = after.since(before, "mien_pictures_total")
    late_pictures = after.since(before, "mien_pictures_late_total")[""]
    reports = visitors.seen("clients", before.at, after.at)
    if len(reports) < 2:
        raise NotMeasured("the visitors did not report")
    first, last = reports[0], reports[-1]
    span = last["at"] - first["at"]
    received = [
        {
            "pictures_per_s": round((new["video"][2] - old["video"][2]) / span, 2),
            "packets_lost": new["video"][1] - old["video"][1] + new["audio"][1] - old["audio"][1],
            "sound_per_s": round((new["audio"][0] - old["audio"][0]) / span, 2),
            "sound_late_ms": max(report["clients"][number]["audio"][3] for report in reports),
            "speaking": round(sum(report["clients"][number]["speaking"] for report in reports) / len(reports), 2),
        }
        for number, (old, new) in enumerate(zip(first["clients"], last["clients"], strict=True))
    ]
    sessions = len(received)
    server_cores = (after.server_s - before.server_s) / seconds
    return {
        "sessions": sessions,
        "server_cores": round(server_cores, 3),
        "cores_a_session": round(server_cores / sessions, 3),
        "event_loop_cores": round((after.loop_s - before.loop_s) / seconds, 3),
        "children_cores": round((after.children_s - before.children_s) / seconds, 3),
        "visitors_cores": round((last["cpu_s"] - first["cpu_s"]) / span, 3),
        "switches_per_s": round((after.switches - before.switches) / seconds),
        "fixed_work_ms": round(work_ms, 1),
        "ticks": buckets[-1][1],
        "ticks_late": round(share_above(buckets, LATE_TICK_S), 5),
        "pictures": pictures,
        "pictures_late": round(late_pictures / max(1.0, sum(pictures.values())), 5),
        "received": received,
    }


def together(windows: list[dict[str, Any]]) -> dict[str, Any]:
    """What so many conversations cost, the middle of the windows, and what came late in all of them."""
    middle = {key: round(statistics.median(window[key] for window in windows), 3) for key in COSTS}
    ticks = sum(window["ticks"] for window in windows)
    pictures = [sum(window["pictures"].values()) for window in windows]
    return middle | {
        "sessions": windows[0]["sessions"],
        "ticks_late": sum(window["ticks_late"] * window["ticks"] for window in windows) / max(1.0, ticks),
        "pictures_late": sum(window["pictures_late"] * count for window, count in zip(windows, pictures, strict=True))
        / max(1.0, sum(pictures)),
        "received": [visitor for window in windows for visitor in window["received"]],
    }


def full(row: dict[str, Any]) -> str | None:
    """Why these were too many; None: they were held."""
    if row["ticks_late"] > LATE_TICKS:
        return f"{row['ticks_late']:.1%} of the ticks were more than {LATE_TICK_S * 1000:.0f} ms late"
    if row["pictures_late"] > LATE_PICTURES:
        return f"{row['pictures_late']:.2%} of the pictures missed their tick"
    slowest = min(visitor["pictures_per_s"] for visitor in row["received"])
    return f"a visitor got {slowest:g} pictures a second" if slowest < PICTURES_PER_S else None


async def main() -> int:
    parser = arguments("sessions", (__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=int, help=f"stop at this many conversations ({MOST})")
    chosen = parser.parse_args()
    report = Report("sessions", chosen.quick, chosen.out)
    with report.attempt("sessions"):
        most = chosen.most or (2 if chosen.quick else MOST)
        await climb(report, most, 8.0 if chosen.quick else WINDOW_S, 1 if chosen.quick else WINDOWS)
    return report.finish()


async def climb(report: Report, most: int, window_s: float, windows: int) -> None:
    samples: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    reason = f"stopped at {most}, where it was not full"
    environment = {"MIEN_MAX_SESSIONS": str(most)}
    async with (
        aiohttp.ClientSession() as http,
        serving("agent.cli", "talk", "--no-open", environment=environment) as server,
        serving("benchmarks.rtpclient", server.url, ready="(ready)") as visitors,
    ):
        for count in range(1, most + 1):
            visitors.tell("join 1")
            await visitors.event("joined", 0.0, 30, clients=count)
            visitors.tell(f"ask {ASK}")
            await asyncio.sleep(SETTLE_S)
            for _ in range(windows):
                samples.append(await measured(server, visitors, http, window_s))
                print(_line(samples[-1]), flush=True)
            row = together(samples[-windows:])
            if (too_many := full(row)) is not None:
                reason = f"{count} are too many: {too_many}"
                break
            held.append(row)
        visitors.tell("stop")
        await asyncio.sleep(1)
    report.samples("windows", samples)
    report.facts |= {
        "held": len(held),
        "why_not_more": reason,
        "window_s": window_s,
        "windows": windows,
        "size_px": 512,
    }
    report.facts["per_session"] = {row["sessions"]: {key: row[key] for key in COSTS} for row in held}
    if not held:
        raise NotMeasured(f"not even one conversation was held: {reason}")
    dearest = max(row["cores_a_session"] for row in held)
    label = "cores a session of the server's process, the middle window, at any number that was held"
    report.bound(label, dearest, CORES_A_SESSION, "cores", n=len(held) * windows)


def _line(row: dict[str, Any]) -> str:
    slowest = min(visitor["pictures_per_s"] for visitor in row["received"])
    speaking = sum(visitor["speaking"] for visitor in row["received"]) / row["sessions"]
    return (
        f"{row['sessions']:>3} sessions: {row['server_cores']:.2f} cores ({row['cores_a_session']:.3f} each, "
        f"event loop {row['event_loop_cores']:.2f}), children {row['children_cores']:.2f}, "
        f"visitors {row['visitors_cores']:.2f}, switches {row['switches_per_s']}/s; "
        f"ticks late {row['ticks_late']:.2%}, "
        f"pictures late {row['pictures_late']:.3%}, slowest {slowest:.1f}/s, speaking {speaking:.0%}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
