"""Jobs whose room cannot be joined: they end, with one line in the log, and leave nothing behind."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from agent.avatar_job import AvatarJobs, Faces
from agent.capacity import Capacity
from agent.conversation import Conversation
from agent.face import choose_face
from agent.job import Jobs
from agent.metrics import Metrics
from agent.models import Local
from agent.persona import load_persona
from agent.settings import load_settings

pytestmark = pytest.mark.unit

SETTINGS = load_settings({"AVATAR_BACKEND": "puppet", "MIEN_SIZE_PX": "256", "STT_PROVIDER": "none"})


class ClosedRoom:
    """A room that lets nobody in."""

    name = "closed"

    async def connect(self, url: str, token: str, options: rtc.RoomOptions) -> None:
        raise rtc.ConnectError("not today")


class Context:
    """Of a job, as far as ours look at it."""

    def __init__(self, metadata: str) -> None:
        self.job = SimpleNamespace(id="AJ_1", metadata=metadata)
        self.room = ClosedRoom()
        self._info = SimpleNamespace(url="ws://127.0.0.1:7880", token="secret")
        self.ended: list[str] = []

    def shutdown(self, reason: str) -> None:
        self.ended.append(reason)


def conversations(capacity: Capacity) -> Callable[[Any], Awaitable[None]]:
    persona = load_persona("mien")
    face = choose_face(SETTINGS.avatar, persona)
    return Jobs(SETTINGS, persona, face, Local(SETTINGS), Metrics(), capacity, Conversation).hold


def avatars(capacity: Capacity) -> Callable[[Any], Awaitable[None]]:
    return AvatarJobs(Faces(SETTINGS), Metrics(), capacity).hold


@pytest.mark.parametrize(
    ("made", "metadata"),
    [(conversations, ""), (avatars, json.dumps({"identity": "face", "on_behalf_of": "agent"}))],
    ids=["conversation", "avatar"],
)
async def test_a_room_that_cannot_be_joined_leaves_nothing_behind(
    made: Callable[[Capacity], Callable[[Any], Awaitable[None]]], metadata: str, caplog: pytest.LogCaptureFixture
) -> None:
    capacity = Capacity(4, 2.0, lambda: (0, 0), measured=False)
    hold, context = made(capacity), Context(metadata)
    before = set(threading.enumerate())
    with caplog.at_level(logging.ERROR):
        await hold(context)
    assert context.ended == ["error"]
    assert capacity.open == 0
    [told] = caplog.records
    assert "cannot join the LiveKit room" in told.getMessage()
    assert told.exc_info is None, "a line, no traceback"
    assert "secret" not in caplog.text
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith("asyncio")} == set(), "the figure's thread has ended"
