"""A playout in an embedded room without a conversation: what a benchmark says is shown to whoever opens the page.

In: a renderer, and whatever the benchmark pushes into ``playout``. Out: the real page at ``url``, its room fed by the
real playout.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from agent.face import png
from avatar.frames import Sink
from avatar.playout import Finished, Playout, Started
from avatar.renderer import Renderer
from rooms.embedded import EmbeddedRoom
from rooms.http import Guard, Service, make_app, serve
from rooms.peer import offer_media_on
from rooms.room import Message


class Stage:
    """A `Presence` with nobody behind it. One visitor at a time."""

    def __init__(self, renderer: Renderer) -> None:
        self.url = ""
        self.joined = asyncio.Event()
        self.ended = asyncio.Event()
        """Set at the end of every segment; whoever waits for one clears it before."""
        self.on_start: Callable[[Started], None] | None = None
        """Told of each segment's start, within the tick that releases it."""
        self.playout = Playout(renderer, listener=self)
        self.room: EmbeddedRoom | None = None
        self._still = png(renderer.still)

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """`Service.offer`: everyone gets a room of their own, the last one has the playout's sound."""
        self.room = EmbeddedRoom(self)
        sdp = await self.room.answer(request["sdp"])
        return {"type": "answer", "sdp": sdp, "session": "stage", "secret": "stage", "resumed": False}

    def service(self) -> Service:
        config = {
            "mode": "embedded",
            "persona": {"name": "Benchmark", "language": "en", "greeting": ""},
            "ice_servers": [],
            "auth": False,
            "version": "benchmark",
            "disclosure": "This is a benchmark.",
        }
        return Service(
            config=lambda authorized: config,
            offer=self.answer,
            health=lambda: {"status": "ok"},
            metrics=lambda: b"",
            poster=lambda: self._still,
        )

    # -- the playout's listener

    def on_started(self, event: Started) -> None:
        if self.on_start is not None:
            self.on_start(event)

    def on_finished(self, event: Finished) -> None:
        self.ended.set()

    # -- the room's presence

    def on_joined(self, sink: Sink) -> None:
        self.playout.attach(sink, primary=True)
        self.joined.set()

    def on_watched(self, watched: bool) -> None: ...

    def on_page(self) -> None:
        assert self.room is not None, "a page has no channel before its offer was answered"
        hello = {
            "session": "stage",
            "version": "benchmark",
            "persona": {"name": "Benchmark"},
            "parts": [],
            "voices": [],
        }
        self.room.send({"type": "hello", "voice": "", "offers": [], "history": [], **hello})

    def on_lost(self, sink: Sink) -> None:
        self.playout.detach(sink)

    def on_left(self) -> None:
        pass

    def on_message(self, message: Message) -> None:
        if message["type"] == "ping" and self.room is not None:
            self.room.send({"type": "pong", "t": message.get("t")})


@asynccontextmanager
async def staged(renderer: Renderer) -> AsyncIterator[Stage]:
    """Serve a stage on loopback, its clock running. The renderer stays its caller's to close."""
    offer_media_on(["127.0.0.1"])
    stage = Stage(renderer)
    runner, stage.url = await serve(make_app(stage.service(), Guard(True, None, ())), "127.0.0.1", 0)
    clock = asyncio.create_task(stage.playout.run(), name="playout")
    try:
        yield stage
    finally:
        clock.cancel()
        stage.playout.close()
        if stage.room is not None:
            await stage.room.aclose()
        await runner.cleanup()
