"""People talk with the avatar in LiveKit rooms: a real server, a real worker, livekit's own client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest

from agent.page import page_app
from agent.persona import load_persona
from agent.settings import load_settings
from agent.speech.espeak import Espeak
from agent.watch_history import METHOD
from avatar.frames import SAMPLE_RATE_HZ, Pcm
from rooms.http import serve
from tests.doubles.page import until
from tests.endpoints.speech import speak
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import LiveKitServer
from tests.livekit.worker import PERSONA, Worker

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

PATIENCE_S = 40
"""How long what must come may take on a busy machine."""


@asynccontextmanager
async def endpoint(server: LiveKitServer) -> AsyncIterator[str]:
    """The address of the page's server."""
    settings = load_settings(server.environment)
    runner, url = await serve(page_app(settings, load_persona("mien"), b"\x89PNG"), "127.0.0.1", 0)
    try:
        yield url
    finally:
        await runner.cleanup()


async def invited(url: str, **wishes: Any) -> dict[str, str]:
    async with aiohttp.ClientSession() as client, client.post(f"{url}api/token", json=wishes) as response:
        assert response.status == 201, await response.text()
        answer: dict[str, str] = await response.json()
        return answer


@asynccontextmanager
async def talking(server: LiveKitServer, *, look: bool = True, name: str = "Ada") -> AsyncIterator[LiveKitPerson]:
    """Somebody in a room of their own to whom the avatar has said hello."""
    person = LiveKitPerson()
    async with endpoint(server) as url:
        answer = await invited(url, participant_name=name)
    try:
        await person.join(answer["server_url"], answer["participant_token"], look=look)
        await until(lambda: bool(person.said) and person.said[0]["final"], "greeted", PATIENCE_S)
        await until(lambda: person.state() == "listening", "it listens", PATIENCE_S)
        yield person
    finally:
        await person.leave()


async def spoken(text: str) -> Pcm:
    espeak = Espeak()
    try:
        return (await speak(espeak, text, rate_hz=SAMPLE_RATE_HZ)).pcm
    finally:
        await espeak.aclose()


def answers(person: LiveKitPerson) -> list[dict[str, Any]]:
    return [caption for caption in person.told("caption") if caption["role"] == "assistant"]


