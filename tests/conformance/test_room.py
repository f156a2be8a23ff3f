"""What every room keeps to: sound in, frames out, messages both ways, coming back, leaving."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, Frame, Pcm, Picture, Sink
from rooms.embedded import EmbeddedRoom
from rooms.livekit import LiveKitRoom, connect
from rooms.memory import MemoryRoom
from rooms.peer import offer_media_on
from rooms.room import Message, Room
from tests.doubles.ears import Ears
from tests.doubles.page import Page, until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import LiveKitServer

pytestmark = pytest.mark.loopback


@dataclass
class Guestbook:
    """A presence that keeps what it is told."""

    sinks: list[Sink] = field(default_factory=list)
    lost: list[Sink] = field(default_factory=list)
    pages: int = 0
    left: int = 0
    messages: list[Message] = field(default_factory=list)
    watched: bool = False
    ears: Ears = field(default_factory=Ears)
    """Of the session that the room began."""

    def on_joined(self, sink: Sink) -> None:
        self.sinks.append(sink)
        self.watched = True

    def on_watched(self, watched: bool) -> None:
        self.watched = watched

    def on_page(self) -> None:
        self.pages += 1

    def on_lost(self, sink: Sink) -> None:
        self.lost.append(sink)

    def on_left(self) -> None:
        self.left += 1

    def on_message(self, message: Message) -> None:
        self.messages.append(message)


class Person(Protocol):
    """The person's side of a room under test."""

    room: Room
    book: Guestbook

    async def arrive(self) -> None:
        """Have the room there, before anybody is in it."""

    async def join(self) -> None: ...

    def say(self, pcm: Pcm) -> None: ...

    def write(self, message: dict[str, Any]) -> None: ...

    def told(self) -> list[Message]: ...

    def heard(self) -> Pcm: ...

    def pictures(self) -> int: ...

    async def lose(self) -> None: ...

    async def leave(self) -> None: ...

    async def aclose(self) -> None: ...


class MemoryPerson:
    def __init__(self) -> None:
        self.book = Guestbook()
        self._memory = MemoryRoom(self.book)
        self.room: Room = self._memory

    async def arrive(self) -> None:
        pass

    async def join(self) -> None:
        self._memory.join()

    def say(self, pcm: Pcm) -> None:
        self._memory.say(pcm[::3])

    def write(self, message: dict[str, Any]) -> None:
        self._memory.write(message)

    def told(self) -> list[Message]:
        return self._memory.messages

    def heard(self) -> Pcm:
        return self._memory.sink.sound

    def pictures(self) -> int:
        return len(self._memory.sink.frames)

    async def lose(self) -> None:
        self._memory.lose()

    async def leave(self) -> None:
        self._memory.leave()

    async def aclose(self) -> None:
        pass


class EmbeddedPerson:
    def __init__(self) -> None:
        offer_media_on(["127.0.0.1"])
        self.book = Guestbook()
        self._embedded = EmbeddedRoom(self.book)
        self.room: Room = self._embedded
        self._pages: list[Page] = []

    async def arrive(self) -> None:
        pass

    async def join(self) -> None:
        self._pages.append(Page())
        await self._pages[-1].join(self._embedded.answer)

    def say(self, pcm: Pcm) -> None:
        self._pages[-1].voice.say(pcm)

    def write(self, message: dict[str, Any]) -> None:
        self._pages[-1].send(message)

    def told(self) -> list[Message]:
        return [message for page in self._pages for message in page.messages]

    def heard(self) -> Pcm:
        return self._pages[-1].heard()

    def pictures(self) -> int:
        return len(self._pages[-1].pictures)

    async def lose(self) -> None:
        await self._pages[-1].aclose()

    async def leave(self) -> None:
        self._pages[-1].send({"type": "leave"})

    async def aclose(self) -> None:
        for page in self._pages:
            await page.aclose()


class LiveKitVisitor:
    def __init__(self, server: LiveKitServer) -> None:
        self.book = Guestbook()
        self._server = server
        self._name = secrets.token_hex(6)
        self._avatar = rtc.Room()
        self._livekit = LiveKitRoom(self.book, self._avatar, width=64, height=64)
        self.room: Room = self._livekit
        self._clients: list[LiveKitPerson] = []

    async def arrive(self) -> None:
        await connect(self._avatar, self._server.url, self._server.token("mien", self._name, kind="agent"))

    async def join(self) -> None:
        self._clients.append(LiveKitPerson())
        await self._clients[-1].join(self._server.url, self._server.token("ada", self._name))

    def say(self, pcm: Pcm) -> None:
        self._clients[-1].say(pcm)

    def write(self, message: dict[str, Any]) -> None:
        self._clients[-1].tell_soon(message)

    def told(self) -> list[Message]:
        # Beside what the conversation says, the room confirms what came.
        return [message for client in self._clients for message in client.messages if message["type"] != "heard"]

    def heard(self) -> Pcm:
        return self._clients[-1].heard()

    def pictures(self) -> int:
        return len(self._clients[-1].pictures)

    async def lose(self) -> None:
        await self._server.remove("ada", self._name)

    async def leave(self) -> None:
        await self._clients[-1].leave()

    async def aclose(self) -> None:
        for client in self._clients:
            await client.leave()


Kind = Callable[[], Person]


@asynccontextmanager
async def visiting(kind: Kind) -> AsyncIterator[Person]:
    person = kind()
    session: AgentSession[None] = AgentSession(
        vad=person.book.ears, turn_handling={"turn_detection": "vad"}, aec_warmup_duration=None
    )
    try:
        await person.arrive()
        await person.room.begin(session, Agent(instructions=""), listen=True)
        await person.join()
        await until(lambda: bool(person.book.sinks) and person.book.pages > 0, "joined, and the page told")
        yield person
    finally:
        await person.aclose()
        await session.aclose()
        await person.room.aclose()


