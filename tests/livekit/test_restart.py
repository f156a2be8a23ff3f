"""The LiveKit server dies in the middle of a conversation and comes back: so do agent and person, by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import livekit_server
from tests.livekit.worker import working

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

PATIENCE_S = 40


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
            await person.write("What is two plus two?")
            await until(lambda: len(person.said) > sentences, "an answer", PATIENCE_S)
            hellos = len(person.told("hello"))
            await person.tell({"type": "hello"})
            await until(lambda: len(person.told("hello")) > hellos, "how things stand", PATIENCE_S)
            assert person.told("hello")[-1]["history"][0]["role"] == "assistant", "the same conversation"
            assert worker.conversations() == 1
            await person.leave()
