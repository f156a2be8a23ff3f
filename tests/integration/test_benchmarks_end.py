"""A benchmark that is killed leaves nothing running: no server, no voice, no recognizer, no browser."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
START_S, GONE_S = 60.0, 20.0
BENCHMARK = """
import asyncio, sys
from benchmarks.children import run
from benchmarks.chromium import conversation
from benchmarks.servers import serving

async def main():
    async with serving("benchmarks.probe") as server, conversation(server.url):
        print("measuring", flush=True)
        await asyncio.sleep(120)
    return 0

sys.exit(run(main))
"""
"""As bargein and turn are made: the observed server and a real browser that talks to it."""

Process = tuple[int, int]
"""Number and start time: numbers are given out again."""


def started(pid: int) -> int | None:
    """When a process that lives was started, in the kernel's ticks; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def descendants(pid: int) -> dict[Process, str]:
    """All that live below a process, with their command lines."""
    found: dict[Process, str] = {}
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            at = started(child)
            if at is not None:
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                found[child, at] = b" ".join(words).decode()[:120]
                found |= descendants(child)
    return found


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C", "SIGKILL"])
async def test_no_child_outlives_a_benchmark(how: str) -> None:
    benchmark = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BENCHMARK, cwd=ROOT, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    children: dict[Process, str] = {}
    try:
        assert benchmark.stdout is not None
        async with asyncio.timeout(START_S):
            assert await benchmark.stdout.readline() == b"measuring\n"
        children = descendants(benchmark.pid)
        for part in ("benchmarks.probe", "espeak_worker", "sphinx_worker", "--type=renderer"):
            assert any(part in command for command in children.values()), f"no {part} to be left: {children}"
        match how:
            case "SIGTERM":
                benchmark.terminate()
            case "Ctrl-C":
                os.killpg(benchmark.pid, signal.SIGINT)  # a terminal tells the whole group
            case "SIGKILL":
                benchmark.kill()
        end = time.monotonic() + GONE_S
        while left := [command for (pid, at), command in children.items() if started(pid) == at]:
            assert time.monotonic() < end, f"still there: {left}"
            await asyncio.sleep(0.1)
        status = await benchmark.wait()
        assert status == {"SIGTERM": 128 + 15, "Ctrl-C": 128 + 2, "SIGKILL": -9}[how]
    finally:
        for pid in [benchmark.pid, *(pid for pid, at in children if started(pid) == at)]:
            if started(pid) is not None:
                os.kill(pid, signal.SIGKILL)
        await benchmark.wait()
