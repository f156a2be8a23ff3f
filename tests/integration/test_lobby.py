"""Real conversations over real WebRTC on loopback: many at once, coming back, being refused, going."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from agent.conversation import Conversation
from agent.lobby import Lobby
from agent.metrics import Metrics
from agent.persona import load_persona
from agent.settings import TurnSettings
from avatar.frames import SAMPLE_RATE_HZ, Pcm
from avatar.renderer import Refused
from rooms.http import Refusal
from rooms.peer import offer_media_on
from tests.doubles.models import echo_models
from tests.doubles.page import Page, until
from tests.doubles.renderers import ScriptedRenderer

pytestmark = pytest.mark.loopback


def pitch_of(name: str) -> float:
    """Each name's own, 170 Hz apart."""
    return 300.0 + 170 * (ord(name[0]) - ord("a"))


class Guest:
    """A page and what it was answered."""

    def __init__(self, lobby: Lobby) -> None:
        self.page = Page()
        self.lobby = lobby
        self.answer: Mapping[str, Any] = {}

    async def join(self, **more: Any) -> None:
        async def answered(sdp: str) -> str:
            self.answer = await self.lobby.offer({"type": "offer", "sdp": sdp} | more)
            return str(self.answer["sdp"])

        await self.page.join(answered)
        await until(lambda: bool(self.of_type("hello")), "the page is greeted")

    async def come_back(self) -> None:
        self.page = Page()
        await self.join(session=self.answer["session"], secret=self.answer["secret"])

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.page.messages if message["type"] == kind]

    def captions(self) -> list[str]:
        return [caption["text"] for caption in self.of_type("caption") if caption["role"] == "assistant"]

    async def ask(self, text: str) -> None:
        """Write something and wait for the answer's caption."""
        self.page.send({"type": "chat", "id": text, "text": text})
        await until(lambda: any(caption.endswith(text) for caption in self.captions()), f"an answer to {text!r}")


def loud_seconds(pcm: Pcm) -> float:
    return float((np.abs(pcm.astype(int)) > 1500).sum()) / SAMPLE_RATE_HZ


def pitches(pcm: Pcm) -> dict[int, float]:
    """How much of the sound is near each of the names' pitches, as shares of all of it above silence."""
    spectrum = np.abs(np.fft.rfft(pcm)) ** 2
    hz = np.fft.rfftfreq(pcm.size, 1 / SAMPLE_RATE_HZ)
    total = float(spectrum[hz > 100].sum())
    return {
        place: float(spectrum[np.abs(hz - pitch_of(chr(ord("a") + place))) < 30].sum()) / total for place in range(8)
    }


Make = Callable[[str, Mapping[str, Any]], Awaitable[Conversation]]


@asynccontextmanager
async def lobby(*, max_sessions: int = 8, make: Make | None = None) -> AsyncIterator[tuple[Lobby, list[Guest]]]:
    offer_media_on(["127.0.0.1"])
    metrics = Metrics()
    persona = load_persona("mien").model_copy(update={"greeting": ""})

    async def conversation(session: str, browser: Mapping[str, Any]) -> Conversation:
        name = str(browser.get("name", "a"))
        return Conversation(
            persona=persona,
            models=echo_models(name, pitch_of(name)),
            renderer=ScriptedRenderer(),
            turn=TurnSettings(),
            metrics=metrics,
            face={"part": "renderer", "name": "scripted", "why": "test", "online": False},
            about={"session": session, "version": "test"},
        )

    hall = Lobby(make or conversation, max_sessions=max_sessions, ice_servers=(), metrics=metrics)
    guests: list[Guest] = []
    try:
        yield hall, guests
    finally:
        for guest in guests:
            await guest.page.aclose()
        async with asyncio.timeout(5):
            await hall.aclose()
        assert hall.sessions == 0


async def test_conversations_at_the_same_time_share_nothing() -> None:
    names = "abcd"
    async with lobby() as (hall, guests):
        for name in names:
            guests.append(Guest(hall))
            await guests[-1].join(browser={"name": name})
        assert len({guest.answer["session"] for guest in guests}) == len(names)
        for round_ in range(2):
            await asyncio.gather(
                *(guest.ask(f"{name} {round_} tells a secret") for name, guest in zip(names, guests, strict=True))
            )
        await asyncio.sleep(1)
        for place, guest in enumerate(guests):
            assert loud_seconds(guest.page.heard()) > 1
            shares = pitches(guest.page.heard())
            assert shares[place] > 0.9, f"{names[place]} hears its own voice"
            assert max(share for other, share in shares.items() if other != place) < 0.01, "and nobody else's"
            own = [text for text in guest.captions() if text]
            assert all(text.startswith(names[place]) for text in own)
            everything = str(guest.page.messages)
            assert not any(f"{other} {round_} tells" in everything for other in names[:place] for round_ in range(2))


async def test_a_page_that_lost_its_connection_finds_its_conversation_again() -> None:
    async with lobby() as (hall, guests):
        guest = Guest(hall)
        guests.append(guest)
        await guest.join(browser={"name": "a"})
        await guest.ask("remember this")
        session = guest.answer["session"]
        await guest.page.aclose()
        await guest.come_back()
        assert guest.answer["resumed"] is True
        assert guest.answer["session"] == session
        history = [line["text"] for line in guest.of_type("hello")[-1]["history"]]
        assert history[0] == "remember this"
        await guest.ask("still there")
        await until(lambda: loud_seconds(guest.page.heard()) > 0.5, "its voice is heard again")


