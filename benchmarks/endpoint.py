"""A model and a voice behind OpenAI's protocol that take their time, and remember how each of their answers ended.

In: requests of the real openai client. Out: a story, word by word; its speech, as fast as it is spoken. For each
answer: when it began, when it ended, and whether to the end or because the client went away.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from agent.smalltalk_lines import STORIES
from agent.speech.espeak import Espeak
from benchmarks.voices import spoken

RATE_HZ = 24_000
WORDS_PER_S = 7.0
"""Twice as fast as it is spoken: the model is still talking for half of the story."""
PART_S = 0.1
SPEED = 1.15
"""Sound comes a little faster than it is heard, so that a sentence's stream is open for most of it."""


@dataclass
class Answer:
    """One answer of the endpoint; times of the monotonic clock."""

    kind: Literal["llm", "tts"]
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    given_up: bool = False
    """The client closed the stream before its end."""


class SlowEndpoint:
    """Serve it with `slow_endpoint`."""

    def __init__(self, espeak: Espeak) -> None:
        self.base_url = ""
        self.answers: list[Answer] = []
        self._espeak = espeak
        self._stories = 0

    def open(self, at: float) -> list[Answer]:
        """The answers that were under way at this time."""
        return [answer for answer in self.answers if answer.began <= at and (answer.ended is None or answer.ended > at)]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        story = STORIES[self._stories % len(STORIES)]
        self._stories += 1
        with_words = re.findall(r"\s*\S+", story)
        parts = [_event({"role": "assistant", "content": word}) for word in with_words]
        return await self._stream(request, "llm", "text/event-stream", [*parts, _event({}, "stop")], 1 / WORDS_PER_S)

    async def speech(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        sound = (await spoken(self._espeak, body["input"]))[::2]  # 48 to 24 kHz; espeak has nothing above 11 kHz
        size = round(PART_S * RATE_HZ)
        parts = [sound[at : at + size].tobytes() for at in range(0, sound.size, size)]
        return await self._stream(request, "tts", "audio/pcm", parts, PART_S / SPEED)

    async def _stream(
        self, request: web.Request, kind: Literal["llm", "tts"], content_type: str, parts: list[bytes], every_s: float
    ) -> web.StreamResponse:
        answer = Answer(kind)
        self.answers.append(answer)
        response = web.StreamResponse(headers={"Content-Type": content_type})
        try:
            await response.prepare(request)
            for part in parts:
                await response.write(part)
                await asyncio.sleep(every_s)
            if kind == "llm":
                await response.write(b"data: [DONE]\n\n")
        except (asyncio.CancelledError, ConnectionError):
            answer.given_up = True
            raise
        finally:
            answer.ended = time.monotonic()
        return response


@asynccontextmanager
async def slow_endpoint(espeak: Espeak) -> AsyncIterator[SlowEndpoint]:
    """Serve on loopback; ``base_url`` is for ``OPENAI_BASE_URL``."""
    endpoint = SlowEndpoint(espeak)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.chat)
    app.router.add_post("/v1/audio/speech", endpoint.speech)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield endpoint
    finally:
        await runner.cleanup()


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    content = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "slow",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(content)}\n\n".encode()