ROOMS = [
    pytest.param(lambda _: MemoryPerson, id="memory"),
    pytest.param(lambda _: EmbeddedPerson, id="embedded"),
    pytest.param(
        lambda request: partial(LiveKitVisitor, request.getfixturevalue("livekit")),
        id="livekit",
        marks=pytest.mark.livekit,
    ),
]


@pytest.fixture(params=ROOMS)
def kind(request: pytest.FixtureRequest) -> Kind:
    made: Kind = request.param(request)
    return made


def tone(seconds: float, hz: float) -> Pcm:
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (9000 * np.sin(2 * np.pi * hz * at)).astype(np.int16)


def pitch_hz(pcm: Pcm, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return float(np.argmax(spectrum) * rate_hz / pcm.size)


async def stream(sink: Sink, sound: Pcm) -> None:
    """Release a sound to a sink as a playout would, with grey pictures."""
    grey = Picture(np.full((96, 64), 128, np.uint8))
    for tick in range(sound.size // TICK_SAMPLES):
        sink.put(Frame(tick, 0, grey, sound[tick * TICK_SAMPLES : (tick + 1) * TICK_SAMPLES]))
        await asyncio.sleep(0.04)


async def heard_of(person: Person, seconds: float) -> Pcm:
    """What the session hears from now on."""
    ears = person.book.ears
    ears.heard.clear()
    await until(lambda: ears.sound.size >= seconds * 16_000, f"{seconds} s heard")
    return ears.sound


async def test_pictures_and_sound_reach_the_person(kind: Kind) -> None:
    async with visiting(kind) as person:
        sent: list[int] = []
        person.room.on_sent = lambda tick, at_s: sent.append(tick)
        await stream(person.book.sinks[0], tone(1.6, 440))
        await until(lambda: person.pictures() >= 30, "30 pictures of 40")
        await until(lambda: person.heard().size >= SAMPLE_RATE_HZ, "a second of sound")
        assert pitch_hz(person.heard()[-SAMPLE_RATE_HZ // 2 :], SAMPLE_RATE_HZ) == pytest.approx(440, abs=5)
        assert sent == sorted(sent)
        assert sent[-1] >= 38


async def test_what_is_cleared_is_not_heard(kind: Kind) -> None:
    async with visiting(kind) as person:
        sink = person.book.sinks[0]
        await stream(sink, tone(0.8, 440))
        grey = Picture(np.full((96, 64), 128, np.uint8))
        for tick in range(20, 24):  # more than can have been sent by the next line
            sink.put(Frame(tick, 0, grey, tone(0.04, 440)))
        sent_s = 0.96 - sink.clear(1) / SAMPLE_RATE_HZ
        for tick in range(24, 44):
            sink.put(Frame(tick, 1, grey, np.zeros(TICK_SAMPLES, np.int16)))
            await asyncio.sleep(0.04)
        await until(lambda: sink.unsent() <= TICK_SAMPLES, "all sent")
        await asyncio.sleep(0.3)
        loud = np.flatnonzero(np.abs(person.heard().astype(int)) > 1000)
        # A browser's jitter buffer stretches the beginning by up to 100 ms.
        assert (loud[-1] - loud[0]) / SAMPLE_RATE_HZ <= sent_s + 0.12


async def test_the_microphone_reaches_the_session(kind: Kind) -> None:
    async with visiting(kind) as person:
        person.say(tone(3, 300))
        heard = await heard_of(person, 2)
        assert pitch_hz(heard[-8000:], 16_000) == pytest.approx(300, abs=5)


async def test_a_held_microphone_is_silent(kind: Kind) -> None:
    async with visiting(kind) as person:
        person.room.hold_microphone(True)
        person.say(tone(3, 300))
        heard = await heard_of(person, 1)
        assert np.abs(heard[-8000:]).max() <= 2


async def test_messages_go_both_ways_in_order(kind: Kind) -> None:
    async with visiting(kind) as person:
        for number in range(20):
            person.write({"type": "chat", "id": str(number), "text": "hello 你好"})
            person.room.send({"type": "caption", "id": number, "text": "grüß"})
        await until(lambda: len(person.book.messages) == 20 and len(person.told()) == 20, "20 messages each way")
        assert [message["id"] for message in person.book.messages] == [str(number) for number in range(20)]
        assert [message["id"] for message in person.told()] == list(range(20))


async def test_a_person_who_was_cut_off_comes_back_to_the_same_room(
    kind: Kind,
) -> None:
    async with visiting(kind) as person:
        await person.lose()
        await until(lambda: len(person.book.lost) == 1, "the loss is noticed")
        assert person.book.lost == person.book.sinks
        person.room.send({"type": "notice"})  # to nobody: it is lost, not an error
        await person.join()
        await until(lambda: len(person.book.sinks) == 2 and person.book.pages == 2, "joined again")
        person.write({"type": "chat", "text": "still me"})
        await until(lambda: len(person.book.messages) == 1, "a message from the new page")
        assert person.book.left == 0


async def test_leaving_is_told_once(kind: Kind) -> None:
    async with visiting(kind) as person:
        await person.leave()
        await until(lambda: person.book.left == 1, "the leaving is noticed")
    assert person.book.left == 1


async def test_closing_is_prompt_and_may_be_repeated(kind: Kind) -> None:
    async with visiting(kind) as person:
        async with asyncio.timeout(2):
            await person.room.aclose()
        heard = len(person.book.ears.heard)
        person.say(tone(1, 300))
        await asyncio.sleep(0.3)
        assert len(person.book.ears.heard) <= heard + 2, "what was under way, and no more"
        await person.room.aclose()
