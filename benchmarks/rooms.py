"""How many LiveKit rooms one worker holds on this machine, what one costs, and what is left when people have gone.

The real `mien agent` and a LiveKit server; people with livekit's own client in a third process.

1. *rooms*: one room after the other, all avatars telling stories, until it is full: as in sessions.py. Then each
   person asks something of their own, and nobody may get another's answer, or anything of another's avatar.
2. *joins*: people come and leave, one after the other; memory, threads, file descriptors and asyncio's tasks of the
   worker must be flat. Python's cycles are collected before each look: what counts is what no collector gives back.

Each part has a summary of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.children import run
from benchmarks.livekit import READY, WORKER
from benchmarks.measure import NotMeasured
from benchmarks.report import Report, arguments
from benchmarks.servers import Server, serving
from benchmarks.sessions import ASK, COSTS, _line, full, measured
from tests.livekit.server import LiveKitServer, livekit_server

MOST, SETTLE_S, WINDOW_S = 24, 6.0, 30.0
JOINS, WARM_UP = 200, 40
"""The first conversations fill the allocator's heaps: memory is flat from then on."""
SAMPLE_EVERY = 10
LOOKS = 5
"""The median of so many of the first is compared with that of the last."""
GROWTH_MIB = 20.0
GROWTH = {"threads": 3, "files": 5, "tasks": 3}
REST_S = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def rooms(report: Report, livekit: LiveKitServer, most: int, window_s: float) -> None:
    rows: list[dict[str, Any]] = []
    reason = f"stopped at {most}, where it was not full"
    port = free_port()
    environment = livekit.environment | WORKER
    worker_environment = environment | {"MIEN_MAX_SESSIONS": str(most), "MIEN_AGENT_METRICS_PORT": str(port)}
    async with (
        aiohttp.ClientSession() as http,
        serving("agent.cli", "agent", "dev", environment=worker_environment, ready=READY) as worker,
        serving("benchmarks.livekit_visitors", environment=environment, ready="(ready)") as visitors,
    ):
        worker.url = f"http://127.0.0.1:{port}/"
        for count in range(1, most + 1):
            visitors.tell("join 1")
            await visitors.event("joined", 0.0, 60, clients=count)
            visitors.tell(f"ask {ASK}")
            await asyncio.sleep(SETTLE_S)
            rows.append(await measured(worker, visitors, http, window_s))
            print(_line(rows[-1]), flush=True)
            if (too_many := full(rows[-1])) is not None:
                reason = f"{count} are too many: {too_many}"
                break
        asked = time.monotonic()
        visitors.tell("sums")
        crossed = await visitors.event("sums", asked, 60)
        visitors.tell("stop")
        await asyncio.sleep(2)
    report.samples("windows", rows)
    held = [row for row in rows if full(row) is None]
    report.facts |= {"held": len(held), "why_not_more": reason, "window_s": window_s, "size_px": 512}
    report.facts["per_room"] = {row["sessions"]: {key: row[key] for key in COSTS} for row in rows}
    report.facts["cross_over"] = {key: crossed[key] for key in ("right", "foreign", "several", "shared")}
    if not held:
        raise NotMeasured(f"not even one room was held: {reason}")
    wrong = crossed["foreign"] + crossed["several"] + crossed["shared"]
    report.bound("rooms that got another's answer or avatar", wrong, 0, "rooms", n=len(rows))
    report.bound("rooms without their own answer", len(rows) - crossed["right"], 0, "rooms", n=len(rows))


def held_by(pid: int) -> dict[str, float]:
    process = Path(f"/proc/{pid}")
    return {
        "memory_mib": round(int((process / "statm").read_text().split()[1]) * _PAGE / 2**20, 1),
        "threads": len(list((process / "task").iterdir())),
        "files": len(list((process / "fd").iterdir())),
    }


async def joins(report: Report, livekit: LiveKitServer, count: int, warm_up: int) -> None:
    rows: list[dict[str, float]] = []
    # An avatar waits two seconds for a person who went: some are on their way out while the next one comes.
    environment = livekit.environment | WORKER | {"MIEN_MAX_SESSIONS": "16"}
    async with (
        serving("benchmarks.rooms_worker", environment=environment, ready=READY) as worker,
        serving("benchmarks.livekit_visitors", environment=environment, ready="(ready)") as visitors,
    ):
        for done in range(0, warm_up + count, SAMPLE_EVERY):
            await _come_and_go(visitors, SAMPLE_EVERY)
            await asyncio.sleep(REST_S)  # an avatar leaves two seconds after its person
            uncollected = held_by(worker.pid)["memory_mib"]
            asked = time.monotonic()
            worker.tell("collect")
            collected = await worker.event("collected", asked, 30)
            here = {**held_by(worker.pid), "tasks": collected["tasks"], "uncollected_mib": uncollected}
            rows.append({"joins": done + SAMPLE_EVERY, **here})
            print(rows[-1], flush=True)
        visitors.tell("stop")
    report.samples("joins", rows)
    settled = [row for row in rows if row["joins"] > warm_up] or rows
    first, last = (
        {name: statistics.median(row[name] for row in some) for name in ("memory_mib", *GROWTH)}
        for some in (settled[:LOOKS], settled[-LOOKS:])
    )
    growth = {name: round(last[name] - first[name], 1) for name in last}
    report.facts["joins"] = {"first": first, "last": last, "growth": growth, "looks": LOOKS}
    report.bound(f"memory, after {count} joins", growth["memory_mib"], GROWTH_MIB, "MiB", n=count, stated_n=JOINS)
    for name, most in GROWTH.items():
        report.bound(f"{name}, after {count} joins", growth[name], most, name, n=count, stated_n=JOINS)


async def _come_and_go(visitors: Server, count: int) -> None:
    asked = time.monotonic()
    visitors.tell(f"come-and-go {count}")
    await visitors.event("went", asked, 60.0 * count, count=count)


async def main() -> int:
    parser = arguments("rooms", (__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=int, help=f"stop at this many rooms ({MOST})")
    parser.add_argument("--part", choices=("rooms", "joins"), action="append", help="only this part (both)")
    chosen = parser.parse_args()
    quick, missed = chosen.quick, 0
    parts = {
        "rooms": lambda report, livekit: rooms(
            report, livekit, chosen.most or (2 if quick else MOST), 8.0 if quick else WINDOW_S
        ),
        "joins": lambda report, livekit: joins(report, livekit, *((10, 10) if quick else (JOINS, WARM_UP))),
    }
    with tempfile.TemporaryDirectory(prefix="mien-rooms-") as folder, livekit_server(Path(folder)) as livekit:
        for name, part in parts.items():
            if name in (chosen.part or parts):
                report = Report(f"rooms.{name}", quick, chosen.out)
                with report.attempt(name):
                    await part(report, livekit)
                missed |= report.finish()
    return missed


if __name__ == "__main__":
    sys.exit(run(main))
