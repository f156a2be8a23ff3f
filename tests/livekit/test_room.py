"""The LiveKit room alone, without a worker: who watches, what is transcribed, whom it talks with."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession

from avatar.frames import TICK_SAMPLES, Frame, Picture
from rooms.livekit import GRACE_S, LISTEN_S, RETURNS, LiveKitRoom, connect
from rooms.livekit_tracks import RoomError
from tests.conformance.test_room import Guestbook
from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import LiveKitServer

pytestmark = pytest.mark.livekit


@asynccontextmanager
async def opened(server: LiveKitServer) -> AsyncIterator[tuple[LiveKitRoom, Guestbook, str]]:
    """A room in which the avatar waits, who is told, and the room's name."""
    name, book, avatar = secrets.token_hex(6), Guestbook(), rtc.Room()
    session: AgentSession[None] = AgentSession(vad=book.ears, turn_handling={"turn_detection": "vad"})
    await connect(avatar, server.url, server.token("mien", name, kind="agent"))
    room = LiveKitRoom(book, avatar, width=64, height=64)
    try:
        await room.begin(session, Agent(instructions=""), listen=True)
        yield room, book, name
    finally:
        await session.aclose()
        await room.aclose()


async def test_only_who_subscribes_to_the_picture_has_it_drawn(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (_, book, name):
        person = LiveKitPerson()
        await person.join(livekit.url, livekit.token("ada", name), look=False)
        await until(lambda: len(book.sinks) == 1, "joined")
        assert not book.watched, "the voice alone"

        async def play() -> None:
            grey = Picture(np.full((96, 64), 128, np.uint8))
            tick = 0
            while True:
                book.sinks[0].put(Frame(tick, 0, grey, np.zeros(TICK_SAMPLES, np.int16)))
                tick += 1
                await asyncio.sleep(0.04)

        playing = asyncio.create_task(play())
        person.watch(True)
        await until(lambda: book.watched and len(person.pictures) > 5, "watched")
        person.watch(False)
        await until(lambda: not book.watched, "not watched any more", 20)
        before = len(person.pictures)
        person.watch(True)
        await until(lambda: book.watched and len(person.pictures) > before + 5, "watched again")
        playing.cancel()
        await person.leave()


async def test_captions_are_transcribed_as_they_grow(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (room, book, name):
        person = LiveKitPerson()
        await person.join(livekit.url, livekit.token("ada", name))
        await until(lambda: len(book.sinks) == 1, "joined")

        def caption(number: str, text: str, final: bool = False) -> None:
            room.send({"type": "caption", "role": "assistant", "id": number, "text": text, "final": final})

        caption("a1", "One")
        await until(lambda: [one["text"] for one in person.said] == ["One"], "the first word at once")
        caption("a1", "One two")
        caption("a1", "One two three.", final=True)
        caption("a2", "Four five")
        caption("a2", "Four", final=True)  # interrupted: what was heard is less than what was shown
        room.send({"type": "caption", "role": "user", "id": "u1", "text": "Not mine.", "final": True})
        await until(lambda: len(person.told("caption")) == 6 and all(one["final"] for one in person.said), "all told")
        assert [(one["text"], one["by"]) for one in person.said] == [("One two three.", "mien"), ("Four five", "mien")]
        await person.leave()


async def test_only_the_person_it_talks_with_may_say_something_and_then_the_next(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (_, book, name):
        ada, bob = LiveKitPerson("ada"), LiveKitPerson("bob")
        await ada.join(livekit.url, livekit.token("ada", name), microphone=False)
        await until(lambda: len(book.sinks) == 1, "Ada is talked with")
        await bob.join(livekit.url, livekit.token("bob", name), microphone=False)
        await bob.tell({"type": "interrupt"})
        await bob.write("Hello?")
        await ada.write("It's me.")
        await until(lambda: len(book.messages) == 1, "Ada's word")
        assert book.messages[0]["text"] == "It's me."
        await ada.leave()
        await until(lambda: len(book.sinks) == 2, "Bob is talked with")
        await bob.tell({"type": "interrupt"})
        await until(lambda: len(book.messages) == 2, "Bob's word")
        assert book.left == 0
        await bob.leave()
        await until(lambda: book.left == 1, "nobody is left")


async def test_who_does_not_take_the_voice_is_talked_with_and_so_is_the_next(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (_, book, name):
        ada, bob = LiveKitPerson("ada"), LiveKitPerson("bob")
        await ada.join(livekit.url, livekit.token("ada", name), microphone=False, look=False, listen=False)
        await until(lambda: len(book.sinks) == 1, "Ada is talked with", LISTEN_S + 10)
        await bob.join(livekit.url, livekit.token("bob", name), microphone=False)
        await ada.leave()
        await until(lambda: len(book.sinks) == 2, "Bob is talked with")
        await bob.leave()


async def test_what_is_said_again_counts_once_and_is_confirmed_each_time(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (_, book, name):
        person = LiveKitPerson()
        await person.join(livekit.url, livekit.token("ada", name), microphone=False)
        await until(lambda: len(book.sinks) == 1, "joined")
        for number, text in (("c1", "One"), ("c1", "One"), ("c2", "Two"), ("x" * 65, "Long"), ("x" * 65, "Long")):
            await person.tell({"type": "chat", "id": number, "text": text})
        await until(lambda: len(book.messages) == 4, "what is new")
        assert [message["text"] for message in book.messages] == ["One", "Two", "Long", "Long"]
        await until(lambda: len(person.told("heard")) == 3, "confirmed")
        assert [message["id"] for message in person.told("heard")] == ["c1", "c1", "c2"]
        await person.leave()


async def test_what_is_no_message_is_ignored(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (_, book, name):
        person = LiveKitPerson()
        await person.join(livekit.url, livekit.token("ada", name), microphone=False)
        await until(lambda: len(book.sinks) == 1, "joined")
        for nonsense in ("", "{", "[]", '{"type": 3}', "x" * 100_000, "[" * 5000):
            await person.room.local_participant.send_text(nonsense, topic="mien")
        await person.tell({"type": "mute", "muted": True})
        await until(lambda: len(book.messages) == 1, "the one message")
        assert book.messages[0]["type"] == "mute"
        await person.leave()


async def test_a_page_that_is_loaded_again_is_waited_for(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (_, book, name):
        token = livekit.token("ada", name, attributes={RETURNS: "yes"})
        first, again = LiveKitPerson(), LiveKitPerson()
        await first.join(livekit.url, token, microphone=False)
        await until(lambda: len(book.sinks) == 1, "joined")
        await first.leave()
        await until(lambda: len(book.lost) == 1, "noticed")
        await asyncio.sleep(GRACE_S + 0.5)
        assert book.left == 0, "it did not say that it leaves"
        await again.join(livekit.url, token, microphone=False)
        await until(lambda: len(book.sinks) == 2, "joined again")
        await again.tell({"type": "leave"})
        await until(lambda: book.left == 1, "now it did")
        await again.leave()


async def test_a_reconnection_of_the_avatar_holds_the_conversation(livekit: LiveKitServer) -> None:
    async with opened(livekit) as (room, book, name):
        person = LiveKitPerson()
        await person.join(livekit.url, livekit.token("ada", name))
        await until(lambda: len(book.sinks) == 1, "joined")
        await room._room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
        await until(lambda: len(book.lost) == 1, "noticed")
        await until(lambda: len(book.sinks) == 2, "joined again", 20)
        await person.tell({"type": "interrupt"})
        await until(lambda: len(book.messages) == 1, "a word")
        assert book.left == 0
        await person.leave()


async def test_a_server_that_is_not_there_or_refuses_is_an_error_of_ours(livekit: LiveKitServer) -> None:
    with pytest.raises(RoomError, match="cannot join the LiveKit room at ws://127"):
        await connect(rtc.Room(), livekit.url, "no token")
