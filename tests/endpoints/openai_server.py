"""A local server that speaks OpenAI's protocol: chat completions (streamed), speech, transcriptions.

What it says is scripted; its speech is real (espeak-ng). Use it as ``OPENAI_BASE_URL``:

    async with OpenAIEndpoint(espeak) as endpoint:
        endpoint.replies = ["Hello there."]
        settings = load_settings({"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": "sk-test"})

"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from aiohttp import web

from agent.speech.espeak import Espeak
from tests.endpoints.behaviour import Behaviour
from tests.endpoints.speech import mp3, speak

RATE_HZ = 24_000
PART_MS = 100


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at_s: float = field(default_factory=time.monotonic)


class OpenAIEndpoint:
    """Args:
    espeak: makes the speech.

    Attributes:
        replies: what the model says, one a request; the last one is said again and again.
        heard: what the recognizer hears, in the same way.
        chat, speech, transcriptions: how each of the calls behaves.
        asked: all requests so far.
        stopped: how many answers were given up because the client went away.
    """

    def __init__(self, espeak: Espeak) -> None:
        self.replies = ["Hello there. How can I help you?"]
        self.heard = ["hello"]
        self.chat = Behaviour()
        self.speech = Behaviour()
        self.transcriptions = Behaviour()
        self.asked: list[Asked] = []
        self.stopped = 0
        self.base_url = ""
        self._espeak = espeak
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/audio/speech", self._speech)
        app.router.add_post("/v1/audio/transcriptions", self._transcriptions)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(Asked(request.path, dict(request.headers), body))
        if (refused := _refused(self.chat)) is not None:
            return refused
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            if self.chat.malformed:
                await response.write(b"data: {this is not JSON\n\n")
                return response
            tokens = re.findall(r"\s*\S+", reply)
            for number, token in enumerate(tokens):
                if not await self.chat.before_part(number):
                    _drop(request)
                    return response
                await response.write(_chunk({"content": token}))
            await response.write(_chunk({}, finish="stop"))
            await response.write(b"data: [DONE]\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.stopped += 1
            raise
        return response

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(Asked(request.path, dict(request.headers), body))
        if (refused := _refused(self.speech)) is not None:
            return refused
        spoken = await speak(self._espeak, body["input"], rate_hz=RATE_HZ)
        pcm = np.zeros_like(spoken.pcm) if self.speech.silent else spoken.pcm
        raw = pcm.tobytes() if body.get("response_format") == "pcm" else mp3(pcm, RATE_HZ)
        if self.speech.malformed:
            return web.Response(text="<html>not sound</html>", content_type="text/html")
        events = body.get("stream_format") == "sse"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream" if events else "audio/pcm"})
        await response.prepare(request)
        size = len(raw) * PART_MS * RATE_HZ // 1000 // max(1, pcm.size) // 2 * 2
        try:
            for number, start in enumerate(range(0, len(raw), size)):
                if not await self.speech.before_part(number):
                    _drop(request)
                    return response
                part = raw[start : start + size]
                if events:
                    event = {"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()}
                    part = f"data: {json.dumps(event)}\n\n".encode()
                await response.write(part)
            if events:
                done = {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 1}}
                await response.write(f"data: {json.dumps(done)}\n\n".encode())
        except (asyncio.CancelledError, ConnectionError):
            self.stopped += 1
            raise
        return response

    async def _transcriptions(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        body = {name: value if isinstance(value, str) else "<file>" for name, value in form.items()}
        self.asked.append(Asked(request.path, dict(request.headers), body))
        if (refused := _refused(self.transcriptions)) is not None:
            return refused
        if self.transcriptions.malformed:
            return web.Response(text="<html>not a transcript</html>", content_type="text/html")
        await self.transcriptions.before_part(0)
        return web.json_response({"text": self.heard.pop(0) if len(self.heard) > 1 else self.heard[0]})


def _refused(behaviour: Behaviour) -> web.Response | None:
    if behaviour.status == 200:
        return None
    error = {"error": {"message": "refused by the test endpoint", "type": "test", "code": str(behaviour.status)}}
    return web.json_response(error, status=behaviour.status)


def _drop(request: web.Request) -> None:
    """Cut the connection in the middle of the answer, as a lost network does."""
    if request.transport is not None:
        request.transport.abort()


def _chunk(delta: dict[str, str], *, finish: str | None = None) -> bytes:
    content = {
        "id": "chatcmpl-test",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "test",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(content)}\n\n".encode()
