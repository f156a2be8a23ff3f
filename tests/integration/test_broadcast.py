"""A conversation that is on air: who watches it, and what the conversation suffers when that cannot be (nothing)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.broadcast import Broadcast, streamed
from agent.conversation import Conversation
from agent.metrics import Metrics
from agent.models import Local, choose_models
from agent.persona import load_persona
from agent.settings import load_settings
from rooms.memory import MemoryRoom
from tests.doubles.page import until
from tests.doubles.renderers import ScriptedRenderer

pytestmark = pytest.mark.media


def broadcast(**more: str) -> Broadcast:
    """To a port at which nobody listens."""
    environment = {"RTMP_URL": "rtmp://127.0.0.1:9/live/key", "RTMP_RESOLUTION": "160x160"}
    return Broadcast(load_settings(environment | more).stream, "Mien", "scripted")


@asynccontextmanager
async def talking(kind: type[Conversation], renderer: ScriptedRenderer) -> AsyncIterator[MemoryRoom]:
    settings = load_settings({"STT_PROVIDER": "none"})
    local = Local(settings)
    persona = load_persona("mien")
    conversation = kind(
        persona=persona,
        models=choose_models(settings, persona, local=local),
        renderer=renderer,
        turn=settings.turn,
        metrics=Metrics(),
        face={"part": "renderer", "name": "scripted", "why": "test", "online": False},
        about={"session": "s", "version": "test"},
    )
    room = MemoryRoom(conversation)
    running = asyncio.create_task(conversation.run(room))
    room.join()
    try:
        await until(lambda: any(message["type"] == "caption" for message in room.messages), "it speaks", 60)
        yield room
    finally:
        room.leave()
        async with asyncio.timeout(20):
            await running
        await local.aclose()


async def test_on_air_it_is_drawn_for_its_audience_whoever_is_in_the_room() -> None:
    air, renderer, other = broadcast(), ScriptedRenderer(), ScriptedRenderer()
    async with talking(streamed(air), renderer) as room:
        sink = air.sink
        assert sink is not None

        async def drawn(whose: ScriptedRenderer) -> bool:
            before = len(whose.requests)
            ticks = sink.status().ticks
            await until(lambda: sink.status().ticks > ticks + 10, "ten ticks", 20)
            return len(whose.requests) > before + 5

        room._presence.on_watched(False)
        assert await drawn(renderer)
        room.lose()
        assert await drawn(renderer)
        # The second to come is not on air, and rests as ever while nobody looks.
        async with talking(streamed(air), other) as second:
            second._presence.on_watched(False)
            assert not await drawn(other)
        assert air.sink is sink
    assert air.sink is None


async def test_a_folder_that_is_gone_costs_the_recording_and_a_background_the_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "recordings"
    air = broadcast(MIEN_STREAM_RECORD=str(folder))
    folder.write_bytes(b"in its place a file")
    async with talking(streamed(air), ScriptedRenderer()):
        assert air.sink is not None
    assert "not recorded: cannot record to" in caplog.text
    background = tmp_path / "background.png"
    background.write_bytes(cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    air = broadcast(MIEN_STREAM_BACKGROUND=str(background))
    background.unlink()
    async with talking(streamed(air), ScriptedRenderer()):
        assert air.sink is None
    assert "not streamed: the background" in caplog.text
