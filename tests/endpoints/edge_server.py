"""A local server that speaks the protocol of edge-tts' service, over a Unix socket; its speech is real (espeak-ng).

The real client always asks for one address over TLS with its own list of authorities. It takes a connector, though,
and aiohttp's for Unix sockets reaches this server without an address and without TLS:

    async with EdgeEndpoint(espeak, tmp_path / "edge") as endpoint:
        EdgeTTS(voice="en-US-AvaNeural", connector=endpoint.connector)

"""

from __future__ import annotations

import asyncio
import html
import json
import re
from pathlib import Path
from typing import Self

import aiohttp
import numpy as np
from aiohttp import WSMsgType, web

from agent.speech.espeak import Espeak
from tests.endpoints.behaviour import Behaviour
from tests.endpoints.speech import mp3, speak

RATE_HZ = 24_000
PATH = "/consumer/speech/synthesize/readaloud/edge/v1"
PART_BYTES = 720
"""As the service cuts its mp3: 120 ms."""
TICKS_S = 10_000_000


class EdgeEndpoint:
    """Args:
    espeak: makes the speech.
    socket: where it listens; a path of at most about a hundred characters.

    Attributes:
        behaviour: how it behaves.
        texts: what it was asked to say.
        voices: and in which voices.
        open: how many connections there are now.
    """

    def __init__(self, espeak: Espeak, socket: Path) -> None:
        self.behaviour = Behaviour()
        self.texts: list[str] = []
        self.voices: list[str] = []
        self.open = 0
        self._espeak = espeak
        self._socket = socket
        self._runner: web.AppRunner | None = None

    def connector(self) -> aiohttp.BaseConnector:
        """For one sentence: the client closes it."""
        return aiohttp.UnixConnector(str(self._socket))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(PATH, self._session)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _session(self, request: web.Request) -> web.StreamResponse:
        if self.behaviour.status != 200:
            return web.Response(status=self.behaviour.status)
        if "TrustedClientToken" not in request.query or "Sec-MS-GEC" not in request.query:
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.open += 1
        speaking: asyncio.Task[None] | None = None
        try:
            async for message in socket:  # also while it speaks, to see the client go
                if message.type != WSMsgType.TEXT:
                    continue
                head, _, body = message.data.partition("\r\n\r\n")
                if "Path:ssml" in head:
                    speaking = asyncio.create_task(self._speak(socket, body))
                else:
                    options = json.loads(body)["context"]["synthesis"]["audio"]["metadataoptions"]
                    assert options["wordBoundaryEnabled"] == "true"
        finally:
            self.open -= 1
            if speaking is not None:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
        return socket

    async def _speak(self, socket: web.WebSocketResponse, ssml: str) -> None:
        text = html.unescape(re.sub(r"<[^>]+>", "", ssml))
        voice = re.search(r"<voice name='([^']+)'", ssml)
        self.texts.append(text)
        self.voices.append(voice[1] if voice else "")
        if self.behaviour.malformed:
            await socket.send_str("Path:nonsense\r\n\r\n{}")
            return
        spoken = await speak(self._espeak, text)
        pcm = np.zeros_like(spoken.pcm) if self.behaviour.silent else spoken.pcm
        sound = mp3(pcm, RATE_HZ)
        await socket.send_str("X-RequestId:test\r\nPath:turn.start\r\n\r\n{}")
        words = list(spoken.words)
        for number, start in enumerate(range(0, len(sound), PART_BYTES)):
            if not await self.behaviour.before_part(number):
                await socket.close()
                return
            now_s = (start + PART_BYTES) * 8 / 48_000
            while words and words[0][1] <= now_s:
                word, start_s, end_s = words.pop(0)
                await socket.send_str(_boundary(word, start_s, end_s))
            head = b"X-RequestId:test\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
            part = sound[start : start + PART_BYTES]
            await socket.send_bytes(len(head).to_bytes(2, "big") + head + part)
        head = b"X-RequestId:test\r\nPath:audio\r\n"
        await socket.send_bytes(len(head).to_bytes(2, "big") + head)
        await socket.send_str("X-RequestId:test\r\nPath:turn.end\r\n\r\n{}")
        await asyncio.sleep(0)


def _boundary(word: str, start_s: float, end_s: float) -> str:
    data = {
        "Offset": round(start_s * TICKS_S),
        "Duration": round((end_s - start_s) * TICKS_S),
        "text": {"Text": html.escape(word, quote=False), "Length": len(word), "BoundaryType": "WordBoundary"},
    }
    body = json.dumps({"Metadata": [{"Type": "WordBoundary", "Data": data}]})
    return f"X-RequestId:test\r\nContent-Type:application/json\r\nPath:audio.metadata\r\n\r\n{body}"
