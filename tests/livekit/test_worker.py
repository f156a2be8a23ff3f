"""The worker's end, its limits, and what it says when it cannot work."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import ROOT, LiveKitServer, environment
from tests.livekit.worker import Worker, working

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

PATIENCE_S = 40


async def join(server: LiveKitServer, room: str, worker: Worker) -> LiveKitPerson:
    person = LiveKitPerson()
    await person.join(server.url, server.token("ada", room, agent=worker.name))
    return person


async def ended(worker: Worker, within_s: float) -> float:
    """Wait for its end; returns how long that took, s."""
    began = time.monotonic()
    await asyncio.to_thread(worker.process.wait, within_s + 10)
    return time.monotonic() - began


async def test_sigterm_lets_a_conversation_go_on_and_then_says_goodbye(livekit: LiveKitServer, tmp_path: Path) -> None:
    with working(livekit, tmp_path, "draining", MIEN_DRAIN_S="4", MIEN_MAX_SESSIONS="1") as worker:
        person = await join(livekit, "draining", worker)
        await until(lambda: len(person.pictures) > 10 and bool(person.said), "it talks", PATIENCE_S)
        other = await join(livekit, "no-place", worker)
        await until(lambda: "is refused" in worker.log.read_text(), "a second room is refused", PATIENCE_S)
        assert 'mien_sessions_refused_total{reason="worker_full"}' in worker.metrics()
        assert not other.room.remote_participants
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(2)
        assert not person.told("bye"), "it goes on meanwhile"
        assert person.room.remote_participants
        took_s = 2 + await ended(worker, 20)
        assert [bye["reason"] for bye in person.told("bye")] == ["shutdown"]
        assert worker.process.returncode == 0
        assert 4 <= took_s < 4 + 6 + 4
        assert "Traceback" not in worker.log.read_text()
        await person.leave()
        await other.leave()


@pytest.mark.slow
async def test_who_comes_and_goes_leaves_no_threads_and_no_files(livekit: LiveKitServer, worker: Worker) -> None:
    process = Path(f"/proc/{worker.process.pid}")

    def held() -> tuple[int, int]:
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    async def visit(room: str) -> None:
        person = await join(livekit, room, worker)
        await until(lambda: len(person.pictures) > 2, "it is there", PATIENCE_S)
        await person.leave()
        await until(lambda: worker.conversations() == 0, "the job is over", PATIENCE_S)

    await visit("flat-first")  # the first makes what stays
    await until(lambda: held()[0] <= 30, "its threads end", PATIENCE_S)
    threads, files = held()
    for number in range(10):
        await visit(f"flat-{number}")
    await until(lambda: held()[0] <= threads + 3 and held()[1] <= files + 3, "as before", PATIENCE_S)


async def test_sigterm_without_conversations_ends_it_at_once(livekit: LiveKitServer, tmp_path: Path) -> None:
    with working(livekit, tmp_path, "idle", MIEN_DRAIN_S="600") as worker:
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker, 5) < 5
        assert worker.process.returncode == 0


async def test_a_conversation_that_hangs_cannot_hold_the_exit(livekit: LiveKitServer, tmp_path: Path) -> None:
    with working(livekit, tmp_path, "hanging", program=("-m", "tests.livekit.hanging"), MIEN_DRAIN_S="1") as worker:
        person = await join(livekit, "hanging", worker)
        await until(lambda: "hangs now" in worker.log.read_text(), "it hangs", PATIENCE_S)
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker, 20) < 1 + 6 + 4 + 3
        assert worker.process.returncode == 0
        await person.leave()


def refused(server_environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", "agent", "start"],
        cwd=folder,
        env=environment(**server_environment, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_wrong_key_is_one_line_and_no_secret(livekit: LiveKitServer, tmp_path: Path) -> None:
    secret = "not-the-secret-of-this-server-at-all-no"
    told = refused(livekit.environment | {"LIVEKIT_API_SECRET": secret}, tmp_path)
    assert told.returncode == 2
    assert re.fullmatch(r"mien: the LiveKit server at \S+ refuses us: LIVEKIT_API_KEY and .+\n", told.stderr)
    assert secret not in told.stderr + told.stdout
