"""A worker is killed in the middle of a conversation: `mien watch` has the avatar back, which knows what was said."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.job import BACK
from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import ROOT, LiveKitServer, environment
from tests.livekit.worker import START_S, Worker, working

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

PATIENCE_S = 40
BACK_S = 10
"""How long the avatar may be away."""


@contextmanager
def watching(server: LiveKitServer, folder: Path, agent: str) -> Iterator[Path]:
    """`mien watch` as its users start it; its log."""
    log = folder / f"watch-of-{agent}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "watch"],
            cwd=folder,
            env=environment(**server.environment, PYTHONPATH=str(ROOT), MIEN_AGENT_NAME=agent),
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
        assert "watching the rooms" in line, f"{line!r}: {log.read_text()[-3000:]}"
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    assert status == 0


async def talked(server: LiveKitServer, room: str, agent: str) -> LiveKitPerson:
    """Somebody who was greeted, asked something, and was answered."""
    person = LiveKitPerson()
    await person.join(server.url, server.token("ada", room, agent=agent, metadata='{"timezone": "Europe/Berlin"}'))
    await until(lambda: bool(person.said) and person.said[0]["final"], "greeted", PATIENCE_S)
    await person.write("What is two plus two?")
    await until(lambda: len(person.said) > 1 and person.said[-1]["final"], "an answer", PATIENCE_S)
    await until(lambda: person.state() == "listening", "it listens", PATIENCE_S)
    await asyncio.sleep(2)  # the watch asks each second
    return person


async def met_again(person: LiveKitPerson, killed: float) -> float:
    """Wait until it is back and says so; how long it was away, s."""
    pictures = len(person.pictures)
    await until(lambda: len(person.senders) == 2 and len(person.pictures) > pictures, "it is back", PATIENCE_S)
    away_s = time.monotonic() - killed
    await until(lambda: person.said[-1]["text"] == BACK, "it says that it was away", PATIENCE_S)
    told = person.told("hello")[-1]["history"]
    assert [one["role"] for one in told[:3]] == ["assistant", "user", "assistant"]
    assert told[1]["text"] == "What is two plus two?"
    sentences = len(person.said)
    await person.write("And three plus three?")
    await until(lambda: len(person.said) > sentences and person.said[-1]["final"], "it answers", PATIENCE_S)
    assert "6" in person.said[-1]["text"] or "six" in person.said[-1]["text"]
    return away_s


async def test_another_worker_takes_the_room_of_one_that_was_killed(livekit: LiveKitServer, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with watching(livekit, tmp_path, "watched") as log, working(livekit, tmp_path, "watched") as first:
        person = await talked(livekit, "watched", "watched")
        with working(livekit, tmp_path / "second", "watched") as second:
            first.process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            away_s = await met_again(person, killed)
            assert second.conversations() == 1
            assert away_s < BACK_S
            assert len(person.room.remote_participants) == 1, "the dead one was removed"
            await person.leave()
            await until(lambda: second.conversations() == 0, "who leaves is not called after", PATIENCE_S)
            await asyncio.sleep(3)
            assert second.conversations() == 0
        assert log.read_text().count("is dead") == 1
        print(f"away for {away_s:.1f} s")


@pytest.mark.slow
async def test_the_same_worker_started_again_takes_its_room(livekit: LiveKitServer, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    with watching(livekit, tmp_path, "restarted"):
        with working(livekit, tmp_path, "restarted") as first:
            person = await talked(livekit, "restarted", "restarted")
            first.process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
        with working(livekit, tmp_path / "again", "restarted"):
            away_s = await met_again(person, killed)
            print(f"away for {away_s:.1f} s")
            assert away_s < BACK_S
            await person.leave()


async def test_an_avatar_that_says_goodbye_is_not_called_back(
    livekit: LiveKitServer, worker: Worker, tmp_path: Path
) -> None:
    with watching(livekit, tmp_path, worker.name) as log:
        person = await talked(livekit, "polite", worker.name)
        await person.tell({"type": "leave"})
        await until(lambda: not person.room.remote_participants, "it has left", PATIENCE_S)
        await asyncio.sleep(5)
        assert worker.conversations() == 0
        assert not person.room.remote_participants
        assert "is dead" not in log.read_text()
        await person.leave()