async def test_speech_waits_for_a_person_who_was_cut_off() -> None:
    async with lobby() as (hall, guests):
        guest = Guest(hall)
        guests.append(guest)
        await guest.join(browser={"name": "b"})
        guest.page.send({"type": "chat", "id": "1", "text": " ".join(["word"] * 30)})
        await until(lambda: loud_seconds(guest.page.heard()) > 1, "it speaks")
        await guest.page.aclose()
        await asyncio.sleep(1)
        await guest.come_back()
        await until(lambda: loud_seconds(guest.page.heard()) > 3, "the rest of the speech")


async def test_a_malformed_offer_for_a_conversation_does_not_stop_its_speech() -> None:
    async with lobby() as (hall, guests):
        guest = Guest(hall)
        guests.append(guest)
        await guest.join(browser={"name": "b"})
        guest.page.send({"type": "chat", "id": "1", "text": " ".join(["word"] * 30)})
        await until(lambda: loud_seconds(guest.page.heard()) > 1, "it speaks")
        known = {"session": guest.answer["session"], "secret": guest.answer["secret"]}
        with pytest.raises(Refusal):
            await hall.offer({"type": "offer", "sdp": "v=0\r\nnonsense"} | known)
        await until(lambda: loud_seconds(guest.page.heard()) > 3, "the rest of the speech, on the same connection")


async def test_somebody_elses_session_cannot_be_taken_over() -> None:
    async with lobby() as (hall, guests):
        guest = Guest(hall)
        guests.append(guest)
        await guest.join()
        for more in (
            {"session": guest.answer["session"]},
            {"session": guest.answer["session"], "secret": "guessed"},
            {"session": guest.answer["session"], "secret": "geheimnisträger \ud800"},
            {"session": "unknown", "secret": guest.answer["secret"]},
            {"session": 7, "secret": None},
        ):
            with pytest.raises(Refusal) as refused:
                await hall.offer({"type": "offer", "sdp": "v=0"} | more)
            assert (refused.value.status, refused.value.code) == (410, "session_gone")


async def test_a_full_server_says_so_and_has_room_again_when_somebody_leaves() -> None:
    async with lobby(max_sessions=1) as (hall, guests):
        first, second = Guest(hall), Guest(hall)
        guests += [first, second]
        await first.join()
        with pytest.raises(Refusal) as refused:
            await second.join()
        assert (refused.value.status, refused.value.code) == (503, "server_full")
        assert refused.value.retry_after_s
        first.page.send({"type": "leave"})
        await until(lambda: hall.sessions == 0, "the place is free")
        assert first.of_type("bye")[0]["reason"] == "left"
        await second.page.aclose()
        second.page = Page()
        await second.join()


async def test_a_renderer_without_room_is_a_full_server_that_says_why_and_when() -> None:
    async def make(session: str, browser: Mapping[str, Any]) -> Conversation:
        raise Refused("the GPU's memory is 90% full", 59.2)

    async with lobby(make=make) as (hall, _):
        with pytest.raises(Refusal, match="memory is 90% full") as refused:
            await hall.offer({"type": "offer", "sdp": "v=0"})
        assert (refused.value.status, refused.value.code) == (503, "server_full")
        assert refused.value.retry_after_s == 60
        assert hall.sessions == 0


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"type": "offer"},
        {"type": "offer", "sdp": 7},
        {"type": "answer", "sdp": "v=0"},
        {"type": "offer", "sdp": "v=0\r\nnonsense"},
        {"type": "offer", "sdp": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"},
    ],
)
async def test_a_malformed_offer_is_refused_with_a_reason_and_leaves_nothing_behind(request_: dict[str, Any]) -> None:
    async with lobby() as (hall, _):
        with pytest.raises(Refusal) as refused:
            await hall.offer(request_)
        assert (refused.value.status, refused.value.code) == (400, "bad_request")
        await until(lambda: hall.sessions == 0, "nothing is left behind")


async def test_a_conversation_that_fails_says_goodbye_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Conversation):
        async def run(self, room: Any) -> None:
            await asyncio.sleep(0.5)
            raise RuntimeError("a bug")

    async def make(session: str, browser: Mapping[str, Any]) -> Conversation:
        kind = Failing if browser.get("name") == "b" else Conversation
        return kind(
            persona=load_persona("mien").model_copy(update={"greeting": ""}),
            models=echo_models("a", 300),
            renderer=ScriptedRenderer(),
            turn=TurnSettings(),
            metrics=Metrics(),
            face={"part": "renderer"},
            about={},
        )

    async with lobby(make=make) as (hall, guests):
        good, bad = Guest(hall), Guest(hall)
        guests += [good, bad]
        await good.join(browser={"name": "a"})

        async def answered(sdp: str) -> str:
            return str((await hall.offer({"type": "offer", "sdp": sdp, "browser": {"name": "b"}}))["sdp"])

        await bad.page.join(answered)
        await until(lambda: bool(bad.of_type("bye")), "the failing one says goodbye")
        assert bad.of_type("bye")[0]["reason"] == "error"
        assert "a bug" in caplog.text
        await good.ask("all well")
