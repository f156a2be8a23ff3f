"""The memory room: a conversation with no network, for tests, tools and offline use. A full implementation of `Room`.

What a person would do is called directly (`join`, `say`, `write`, `lose`, `leave`); what they would get is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from livekit.agents import Agent, AgentSession

from avatar.frames import Frame, Pcm, SinkClosed
from rooms.microphone import Microphone
from rooms.room import Message, Presence


class MemorySink:
    """Sends each frame the moment it is put, and keeps it."""

    name = "memory"
    delay_ms = 0

    def __init__(self, on_sent: Callable[[int], None] | None = None) -> None:
        self.frames: list[Frame] = []
        self.generation = 0
        self._on_sent = on_sent
        self._closed = False

    def put(self, frame: Frame) -> None:
        if self._closed:
            raise SinkClosed("the memory sink is closed")
        stale = frame.generation < self.generation
        self.frames.append(replace(frame, sound=np.zeros_like(frame.sound)) if stale else frame)
        if self._on_sent is not None:
            self._on_sent(frame.tick)

    def clear(self, generation: int) -> int:
        self.generation = max(self.generation, generation)
        return 0

    def unsent(self) -> int:
        return 0

    async def aclose(self) -> None:
        self._closed = True

    @property
    def sound(self) -> Pcm:
        """All of it: int16 [frames * TICK_SAMPLES] at 48 kHz."""
        return np.concatenate([np.zeros(0, np.int16), *[frame.sound for frame in self.frames]])


class MemoryRoom:
    """One person's room, without the person."""

    def __init__(self, presence: Presence) -> None:
        self.microphone = Microphone()
        self.on_sent: Callable[[int, float], None] | None = None
        self.sink = MemorySink(self._sent)
        self.messages: list[Message] = []
        """What their page was told."""
        self._presence = presence
        self._there = False
        self._closed = False

    # -- the person's side

    def join(self) -> None:
        """Come, for the first time or after `lose`."""
        self._there = True
        self._presence.on_joined(self.sink)
        self._presence.on_page()

    def say(self, pcm: Pcm) -> None:
        """Speak into the microphone: int16 [n] at 16 kHz, at the pace at which it is called."""
        if not self._closed:
            self.microphone.hear(pcm)

    def write(self, message: Message) -> None:
        self._presence.on_message(message)

    def lose(self) -> None:
        """Be cut off."""
        self._there = False
        self._presence.on_lost(self.sink)

    def leave(self) -> None:
        self._presence.on_left()

    # -- the conversation's side

    async def begin(self, session: AgentSession[None], agent: Agent, *, listen: bool) -> None:
        if listen:
            session.input.audio = self.microphone
        await session.start(agent, record=False)

    def send(self, message: Message) -> None:
        if self._there:
            self.messages.append(message)

    def hold_microphone(self, held: bool) -> None:
        self.microphone.held = held

    async def aclose(self) -> None:
        self._closed = True
        self.microphone.close()
        if self._there:
            self.lose()

    def _sent(self, tick: int) -> None:
        if self.on_sent is not None:
            self.on_sent(tick, asyncio.get_running_loop().time())
