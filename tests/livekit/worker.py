"""`mien agent` as its users start it: a process of its own, its health, and its end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.livekit.server import ROOT, LiveKitServer, environment

START_S = 90
"""Generous: the machine may be busy."""
PERSONA = ROOT / "tests/livekit/persona"
MIEN: Sequence[str] = ("-m", "agent.cli", "agent", "start")


@dataclass(frozen=True)
class Worker:
    name: str
    """The agent's, by which rooms call for it."""
    process: subprocess.Popen[str]
    port: int
    metrics_port: int
    log: Path

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/worker", timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def conversations(self) -> int:
        return int(self.health().get("active_jobs", 0))

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())


@contextmanager
def working(
    server: LiveKitServer, folder: Path, name: str, *, program: Sequence[str] = MIEN, **more: str
) -> Iterator[Worker]:
    """A worker that is registered. What it logs is in `Worker.log`."""
    port, metrics_port = _free(), _free()
    own = {
        "PYTHONPATH": str(ROOT),
        "MIEN_AGENT_NAME": name,
        "MIEN_AGENT_PORT": str(port),
        "MIEN_AGENT_METRICS_PORT": str(metrics_port),
        "MIEN_AVATAR_PORT": str(port),
        "MIEN_AVATAR_METRICS_PORT": str(metrics_port),
        "MIEN_MAX_SESSIONS": "8",
        # What else this machine does must not decide whether a room is taken.
        "MIEN_ADMISSION": "stated",
        "STT_PROVIDER": "pocketsphinx",
        "MIEN_PERSONA": str(PERSONA),
    }
    log = folder / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            env=environment(**server.environment, **(own | more)),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        give_up = threading.Timer(START_S, process.kill)
        give_up.start()
        line = process.stdout.readline()
        give_up.cancel()
        assert f"call {name!r}" in line, f"{line!r}: {log.read_text()[-3000:]}"
        yield Worker(name, process, port, metrics_port, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
