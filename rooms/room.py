"""The room contract: where a conversation meets a person.

The room starts the session with what it hears; picture and sound out is a `Sink`; everything else (chat, captions,
state, notices) is messages, JSON objects with a ``type``, as docs/protocol.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from livekit.agents import Agent, AgentSession

from avatar.frames import Sink

Message = Mapping[str, Any]


class Presence(Protocol):
    """Told when the person comes, is cut off, and goes; and of what their page says. On the event loop."""

    def on_joined(self, sink: Sink) -> None:
        """Somebody is there, for the first time or again: feed this sink."""

    def on_watched(self, watched: bool) -> None:
        """Whether anybody sees the picture; from ``on_joined`` on somebody does, until the room says otherwise."""

    def on_page(self) -> None:
        """Their page can take messages now, for the first time or again: tell it how things stand."""

    def on_lost(self, sink: Sink) -> None:
        """The connection broke; they may come back. The sink takes nothing any more."""

    def on_left(self) -> None:
        """They went, or did not come back in time: the conversation is over."""

    def on_message(self, message: Message) -> None:
        """One message from their side; unknown types are ignored."""


class Room(Protocol):
    """One conversation's room."""

    @property
    def on_sent(self) -> Callable[[int, float], None] | None:
        """Told of each sound packet sent: the tick it belongs to, and when (the loop's clock, s)."""

    @on_sent.setter
    def on_sent(self, callback: Callable[[int, float], None] | None) -> None: ...

    async def begin(self, session: AgentSession[None], agent: Agent, *, listen: bool) -> None:
        """Start the session with what this room hears: 16 kHz mono frames, for as long as the room is open, across
        reconnections. Its audio output is set before, its transcription afterwards. Call it once.

        Args:
            listen: whether to hear the person at all; without it there is only writing.
        """

    def send(self, message: Message) -> None:
        """Tell the person's side; what cannot be delivered now is lost (the next `hello` holds the state)."""

    def hold_microphone(self, held: bool) -> None:
        """While held, silence is heard in place of the microphone (muted, or half duplex)."""

    async def aclose(self) -> None:
        """Say goodbye and free everything; bounded in time."""