async def test_a_person_is_greeted_in_sound_and_moving_pictures(livekit: LiveKitServer, worker: Worker) -> None:
    async with talking(livekit) as person:
        greeting = load_persona(str(PERSONA)).greeting
        assert person.said[0]["text"] == greeting
        await until(lambda: answers(person)[-1]["final"], "its caption", PATIENCE_S)
        assert answers(person)[-1] | {"id": ""} == {
            "type": "caption",
            "role": "assistant",
            "id": "",
            "text": greeting,
            "final": True,
        }
        loud_s = float(np.mean(np.abs(person.heard().astype(int)) > 300)) * person.heard().size / SAMPLE_RATE_HZ
        assert loud_s > 0.5
        assert {(picture.width, picture.height) for picture in person.pictures} == {(512, 512)}
        lit = person.pictures[len(person.pictures) // 2 :]
        assert float(lit[-1].planes[:512].std()) > 20, "a face, not a grey square"
        moved = [float(np.abs(a.planes.astype(int) - b.planes).mean()) for a, b in zip(lit, lit[10:], strict=False)]
        assert max(moved) > 0.3
        (avatar,) = person.room.remote_participants.values()
        assert avatar.name == "Mien"
        assert avatar.attributes["lk.agent.name"] == "mien"
        assert sorted(publication.name for publication in avatar.track_publications.values()) == ["face", "voice"]
        assert not any(publication.simulcasted for publication in avatar.track_publications.values())
        hello = person.told("hello")[0]
        assert {part["part"] for part in hello["parts"]} >= {"renderer", "llm", "tts", "stt"}


async def test_what_is_written_is_answered_for_any_client_and_for_our_page(
    livekit: LiveKitServer, worker: Worker
) -> None:
    async with talking(livekit) as person:
        await person.write("What is two plus three?")
        await until(lambda: len(person.said) > 1 and person.said[-1]["final"], "an answer", PATIENCE_S)
        assert "5" in person.said[-1]["text"] or "five" in person.said[-1]["text"]
        await until(lambda: answers(person)[-1]["final"], "its caption", PATIENCE_S)
        assert answers(person)[-1]["text"] == person.said[-1]["text"]
        mine = [caption for caption in person.told("caption") if caption["role"] == "user"]
        assert [caption["text"] for caption in mine] == ["What is two plus three?"]
        (turn,) = person.told("turn")
        assert [stage["name"] for stage in turn["stages"]][-1] == "packet_sent"
        hellos = len(person.told("hello"))
        await person.tell({"type": "hello"})
        await until(lambda: len(person.told("hello")) > hellos, "how things stand, when asked", PATIENCE_S)
        assert [one["role"] for one in person.told("hello")[-1]["history"]] == ["assistant", "user", "assistant"]
        (avatar,) = person.room.remote_participants
        asked = person.room.local_participant.perform_rpc(destination_identity=avatar, method=METHOD, payload="")
        assert await asked == "ok", "what was said is for the watch alone"


async def test_what_is_said_is_answered(livekit: LiveKitServer, worker: Worker) -> None:
    question = await spoken("How are you today?")
    async with talking(livekit) as person:
        before = len(person.said)
        person.say(question)
        await until(lambda: any(one["state"] == "speaking" for one in person.told("user_state")), "heard", PATIENCE_S)
        await until(lambda: any(one["id"] == "a2" and one["final"] for one in answers(person)), "an answer", PATIENCE_S)
        assert [one for one in person.told("caption") if one["role"] == "user"], "what was understood"
        natively = {one["by"] for one in person.said[before:]}
        assert person.room.local_participant.identity in natively, "what the person said, as LiveKit tells it"


async def test_an_interruption_cuts_voice_and_captions(livekit: LiveKitServer, worker: Worker) -> None:
    async with talking(livekit) as person:
        for how in ("interrupt", "voice"):
            told = len(answers(person))
            await person.tell({"type": "chat", "id": how, "text": "Hello, what can you do?"})
            await until(lambda: len(answers(person)) > told + 4 and person.loud(0.3), "it speaks", PATIENCE_S)  # noqa: B023
            if how == "interrupt":
                await person.tell({"type": "interrupt"})
            else:
                person.say(await spoken("Please stop talking now, I have heard enough."))
            await until(lambda: bool(answers(person)[-1].get("interrupted")), "it was cut", PATIENCE_S)
            cut = answers(person)[-1]["text"]
            assert cut
            assert not cut.endswith(".")
            if how == "interrupt":
                await asyncio.sleep(1)
                assert not person.loud(0.5)


async def test_who_leaves_ends_the_conversation(livekit: LiveKitServer, worker: Worker) -> None:
    async with talking(livekit):
        assert worker.conversations() == 1
    await until(lambda: worker.conversations() == 0, "the job is over", PATIENCE_S)
    assert re.search(r"^mien_sessions 0\.0$", worker.metrics(), re.MULTILINE)


async def test_saying_goodbye_ends_the_conversation(livekit: LiveKitServer, worker: Worker) -> None:
    async with talking(livekit) as person:
        await person.tell({"type": "leave"})
        await until(lambda: worker.conversations() == 0, "the job is over", PATIENCE_S)
        await until(lambda: not person.room.remote_participants, "the avatar has left", PATIENCE_S)


async def test_two_rooms_at_once_do_not_cross_over(livekit: LiveKitServer, worker: Worker) -> None:
    async with talking(livekit, name="Ada") as ada, talking(livekit, name="Bob") as bob:
        assert worker.conversations() == 2
        await asyncio.gather(ada.write("What is one plus one?"), bob.write("What is four plus four?"))
        for person, sum_of in ((ada, ("2", "two")), (bob, ("8", "eight"))):
            await until(lambda: len(person.said) > 1 and person.said[-1]["final"], "an answer", PATIENCE_S)  # noqa: B023
            assert any(word in person.said[-1]["text"] for word in sum_of)
            assert len(person.senders) == 1
            assert {one["by"] for one in person.said} == person.senders
        assert ada.senders.isdisjoint(bob.senders)
        assert not [one for one in ada.told("caption") if "four" in one["text"]]
