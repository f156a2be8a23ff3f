"""The inbox over real HTTP on loopback, and `mien say --to`, which uses it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from agent.inbox.http import queue_routes
from agent.inbox.inbox import Inbox
from agent.inbox.messages import MAX_BODY_BYTES, Speakable
from agent.inbox.metrics import InboxMetrics
from agent.inbox.program import Program
from agent.inbox.say import NotSaid, say
from agent.inbox.voicing import Spoken, Voicing
from agent.speech.chain import ChainTTS, Provider
from avatar.frames import SAMPLE_RATE_HZ
from avatar.playout import Playout
from rooms.http import Guard, Service, make_app, serve
from rooms.memory import MemorySink
from tests.doubles.renderers import ScriptedRenderer
from tests.doubles.tts import LevelTTS, Script, Vocabulary
from tests.unit.test_inbox_messages import encoded

pytestmark = pytest.mark.loopback

ROOT = Path(__file__).parents[2]
TOKEN = "correct horse"


async def _offer(request: Any) -> dict[str, Any]:
    return {}


@asynccontextmanager
async def speaking(token: str | None = None, capacity: int = 1000) -> AsyncIterator[tuple[Program, MemorySink, str]]:
    """A program that runs, and its address."""
    vocabulary = Vocabulary()
    voice = LevelTTS("level", vocabulary, Script(lead_s=0, tail_s=0))
    voicing = Voicing(ChainTTS([Provider("level", False, "l", lambda _: voice)], "level:l"))

    def speak(message: Speakable) -> AsyncGenerator[Spoken]:
        return voicing.speak(message)

    program = Program(Inbox(capacity=capacity), speak)
    playout = Playout(ScriptedRenderer(), listener=program)
    program.bind(playout)
    sink = MemorySink()
    playout.attach(sink, primary=True)
    registry = CollectorRegistry()
    InboxMetrics(program, registry)
    service = Service(lambda _: {}, _offer, dict, lambda: generate_latest(registry), bytes)
    app = make_app(service, Guard(loopback=True, token=token, allowed_origins=()), queue_routes(program))
    runner, url = await serve(app, "127.0.0.1", 0)
    tasks = [asyncio.create_task(playout.run()), asyncio.create_task(program.run())]
    try:
        yield program, sink, url.rstrip("/")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await program.aclose()
        playout.close()
        await runner.cleanup()


async def until(condition: Any, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_what_is_posted_is_said_and_the_queue_tells_of_it() -> None:
    async with speaking() as (program, _, url), aiohttp.ClientSession() as client:
        posted = {"type": "text", "data": "one two three four five six", "id": "a", "session_id": "s"}
        async with client.post(f"{url}/api/say", json=posted) as response:
            assert response.status == 202
            assert (await response.json())["id"] == "a"
        async with client.post(f"{url}/api/say", json={"type": "text", "data": "seven", "priority": 2}) as response:
            second = (await response.json())["id"]
        async with client.post(f"{url}/api/say", json=posted) as response:
            assert response.status == 200
            assert (await response.json())["receipt"] == "duplicate"
        await until(lambda: program.state.value == "talking")
        async with client.get(f"{url}/api/queue") as response:
            told = await response.json()
        assert (told["state"], told["message"], told["running"], told["paused"]) == ("talking", "a", True, False)
        assert [(each["id"], each["session_id"], each["priority"]) for each in told["messages"]] == [
            ("a", "s", 0),
            (second, "", 2),
        ]
        await until(lambda: program.inbox.settled["played"] == 2)
        async with client.get(f"{url}/metrics") as response:
            metrics = await response.text()
        assert 'mien_messages_total{event="finished"} 2.0' in metrics
        assert "mien_inbox_backlog 0.0" in metrics
        assert "mien_message_wait_seconds_count 2.0" in metrics
        assert "mien_message_gap_seconds_count 1.0" in metrics


async def test_a_recording_bigger_than_other_requests_is_played() -> None:
    sound = encoded("wav", 4.0)
    posted = {"type": "audio", "data": base64.b64encode(sound).decode(), "format": "wav", "id": "r"}
    assert len(json.dumps(posted)) > 256 * 1024
    async with speaking() as (program, sink, url), aiohttp.ClientSession() as client:
        async with client.post(f"{url}/api/say", json=posted) as response:
            assert response.status == 202
        await until(lambda: program.inbox.settled["played"] == 1)
        heard = sink.sound[sink.sound != 0]
        assert heard.size / SAMPLE_RATE_HZ == pytest.approx(4.0, abs=0.1)
        assert 8000 < np.abs(heard.astype(int)).max() < 10_000


async def test_messages_are_taken_out_and_controls_carried_out() -> None:
    async with speaking() as (program, _, url), aiohttp.ClientSession() as client:
        for name in ("a", "b", "c"):
            text = "one two three four five six seven eight nine"
            async with client.post(f"{url}/api/say", json={"type": "text", "data": text, "id": name}) as response:
                assert response.status == 202
        await until(lambda: program.state.value == "talking")
        async with client.delete(f"{url}/api/queue/c") as response:
            assert response.status == 200
        async with client.delete(f"{url}/api/queue/c") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "not_found"
        async with client.delete(f"{url}/api/queue/a") as response:  # the one on air
            assert response.status == 200
        assert program.inbox.settled["skipped"] == 2
        async with client.post(f"{url}/api/say", json={"type": "control", "data": "pause"}) as response:
            assert (response.status, (await response.json())["receipt"]) == (200, "done")
        assert program.paused


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_message"),
        (b"{", 400, "invalid_message"),
        (b"\xff\x00", 400, "invalid_message"),
        (b'{"type":"text","data":"a","priority":99}', 400, "invalid_message"),
        (b'{"type":"audio","data":"aGVsbG8=","format":"mp3"}', 400, "invalid_message"),
        (b"x" * (MAX_BODY_BYTES + 1), 413, "too_large"),
    ],
)
async def test_what_is_no_message_is_refused_in_json(body: bytes, status: int, code: str) -> None:
    async with speaking() as (program, _, url), aiohttp.ClientSession() as client:
        async with client.post(f"{url}/api/say", data=io.BytesIO(body)) as response:
            assert response.status == status
            error = (await response.json())["error"]
        assert error["code"] == code
        assert error["message"]
        assert program.inbox.backlog == 0


async def test_a_full_inbox_says_when_to_come_back() -> None:
    async with speaking(capacity=2) as (program, _, url), aiohttp.ClientSession() as client:
        program.control("stop")
        statuses = []
        for _ in range(3):
            async with client.post(f"{url}/api/say", json={"type": "text", "data": "one"}) as response:
                statuses.append(response.status)
        assert statuses == [202, 202, 503]
        assert response.headers["Retry-After"] == "10"


async def test_the_guard_stands_before_all_of_them() -> None:
    async with speaking(TOKEN) as (_, _, url), aiohttp.ClientSession() as client:
        for method, path in (("POST", "/api/say"), ("GET", "/api/queue"), ("DELETE", "/api/queue/a")):
            async with client.request(method, url + path, json={"type": "text", "data": "one"}) as response:
                assert response.status == 401
            foreign = {"Origin": "https://elsewhere.example", "Authorization": f"Bearer {TOKEN}"}
            async with client.request(method, url + path, headers=foreign) as response:
                assert response.status == 403
        async with client.get(f"{url}/api/queue", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 200


async def test_mien_say_posts_with_the_token_and_prints_the_id(tmp_path: Path) -> None:
    async with speaking(TOKEN) as (program, _, url):
        asked = [sys.executable, "-m", "agent.cli", "say", "one two", "--to", url, "--priority", "3"]
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        done = await asyncio.to_thread(
            subprocess.run,
            asked,
            cwd=tmp_path,
            env=environ | {"MIEN_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        await until(lambda: program.inbox.settled["played"] == 1)
        message_id = done.stdout.strip()
        assert len(message_id) == 32
        assert not program.remove(message_id)
        refused = await asyncio.to_thread(
            subprocess.run,
            asked,
            cwd=tmp_path,
            env=environ | {"MIEN_TOKEN": "wrong"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "answered 401: this server asks for its token" in refused.stderr
        assert "wrong" not in refused.stderr


async def test_say_tells_what_went_wrong() -> None:
    async with speaking() as (_, _, url):
        with pytest.raises(NotSaid, match="400: data=' ': there is nothing to say"):
            await asyncio.to_thread(say, url, None, data=" ")
    with pytest.raises(NotSaid, match="is the stream running there"):
        await asyncio.to_thread(say, url, None, data="a")
    with pytest.raises(NotSaid, match="is no address"):
        say("127.0.0.1:8080", None, data="a")


async def test_say_takes_its_token_to_no_other_place() -> None:
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        raise web.HTTPFound("/other")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", elsewhere)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with pytest.raises(NotSaid, match="302"):
        await asyncio.to_thread(say, f"http://127.0.0.1:{runner.addresses[0][1]}", TOKEN, data="a")
    await runner.cleanup()
    assert seen == [f"Bearer {TOKEN}"]
