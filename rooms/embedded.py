"""The embedded room: a person's page, connected straight to this process over WebRTC.

It outlives its peer: when the connection breaks, the room is kept for a while and a new peer takes it up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from livekit.agents import Agent, AgentSession

from avatar.frames import MienError
from rooms.microphone import Microphone
from rooms.peer import Peer
from rooms.room import Message, Presence

LINGER_S = 30.0
"""How long a room waits for its person to come back."""
CONNECT_S = 20.0
"""How long an answered offer may take to connect."""


class RoomClosed(MienError):
    """The conversation of this room is over."""


class EmbeddedRoom:
    """One person's room; a `Room`. Offers come by HTTP, see rooms/http.py."""

    def __init__(self, presence: Presence, *, ice_servers: Sequence[dict[str, Any]] = ()) -> None:
        self.microphone = Microphone()
        self.on_sent: Callable[[int, float], None] | None = None
        self._presence = presence
        self._ice_servers = ice_servers
        self._peer: Peer | None = None
        self._joined: Peer | None = None
        """The peer whose sink the presence was given and has not lost yet."""
        self._left = False
        self._waiting: asyncio.TimerHandle | None = None

    async def answer(self, sdp: str) -> str:
        """Let a page in, the first time or again; an older peer of this room gives way.

        Raises:
            PeerError: the offer cannot be answered.
            RoomClosed: the conversation is over, or ended while the answer was made.
        """
        self._refuse_when_left()
        peer = Peer(
            ice_servers=self._ice_servers,
            on_connected=self._connected,
            on_closed=self._closed,
            on_channel=self._presence.on_page,
            on_message=self._message,
            on_hear=self.microphone.hear,
        )
        peer.sink.sound.on_sent = self._sent
        peer.sink.sound.on_played = self.microphone.played
        answer = await peer.answer(sdp)
        if self._left:
            await peer.aclose()
        self._refuse_when_left()
        older, self._peer = self._peer, peer
        if older is not None:
            await older.aclose()
        self._wait(CONNECT_S)
        return answer

    async def begin(self, session: AgentSession[None], agent: Agent, *, listen: bool) -> None:
        if listen:
            session.input.audio = self.microphone
        await session.start(agent, record=False)

    def send(self, message: Message) -> None:
        if self._peer is not None:
            self._peer.send(message)

    def hold_microphone(self, held: bool) -> None:
        self.microphone.held = held

    async def aclose(self) -> None:
        self._left = True
        if self._waiting is not None:
            self._waiting.cancel()
        self.microphone.close()
        if self._peer is not None:
            await self._peer.aclose()

    def _refuse_when_left(self) -> None:
        if self._left:
            raise RoomClosed("this conversation is over; a new one can be started")

    # -- what the peer tells

    def _sent(self, tick: int, at_s: float) -> None:
        if self.on_sent is not None:
            self.on_sent(tick, at_s)

    def _message(self, message: Message) -> None:
        if message["type"] == "leave":
            self._leave()
        else:
            self._presence.on_message(message)

    def _connected(self, peer: Peer) -> None:
        if peer is not self._peer:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        # An older peer may still be closing: told after this, its loss would pass for the newer one's.
        self._lost()
        self._joined = peer
        self._presence.on_joined(peer.sink)

    def _closed(self, peer: Peer) -> None:
        if peer is self._joined:
            self._lost()
        if peer is self._peer:
            self._peer = None
            self._wait(LINGER_S)

    def _lost(self) -> None:
        """Tell of the joined peer's loss, once; of a peer that never joined there is nothing to tell."""
        if self._joined is not None:
            sink, self._joined = self._joined.sink, None
            self._presence.on_lost(sink)

    def _wait(self, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if not self._left:
            self._waiting = asyncio.get_running_loop().call_later(seconds, self._leave)

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._presence.on_left()
