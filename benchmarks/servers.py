"""Servers under measurement, as child processes: the real `mien talk`, and the same with an observer (probe.py).

In: settings by environment variable. Out: the address, and the observer's events as they come. All on loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.children import tied
from benchmarks.measure import NotMeasured
from benchmarks.report import ROOT

START_S = 60.0
STOP_S = 10.0
LOOPBACK = {"MIEN_HOST": "127.0.0.1", "MIEN_PORT": "0", "MIEN_ICE_ADDRESSES": "127.0.0.1"}


@dataclass
class Server:
    """A running child.

    Args:
        events: what its observer saw, oldest first: JSON objects with ``e`` (what) and ``at`` (its monotonic clock,
            which is the same as ours).
    """

    url: str
    pid: int
    stdin: asyncio.StreamWriter
    events: list[dict[str, Any]] = field(default_factory=list)

    def seen(self, what: str, start: float = float("-inf"), end: float = float("inf")) -> list[dict[str, Any]]:
        """The events of one kind between two times."""
        return [event for event in self.events if event["e"] == what and start <= event["at"] < end]

    async def event(self, what: str, after: float, timeout_s: float, **detail: Any) -> dict[str, Any]:
        """The next event of this kind with these values.

        Raises:
            NotMeasured: none came in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.seen(what, after):
                if all(event[name] == value for name, value in detail.items()):
                    return event
            await asyncio.sleep(0.05)
        raise NotMeasured(f"the server saw no {what!r} {detail or ''} within {timeout_s:.0f} s")

    def tell(self, line: str) -> None:
        """A line on its standard input."""
        self.stdin.write(f"{line}\n".encode())


@asynccontextmanager
async def serving(
    module: str, *options: str, environment: Mapping[str, str] | None = None, ready: str = r"(https?://\S+)"
) -> AsyncIterator[Server]:
    """Run ``python -m module`` until the block ends. It prints its address, then perhaps events as JSON lines.

    What it logs goes to a file in the temporary folder, which is named when something goes wrong.

    Raises:
        RuntimeError: it did not come up, or it ended with an error.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MIEN_", "OPENAI_"))}
    pipe = asyncio.subprocess.PIPE
    with tempfile.NamedTemporaryFile(prefix=f"{module}-", suffix=".log", delete=False) as log:
        child = await asyncio.create_subprocess_exec(
            *tied(sys.executable, "-m", module, *options), cwd=ROOT, env=clean | LOOPBACK | dict(environment or {}),
            stdin=pipe, stdout=pipe, stderr=log, limit=1 << 20,
            # Ctrl-C is for the benchmark, which then ends its children in order; when it cannot, they are killed.
            process_group=0,
        )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    server = Server("", child.pid, child.stdin)
    try:
        async with asyncio.timeout(START_S):
            while not server.url:
                line = await child.stdout.readline()
                if not line:
                    status = await child.wait()
                    raise RuntimeError(f"{module} ended before it served, with status {status}: see {log.name}")
                found = re.search(ready, line.decode())
                server.url = found[1] if found else ""
        reading = asyncio.create_task(_read(child.stdout, server.events))
        try:
            yield server
        finally:
            await _stop(child, log.name)
            await reading
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _read(stream: asyncio.StreamReader, events: list[dict[str, Any]]) -> None:
    while line := await stream.readline():
        if line.startswith(b"{"):
            events.append(json.loads(line))


async def _stop(child: asyncio.subprocess.Process, log: str) -> None:
    if child.returncode is None:
        child.send_signal(signal.SIGINT)
    async with asyncio.timeout(STOP_S):
        status = await child.wait()
    if status not in (0, -signal.SIGINT):
        raise RuntimeError(f"a child of the benchmark ended with status {status}: see {log}")
