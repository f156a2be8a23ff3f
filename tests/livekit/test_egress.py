"""`mien egress` at a real LiveKit server that has no egress service, with and without Redis."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rooms.livekit import connect
from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import ROOT, LiveKitServer, environment, livekit_server
from tests.livekit.worker import Worker

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

STREAM_KEY = "live-key-0123456789"
URL = f"rtmp://live.example/app/{STREAM_KEY}"
PATIENCE_S = 60


async def refused(server: LiveKitServer, *arguments: str, **environ: str) -> str:
    """What the command says when it cannot do its work: one line, without keys."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent.cli", "egress", *arguments, "--verbose"),
        cwd="/",
        env=environment(PYTHONPATH=str(ROOT), **(server.environment | environ)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    told = errors.decode()
    assert told.startswith("mien: ")
    assert told.count("\n") == 1
    assert STREAM_KEY not in told
    assert server.environment["LIVEKIT_API_SECRET"] not in told
    return told


async def test_without_egress_it_says_what_is_missing(livekit: LiveKitServer, worker: Worker) -> None:
    for action in (["list"], ["stop", "EG_none"]):
        assert "has no egress (egress not connected (redis required)): give it Redis" in await refused(livekit, *action)
    start = ("start", "--room", "egress", "--rtmp", URL)
    assert f"no room 'egress' at {livekit.url}" in await refused(livekit, *start)
    person = LiveKitPerson()
    await person.join(livekit.url, livekit.token("ada", "egress", agent=worker.name))
    await until(lambda: len(person.pictures) > 0, "the avatar is seen", PATIENCE_S)
    (avatar,) = person.room.remote_participants
    assert "there is " + ", ".join(sorted(["ada", avatar])) in await refused(livekit, *start, "--participant", "bob")
    # That it goes on to ask for egress means that it found the avatar.
    for whom in ([], ["--participant", avatar], ["--composite"]):
        assert "has no egress (egress not connected" in await refused(livekit, *start, *whom)
    await person.leave()


async def test_a_room_without_an_avatar_and_a_wrong_key_are_said(livekit: LiveKitServer) -> None:
    person = LiveKitPerson()
    await connect(person.room, livekit.url, livekit.token("ada", "egress-alone"))
    start = ("start", "--room", "egress-alone", "--rtmp", URL)
    assert "no avatar with a picture in room 'egress-alone': there is ada." in await refused(livekit, *start)
    for wrong in ({"LIVEKIT_API_KEY": "other"}, {"LIVEKIT_API_SECRET": "another-secret-of-more-than-32-characters"}):
        assert "refuses the key: set LIVEKIT_API_KEY" in await refused(livekit, *start, **wrong)
    await person.room.disconnect()


async def test_with_redis_and_no_egress_it_says_that_no_service_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis(tmp_path) as address:
        monkeypatch.setenv("REDIS_HOST", address)  # livekit-server's own
        with livekit_server(tmp_path) as server:
            person = LiveKitPerson()
            await connect(person.room, server.url, server.token("ada", "egress"))
            told = await refused(server, "start", "--room", "egress", "--rtmp", URL, "--participant", "ada")
            assert "no egress service answers" in told
            assert "start LiveKit's Egress with the same Redis" in told
            assert "has no such egress" in await refused(server, "stop", "EG_none")
            await person.room.disconnect()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis on loopback; its address."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("there is no redis-server here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "redis.log").read_text()
                assert time.monotonic() < give_up, "Redis did not start"
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
