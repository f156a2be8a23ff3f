"""The server of `mien talk` with an observer: what happened in its conversations, and when, as JSON lines on stdout.

In: the settings of the environment. Out: the address, then events ``{"e": …, "at": monotonic seconds, …}``. Everything
that is measured is the real thing, used as it stands: server, conversation, models, renderer, playout, room, page. The
observer sits around their public ends: the room and the renderer that a conversation is given, and the two calls by
which its playout tells it of starts and ends.

| event | when |
| --- | --- |
| ``mic`` | 20 ms of the microphone left the room's `AudioInput`, where sound starts or stops; rms of full scale |
| ``level`` | once a second: the loudest 20 ms of that second of the microphone, as the session hears it (rms) |
| ``push`` | the first speech of a segment reached the renderer; ``ready``: as much as its first picture needs |
| ``cut`` | `Playout.clear`, the end of everything said so far |
| ``started``, ``finished`` | the playout's own events, with what they say; ``pushed_s``: how much speech there was |
| ``packet`` | the first packet of a segment was sent |
| ``told`` | the page was told of a state, a user state, a turn or a final caption |
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice import io

from agent.conversation import Conversation
from agent.settings import load_settings
from agent.talk import run
from avatar.frames import TICK_SPEECH_SAMPLES, Pcm, Picture
from avatar.playout import Finished, Started
from avatar.renderer import Expression, Renderer, Shot
from benchmarks.child import emit
from rooms.room import Message, Room

TOLD = ("state", "user_state", "turn", "caption")
SOUND_RMS = 0.01
QUIET_FRAMES = 15
"""A microphone that was silent for 300 ms has fallen silent."""
LEVEL_FRAMES = 50


class ObservedMicrophone(io.AudioInput):
    """Passes the sound on, and tells where it starts and stops."""

    def __init__(self, source: io.AudioInput) -> None:
        super().__init__(label=source.label, source=source)
        self._quiet = QUIET_FRAMES
        self._levels: list[float] = []

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await super().__anext__()
        rms = float(np.sqrt(np.mean((np.frombuffer(frame.data, np.int16) / 32768.0) ** 2)))
        if rms >= SOUND_RMS:
            if self._quiet >= QUIET_FRAMES:
                emit("mic", sound=True, rms=round(rms, 4))
            self._quiet = 0
        else:
            self._quiet += 1
            if self._quiet == QUIET_FRAMES:
                emit("mic", sound=False, rms=round(rms, 4))
        self._levels.append(rms)
        if len(self._levels) == LEVEL_FRAMES:
            emit("level", rms=round(max(self._levels), 4))
            self._levels.clear()
        return frame


class ObservedRoom:
    """A `Room` around a room."""

    def __init__(self, room: Room, on_sent: Callable[[int, float], None]) -> None:
        self._room = room
        self._told_first = on_sent
        self._on_sent: Callable[[int, float], None] | None = None
        room.on_sent = self._sent

    @property
    def on_sent(self) -> Callable[[int, float], None] | None:
        return self._on_sent

    @on_sent.setter
    def on_sent(self, callback: Callable[[int, float], None] | None) -> None:
        self._on_sent = callback

    def _sent(self, tick: int, at_s: float) -> None:
        self._told_first(tick, at_s)
        if self._on_sent is not None:
            self._on_sent(tick, at_s)

    async def begin(self, session: AgentSession[None], agent: Agent, *, listen: bool) -> None:
        await self._room.begin(session, agent, listen=listen)
        if session.input.audio is not None:
            session.input.audio = ObservedMicrophone(session.input.audio)

    def send(self, message: Message) -> None:
        if message["type"] in TOLD and message.get("final", True):
            emit("told", message=dict(message))
        self._room.send(message)

    def hold_microphone(self, held: bool) -> None:
        self._room.hold_microphone(held)

    async def aclose(self) -> None:
        await self._room.aclose()


class ObservedRenderer:
    """A `Renderer` around a renderer; draws nothing itself."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self.pushed: dict[int, int] = {}
        """Samples at 16 kHz by segment."""

    @property
    def name(self) -> str:
        return self._renderer.name

    @property
    def width(self) -> int:
        return self._renderer.width

    @property
    def height(self) -> int:
        return self._renderer.height

    @property
    def lookahead_ms(self) -> float:
        return self._renderer.lookahead_ms

    @property
    def lead_ticks(self) -> int:
        return self._renderer.lead_ticks

    @property
    def start_ticks(self) -> int:
        return self._renderer.start_ticks

    @property
    def start_grace_ms(self) -> int:
        return self._renderer.start_grace_ms

    @property
    def still(self) -> Picture:
        return self._renderer.still

    def push(self, segment: int, pcm: Pcm) -> None:
        before = self.pushed.get(segment, 0)
        self.pushed[segment] = before + pcm.size
        needed = TICK_SPEECH_SAMPLES + self.lookahead_ms * TICK_SPEECH_SAMPLES / 40
        if before < needed <= self.pushed[segment]:
            emit("push", segment=segment, ready=True)
        elif not before:
            emit("push", segment=segment, ready=False)
        self._renderer.push(segment, pcm)

    def end(self, segment: int) -> None:
        self._renderer.end(segment)

    def clear(self, generation: int) -> None:
        emit("cut", generation=generation)
        self._renderer.clear(generation)

    def express(self, expression: Expression, tick: int) -> None:
        self._renderer.express(expression, tick)

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        return self._renderer.request(shot)

    async def aclose(self) -> None:
        await self._renderer.aclose()


class FirstPackets:
    """Tells when a segment started, and when its first packet was sent."""

    def __init__(self) -> None:
        self._awaited: Started | None = None

    def started(self, event: Started) -> None:
        emit("started", segment=event.segment, pushed=event.pushed_at, released=event.released_at, fresh=event.fresh)
        self._awaited = event

    def sent(self, tick: int, at_s: float) -> None:
        if self._awaited is not None and tick >= self._awaited.tick:
            emit("packet", segment=self._awaited.segment, sent=at_s)
            self._awaited = None


class ObservedConversation(Conversation):
    """The conversation itself; its playout's events are told before it acts on them."""

    def __init__(self, *, renderer: Renderer, **parts: Any) -> None:
        self._observed = ObservedRenderer(renderer)
        super().__init__(renderer=self._observed, **parts)
        self._packets = FirstPackets()

    async def run(self, room: Room) -> None:
        await super().run(ObservedRoom(room, self._packets.sent))

    def on_started(self, event: Started) -> None:
        self._packets.started(event)
        super().on_started(event)

    def on_finished(self, event: Finished) -> None:
        pushed_s = self._observed.pushed.pop(event.segment, 0) / 16_000
        emit(
            "finished",
            segment=event.segment,
            position_s=round(event.position_s, 4),
            pushed_s=round(pushed_s, 4),
            interrupted=event.interrupted,
        )
        super().on_finished(event)


if __name__ == "__main__":
    run(load_settings(os.environ), open_browser=False, conversation=ObservedConversation)
