"""`mien page` as its users start it: a process of its own, and its address."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.livekit.server import ROOT, LiveKitServer, environment
from tests.livekit.worker import START_S

_STOP_S = 10


@contextmanager
def page_server(server: LiveKitServer, folder: Path, agent: str) -> Iterator[str]:
    """Serving; the address. People who come to it meet this agent."""
    log = folder / f"page-of-{agent}.log"
    own = {"PYTHONPATH": str(ROOT), "MIEN_AGENT_NAME": agent, "MIEN_PORT": "0"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "page"],
            cwd=folder,
            env=environment(**server.environment, **own),
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
        assert "Mien's page is at http" in line, f"{line!r}: {log.read_text()[-3000:]}"
        yield line.split("Mien's page is at ", 1)[1].split()[0]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
