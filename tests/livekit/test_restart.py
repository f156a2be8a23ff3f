"""The LiveKit server dies in the middle of a conversation and comes back: so do agent and person, by themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import livekit_server
from tests.livekit.worker import working

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.timeout(240),
    # The person's livekit drops a track's handle twice when it starts anew ("Attempted to drop unknown FFI handle").
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Ffi:pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE_S = 40


async def greeted_again(person: LiveKitPerson) -> None:
    """Ask how things stand until there is an answer: LiveKit drops what is sent to somebody who, in the first moments
    after a restart, does not know of the sender yet."""
    hellos = len(person.told("hello"))
    async with asyncio.timeout(PATIENCE_S):
        while len(person.told("hello")) == hellos:
            await person.tell({"type": "hello"})
            await asyncio.sleep(1)


async def test_a_server_that_restarts_does_not_end_the_conversation(tmp_path: Path) -> None:
    with livekit_server(tmp_path) as server, working(server, tmp_path, "mien") as worker:
        person = LiveKitPerson()
        await person.join(server.url, server.token("ada", "restarted", agent="mien"))
        await until(lambda: bool(person.said) and person.said[0]["final"], "greeted", PATIENCE_S)
        server.process.kill()
        server.process.wait()
        pictures, sentences = len(person.pictures), len(person.said)
        port, udp_port = server.ports
        with livekit_server(tmp_path, port=port, udp_port=udp_port):
            await until(lambda: len(person.pictures) > pictures + 40, "its face again", PATIENCE_S)
            await until(lambda: person.state() == "listening", "it listens again", PATIENCE_S)
            await greeted_again(person)
            await person.write("What is two plus two?")
            await until(lambda: len(person.said) > sentences, "an answer", PATIENCE_S)
            assert person.told("hello")[-1]["history"][0]["role"] == "assistant", "the same conversation"
            assert worker.conversations() == 1
            await person.leave()
