"""What a stream says of its own health: starting, well, and for each part that may fail, degraded."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from agent.settings import StreamSettings
from agent.stream_health import health
from rooms.rtmp import StreamStatus
from rooms.rtmp_recording import RecordingStatus
from rooms.rtmp_target import TargetStatus

pytestmark = pytest.mark.unit

QUEUE: dict[str, Any] = {
    "state": "talking",
    "message": "m1",
    "running": True,
    "paused": False,
    "backlog": 2,
    "settled": {"played": 3, "failed": 0, "skipped": 0},
    "duplicates": 0,
    "messages": [{"id": "m1", "shows": "what somebody wrote"}],
}


def target(state: Literal["connecting", "live", "waiting", "refused", "closed"]) -> TargetStatus:
    problem = None if state == "live" else "it hung up"
    return TargetStatus("rtmp://host/live/***", state, problem, 1.0, 1, 0, 0, 0, 10, 0.0)


def told(**parts: Any) -> dict[str, Any]:
    status = StreamStatus("x264", parts.get("targets", (target("live"),)), 100, 1, 2, 0, 1.234, 5.678)
    return health(
        StreamSettings(),
        status,
        parts.get("recording"),
        face=parts.get("face"),
        queue=parts.get("queue", QUEUE),
        broker=parts.get("broker"),
    )


def recorded(state: Literal["recording", "failed", "closed"]) -> RecordingStatus:
    return RecordingStatus(state, "a.mp4", "the disk is full" if state == "failed" else None, 1, 0)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({}, "ok"),
        ({"targets": ()}, "ok"),
        ({"queue": None}, "starting"),
        ({"queue": None, "targets": (target("waiting"),)}, "starting"),
        ({"targets": (target("live"), target("waiting"))}, "degraded"),
        ({"targets": (target("refused"),)}, "degraded"),
        ({"recording": recorded("recording")}, "ok"),
        ({"recording": recorded("failed")}, "degraded"),
        ({"broker": {"connected": True}}, "ok"),
        ({"broker": {"connected": False}}, "degraded"),
        ({"face": "the GPU has no room"}, "degraded"),
    ],
)
def test_one_word_for_all_parts(parts: dict[str, Any], status: str) -> None:
    assert told(**parts)["status"] == status


def test_it_tells_what_is_going_on_and_no_more_than_that() -> None:
    whole = told(recording=recorded("failed"), broker={"connected": True})
    assert (whole["state"], whole["message"]) == ("talking", "m1")
    assert whole["recording"]["problem"] == "the disk is full"
    assert (whole["stream"]["pictures_dropped"], whole["stream"]["ticks_dropped"]) == (1, 2)
    assert whole["queue"]["backlog"] == 2
    assert "what somebody wrote" not in str(whole), "texts are shown to those with the token alone: /api/queue"
    early = told(queue=None)
    assert (early["state"], early["message"]) == ("idle", None)
    assert "queue" not in early
