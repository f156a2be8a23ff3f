"""A story to interrupt: asks the avatar for one, in a quiet moment, and waits until it is heard.

In: a visit and the observed server behind it. Out: which segment is being told, and since when.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.chromium import Visit
from benchmarks.measure import NotMeasured, first_loud
from benchmarks.recording import EAR_BLOCK_S
from benchmarks.servers import Server

LOUD = 0.005
"""Peak of full scale; the decoded silence of the avatar is far below it."""
QUIET_S = 0.4
"""Longer than the avatar's pauses between words, shorter than the wait for its reply."""


@dataclass(frozen=True, slots=True)
class Story:
    """One that is being told: its segment in the playout, and when its first sound was released."""

    segment: int
    began: float


async def tell_a_story(visit: Visit, server: Server) -> Story:
    """Ask for one, in a quiet moment, and wait until it is heard."""
    await silenced(visit)
    asked = time.monotonic()
    await visit.write("Tell me a story.")
    started = await server.event("started", asked, 10)
    await visit.take()
    start = max(0, visit.recording.block_heard_at(started["at"]))
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if first_loud(visit.recording.played, start, threshold=LOUD) is not None:
            return Story(started["segment"], started["at"])
        await asyncio.sleep(0.1)
        await visit.take()
    raise NotMeasured("the story was released but not heard")


async def silenced(visit: Visit) -> None:
    """Stop whatever is being said, as the page's button does, and wait until nothing is heard any more."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        await visit.page.evaluate("() => window.mien.client.interrupt()")
        await asyncio.sleep(QUIET_S + 0.4)
        await visit.take()
        if visit.recording.played[-round(QUIET_S / EAR_BLOCK_S) :].max(initial=0) < LOUD:
            return
    raise NotMeasured("the avatar could not be silenced")


def leaves_speaking(event: dict[str, Any]) -> bool:
    """Whether this ``told`` event says that the avatar does not speak now: it was paused, cut, or is done."""
    return bool(event["message"]["type"] == "state" and event["message"]["state"] != "speaking")
