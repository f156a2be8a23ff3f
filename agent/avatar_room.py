"""A face and a voice in one room, for an agent that runs elsewhere.

In: the room, joined; that agent's speech. Out: a participant that publishes on the agent's behalf, and leaves when the
agent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents.voice.room_io.types import DEFAULT_CLOSE_ON_DISCONNECT_REASONS

from agent.avatar_speech import RemoteSpeech
from agent.metrics import Metrics
from agent.watched import WatchedRenderer
from avatar.playout import Finished, Playout, Started
from avatar.renderer import Expression
from rooms.livekit_calls import answering
from rooms.livekit_sink import LiveKitSink
from rooms.livekit_tracks import publish

logger = logging.getLogger(__name__)

COME_S = 30.0
"""How long the avatar waits for its agent at first."""
LINGER_S = 10.0
"""How long it waits for one that was cut off."""
CLOSE_S = 3.0
STATE = "lk.agent.state"
_EXPRESSIONS = {
    "listening": Expression.LISTENING,
    "thinking": Expression.THINKING,
    "speaking": Expression.SPEAKING,
}


class Avatar:
    """In one room. Call `run` once; it returns why it left."""

    def __init__(self, room: rtc.Room, agent: str, renderer: WatchedRenderer, metrics: Metrics) -> None:
        self.on_sent: Callable[[int, float], None] | None = None
        """Called with each tick that has left, and when that was."""
        self._room = room
        self._agent = agent
        self._renderer = renderer
        self._metrics = metrics
        self._speech = RemoteSpeech(room, agent)
        self._playout = Playout(renderer, listener=self)
        self._playout.on_tick = metrics.tick
        self._left: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.TimerHandle | None = None

    async def run(self) -> str:
        with answering(self._room, self._speech.methods):
            return await self._stay()

    async def _stay(self) -> str:
        room, sink = self._room, LiveKitSink(self._renderer.width, self._renderer.height)
        sink.watched = False
        sink.on_sent = self.on_sent

        def watched(on: bool) -> None:
            self._renderer.watched = sink.watched = on

        clock = asyncio.create_task(self._playout.run(), name="playout")
        watching: asyncio.Task[None] | None = None
        try:
            self._speech.begin(self._playout)
            self._playout.attach(sink, primary=True)
            room.on("participant_connected", self._came)
            room.on("participant_disconnected", self._gone)
            room.on("participant_attributes_changed", self._changed)
            room.on("disconnected", lambda reason: self._leave("disconnected"))
            _, picture = await publish(room, sink, self._renderer.width, self._renderer.height)
            watching = asyncio.create_task(picture.watch(watched))
            self._wait(COME_S)
            for participant in list(room.remote_participants.values()):
                self._came(participant)
            waited: list[asyncio.Future[Any]] = [clock, watching, self._left]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for failed in (clock, watching):
                if failed.done():
                    failed.result()
            return self._left.result()
        finally:
            if self._waiting is not None:
                self._waiting.cancel()
            for task in (clock, watching):
                if task is not None:
                    task.cancel()
            self._playout.close()
            await self._speech.aclose()
            await sink.aclose()
            await self._renderer.aclose()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await room.disconnect()

    # -- the playout

    def on_started(self, event: Started) -> None:
        self._speech.on_started(event)

    def on_finished(self, event: Finished) -> None:
        if event.interrupted:
            self._metrics.interrupted()
        self._speech.on_finished(event)

    # -- the agent

    def _came(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._agent:
            return
        logger.info("standing in for %s", self._agent)
        if self._waiting is not None:
            self._waiting.cancel()
        self._changed([], participant)

    def _gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._agent:
            return
        self._playout.clear()
        self._playout.resume()
        self._playout.express(Expression.IDLE)
        if participant.disconnect_reason in DEFAULT_CLOSE_ON_DISCONNECT_REASONS:
            self._leave("agent left")
        else:
            self._wait(LINGER_S)

    def _changed(self, _: object, participant: rtc.Participant) -> None:
        if participant.identity == self._agent:
            self._playout.express(_EXPRESSIONS.get(participant.attributes.get(STATE, ""), Expression.IDLE))

    def _wait(self, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(seconds, self._leave, "no agent")

    def _leave(self, reason: str) -> None:
        if not self._left.done():
            self._left.set_result(reason)
