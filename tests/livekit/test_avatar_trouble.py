"""What goes wrong around `mien avatar`: its worker is told to end, the LiveKit server restarts."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.doubles.page import until
from tests.livekit.server import LiveKitServer, livekit_server
from tests.livekit.test_avatar import (
    AVATAR,
    CHARACTER_S,
    PATIENCE_S,
    SENTENCE,
    PlainAgent,
    agent,
    loud_s,
    meeting,
    plain_agent,
)
from tests.livekit.worker import working

__all__ = ["agent"]

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.timeout(240),
    # The person's livekit drops a track's handle twice when it starts anew ("Attempted to drop unknown FFI handle").
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Ffi:pytest.PytestUnraisableExceptionWarning"),
]

DRAIN_S = 6


async def test_sigterm_lets_it_finish_what_it_says_and_then_it_leaves(
    livekit: LiveKitServer, agent: PlainAgent, tmp_path: Path
) -> None:
    settings = {"MIEN_AVATAR_NAME": "draining-face", "MIEN_DRAIN_S": str(DRAIN_S)}
    with working(livekit, tmp_path, "draining-face", program=AVATAR, **settings) as worker:
        async with meeting(livekit, agent, "drained", "plain", "draining-face") as person:
            await person.write(SENTENCE)
            await until(lambda: loud_s(person) > 0.5, "it speaks", PATIENCE_S)
            worker.process.send_signal(signal.SIGTERM)
            told = time.monotonic()
            await until(lambda: bool(agent.told("drained", "finished")), "it is said", PATIENCE_S)
            (finished,) = agent.told("drained", "finished")
            assert not finished["interrupted"]
            assert finished["position_s"] == pytest.approx(len(SENTENCE.strip()) * CHARACTER_S, abs=0.2)
            await asyncio.to_thread(worker.process.wait, 30)
            assert DRAIN_S <= time.monotonic() - told < DRAIN_S + 6 + 4
            assert worker.process.returncode == 0
            assert "Traceback" not in worker.log.read_text()
            faces = [one.identity for one in person.room.remote_participants.values() if one.track_publications]
            assert not faces


async def test_after_a_restart_of_the_server_it_speaks_again(tmp_path: Path) -> None:
    with (
        livekit_server(tmp_path) as server,
        plain_agent(server, tmp_path, "again") as speaker,
        working(server, tmp_path, "mien-avatar", program=AVATAR) as worker,
    ):
        async with meeting(server, speaker, "again", "again") as person:
            server.process.kill()
            server.process.wait()
            pictures = len(person.pictures)
            port, udp_port = server.ports
            with livekit_server(tmp_path, port=port, udp_port=udp_port):
                await until(lambda: len(person.pictures) > pictures + 40, "its face again", PATIENCE_S)
                loud = loud_s(person)
                async with asyncio.timeout(PATIENCE_S):
                    # LiveKit drops what is written to somebody who is just coming back.
                    while not any(not one["interrupted"] for one in speaker.told("again", "finished")):
                        await person.write("still there")
                        await asyncio.sleep(2)
                assert loud_s(person) > loud + 0.3
                assert worker.conversations() == 1
