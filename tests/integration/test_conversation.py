"""A whole conversation in the memory room: real speech, real voice detection, the real OpenAI client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from livekit.agents import inference, vad

from agent.conversation import Conversation
from agent.metrics import Metrics
from agent.models import Local, choose_models
from agent.persona import load_persona
from agent.settings import load_settings
from agent.watch_history import Away
from avatar.frames import SPEECH_RATE_HZ, Pcm
from avatar.renderer import Expression
from rooms.memory import MemoryRoom
from tests.doubles.page import until
from tests.doubles.renderers import ScriptedRenderer, read_shot
from tests.endpoints.openai_server import OpenAIEndpoint
from tests.endpoints.speech import speak

pytestmark = pytest.mark.media

LONG = " ".join(f"This is sentence number {number} of a very long answer." for number in range(1, 30))
PACKET = SPEECH_RATE_HZ // 50


class Person:
    """Somebody with a microphone, in real time; between words there is a little noise."""

    def __init__(self, room: MemoryRoom) -> None:
        self._room = room
        self._pending: Pcm = np.zeros(0, np.int16)
        self._noise = np.random.default_rng(1)

    async def talk(self) -> None:
        clock = asyncio.get_running_loop().time
        began, packets = clock(), 0
        while True:
            await asyncio.sleep(max(0.0, began + packets * 0.02 - clock()))
            packet = self._noise.integers(-4, 5, PACKET).astype(np.int16)
            said = self._pending[:PACKET]
            packet[: said.size] += said
            self._pending = self._pending[PACKET:]
            self._room.say(packet)
            packets += 1

    async def say(self, pcm: Pcm) -> None:
        self._pending = pcm
        await asyncio.sleep(pcm.size / SPEECH_RATE_HZ)


@dataclass
class Talk:
    room: MemoryRoom
    person: Person
    endpoint: OpenAIEndpoint
    local: Local
    conversation: Conversation
    renderer: ScriptedRenderer

    async def speech(self, text: str) -> Pcm:
        return (await speak(self.local.espeak, text, rate_hz=SPEECH_RATE_HZ)).pcm

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [dict(message) for message in self.room.messages if message["type"] == kind]

    def state(self) -> str:
        states = self.of_type("state")
        return states[-1]["state"] if states else ""

    def captions(self, role: str = "assistant") -> list[dict[str, Any]]:
        return [caption for caption in self.of_type("caption") if caption["role"] == role]

    def loud(self, last_s: float) -> bool:
        ticks = round(last_s * 25)
        return any(np.abs(frame.sound.astype(int)).max() > 300 for frame in self.room.sink.frames[-ticks:])


@asynccontextmanager
async def talking(away: Away | None = None, **settings: str) -> AsyncIterator[Talk]:
    local = Local(load_settings({}))
    await asyncio.to_thread(local.prewarm)
    async with OpenAIEndpoint(local.espeak) as endpoint:
        environment = {"OPENAI_BASE_URL": endpoint.base_url, "STT_PROVIDER": "openai", "MIEN_TURN_DETECTION": "vad"}
        chosen = load_settings(environment | settings)
        persona = load_persona("mien").model_copy(update={"greeting": ""})
        renderer = ScriptedRenderer()
        conversation = Conversation(
            persona=persona,
            models=choose_models(chosen, persona, local=local),
            renderer=renderer,
            turn=chosen.turn,
            metrics=Metrics(),
            face={"part": "renderer", "name": "scripted", "why": "test", "online": False},
            about={"session": "s", "version": "test"},
            away=away,
        )
        room = MemoryRoom(conversation)
        running = asyncio.create_task(conversation.run(room))
        person = Person(room)
        microphone = asyncio.create_task(person.talk())
        room.join()
        talk = Talk(room, person, endpoint, local, conversation, renderer)
        try:
            await until(lambda: talk.state() == "listening", "it listens")
            yield talk
        finally:
            microphone.cancel()
            room.leave()
            async with asyncio.timeout(6):
                await running
            await local.aclose()


async def test_a_spoken_question_is_answered_aloud_with_its_waterfall() -> None:
    async with talking() as talk:
        talk.endpoint.heard = ["what is the capital of France"]
        talk.endpoint.replies = ["The capital of France is Paris."]
        await talk.person.say(await talk.speech("What is the capital of France?"))
        await until(lambda: bool(talk.of_type("turn")), "an answer")
        await until(lambda: talk.state() == "listening", "the answer's end")
        assert talk.captions("user")[-1]["text"] == "what is the capital of France"
        assert talk.captions()[-1] == {
            "type": "caption",
            "role": "assistant",
            "id": "a1",
            "text": "The capital of France is Paris.",
            "final": True,
        }
        (turn,) = talk.of_type("turn")
        assert 100 < turn["total_ms"] < 3000
        asked = [request for request in talk.endpoint.asked if request.path.endswith("/chat/completions")]
        assert asked[-1].body["messages"][-1] == {"role": "user", "content": "what is the capital of France"}
        lips = [read_shot(frame.picture) for frame in talk.room.sink.frames if np.abs(frame.sound).max() > 300]
        assert all(shot.segment is not None for shot in lips[2:]), "every sound of speech has its picture"


async def test_who_was_away_says_so_in_its_model_s_words_and_knows_what_was_said() -> None:
    said = ({"role": "assistant", "text": "Hello!"}, {"role": "user", "text": "I am Ada. Where is Paris?"})
    async with talking(away=Away(said)) as talk:
        await until(lambda: bool(talk.captions()) and talk.captions()[-1]["final"], "it says something by itself")
        assert talk.captions()[-1]["text"] == "Hello there. How can I help you?"
        asked = next(one for one in talk.endpoint.asked if one.path.endswith("/chat/completions")).body["messages"]
        spoken = [(one["role"], one["content"]) for one in asked if one["role"] in ("user", "assistant")]
        assert spoken[:2] == [("assistant", "Hello!"), ("user", "I am Ada. Where is Paris?")]
        assert any("you were away for a moment" in str(one["content"]) for one in asked)
        assert talk.conversation.said[:2] == list(said)
        talk.conversation.on_page()
        assert talk.of_type("hello")[-1]["history"][:2] == list(said)


async def test_after_a_joke_it_is_amused() -> None:
    async with talking() as talk:
        talk.endpoint.replies = ["My dog reads minds, but only the short ones. Haha!"]
        talk.conversation.on_message({"type": "chat", "id": "u1", "text": "Tell me a joke"})

        def worn() -> list[Expression]:
            return [expression for expression, _ in talk.renderer.expressions]

        await until(lambda: Expression.AMUSED in worn(), "it is amused")
        assert Expression.SPEAKING in worn()[: worn().index(Expression.AMUSED)]
        await until(lambda: worn()[-1] is Expression.LISTENING, "it listens again")


async def test_on_this_machine_speech_is_understood_through_one_voice_detection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detections: list[object] = []
    stream = inference.VAD.stream

    def counted(detector: inference.VAD) -> vad.VADStream:
        detections.append(made := stream(detector))
        return made

    monkeypatch.setattr(inference.VAD, "stream", counted)
    async with talking(STT_PROVIDER="pocketsphinx") as talk:
        talk.endpoint.replies = ["I have heard you."]
        await talk.person.say(await talk.speech("How are you today?"))
        await until(lambda: bool(talk.of_type("turn")), "an answer")
        assert len(detections) == 1, "livekit-agents' adapter would have a second one"
        assert 1 <= len(talk.captions("user")[-1]["text"].split()) <= 8
        assert talk.of_type("turn")[-1]["stages"][0]["name"] == "transcript"
        assert talk.of_type("turn")[-1]["stages"][0]["ms"] > 0


async def test_who_leaves_in_the_middle_of_a_sentence_is_let_go() -> None:
    async with talking(STT_PROVIDER="pocketsphinx") as talk:
        sentence = await talk.speech("I would like to tell you a very long story about a dog and a cat.")
        speaking = asyncio.create_task(talk.person.say(sentence))
        await until(lambda: any(state["state"] == "speaking" for state in talk.of_type("user_state")), "it listens")
    await speaking
    assert not talk.captions("user")
    assert not talk.of_type("notice")


async def test_a_voice_interrupts_and_what_was_not_heard_is_not_in_the_history() -> None:
    async with talking() as talk:
        talk.endpoint.replies = [LONG, "Fine, I stop."]
        talk.endpoint.chat.part_delay_s = 0.15  # the model is still writing when it is interrupted
        talk.room.write({"type": "chat", "id": "1", "text": "Tell me a lot."})
        await until(lambda: len(talk.captions()) > 10, "it speaks")
        talk.endpoint.heard = ["please stop now"]
        await talk.person.say(await talk.speech("Please stop talking now, I have heard enough."))
        await until(lambda: any(caption.get("interrupted") for caption in talk.captions()), "it was cut")
        await until(lambda: talk.endpoint.stopped > 0, "the model's answer was given up")
        cut = next(caption for caption in talk.captions() if caption.get("interrupted"))["text"]
        assert LONG.startswith(cut.rstrip(" …"))
        assert 10 < len(cut) < len(LONG) / 2
        talk.endpoint.chat.part_delay_s = 0
        await until(lambda: talk.captions()[-1]["text"] == "Fine, I stop.", "the answer to the interruption")
        asked = [request for request in talk.endpoint.asked if request.path.endswith("/chat/completions")]
        remembered = [message["content"] for message in asked[-1].body["messages"] if message["role"] == "assistant"]
        assert remembered == [cut], "the model is told what was heard, no more"


async def test_a_cough_does_not_end_the_answer() -> None:
    async with talking() as talk:
        talk.endpoint.replies = [" ".join(LONG.split(".")[:4]) + "."]
        talk.endpoint.heard = [""]
        talk.room.write({"type": "chat", "id": "1", "text": "Tell me."})
        await until(lambda: len(talk.captions()) > 5, "it speaks")
        decay = np.exp(-np.linspace(0, 5, round(0.35 * SPEECH_RATE_HZ)))
        await talk.person.say((np.random.default_rng(3).normal(0, 7000, decay.size) * decay).astype(np.int16))
        await until(lambda: talk.captions()[-1]["final"], "the answer's end", timeout_s=25)
        assert not any(caption.get("interrupted") for caption in talk.captions())
        assert talk.captions()[-1]["text"] == talk.endpoint.replies[0]


async def test_interrupt_and_chat_stop_the_voice_at_once() -> None:
    async with talking() as talk:
        talk.endpoint.replies = [LONG, LONG, "Done."]
        talk.endpoint.chat.delay_s = 0.5  # without it the next answer may begin with the very next frame
        for stop in ({"type": "interrupt"}, {"type": "chat", "id": "2", "text": "Something else."}):
            talk.room.write({"type": "chat", "id": "1", "text": "Tell me a lot."})
            await until(lambda: talk.loud(0.2) and talk.state() == "speaking", "it speaks")
            await asyncio.sleep(1)
            generation = talk.room.sink.generation
            talk.room.write(stop)
            async with asyncio.timeout(0.1):
                while talk.room.sink.generation == generation:
                    await asyncio.sleep(0)
            before = len(talk.room.sink.frames)
            await asyncio.sleep(0.3)
            assert all(frame.generation > generation for frame in talk.room.sink.frames[before:])
            assert not talk.room.sink.frames[before].sound[480:].any(), "10 ms of fade, then silence"
        await until(lambda: talk.captions()[-1]["text"] == "Done.", "the answer to the chat")


async def test_half_duplex_does_not_listen_while_it_speaks() -> None:
    async with talking() as talk:
        talk.endpoint.replies = [" ".join(LONG.split(".")[:3]) + "."]
        talk.room.write({"type": "half_duplex", "on": True})
        talk.room.write({"type": "chat", "id": "1", "text": "Tell me."})
        await until(lambda: len(talk.captions()) > 3, "it speaks")
        await talk.person.say(await talk.speech("Please stop talking now."))
        await until(lambda: talk.captions()[-1]["final"], "the answer's end", timeout_s=20)
        assert talk.captions()[-1]["text"] == talk.endpoint.replies[0]
        assert not any(state["state"] == "speaking" for state in talk.of_type("user_state"))


async def test_a_dead_model_is_said_aloud_and_on_the_page() -> None:
    async with talking() as talk:
        talk.endpoint.chat.status = 500
        talk.room.write({"type": "chat", "id": "1", "text": "Are you there?"})
        await until(lambda: any(n["code"] == "llm_failed" for n in talk.of_type("notice")), "a notice", timeout_s=20)
        await until(lambda: talk.loud(0.5), "a word about it")


async def test_who_is_not_understood_again_and_again_may_still_write() -> None:
    async with talking(STT_PROVIDER="pocketsphinx") as talk:
        await talk.local.sphinx.aclose()
        said = await talk.speech("Hello?")
        for times in range(1, 6):  # livekit-agents ends a session at the fourth failure in a row
            await talk.person.say(said)
            await until(
                lambda times=times: [n["code"] for n in talk.of_type("notice")] == ["not_understood"] * times,  # type: ignore[misc]
                "a notice for each",
            )
        talk.endpoint.replies = ["I am here."]
        talk.room.write({"type": "chat", "id": "1", "text": "Are you there?"})
        await until(lambda: bool(talk.captions()) and talk.captions()[-1]["final"], "an answer")
        assert talk.captions()[-1]["text"] == "I am here."


async def test_a_lost_connection_holds_the_speech() -> None:
    async with talking() as talk:
        talk.endpoint.replies = [LONG]
        talk.room.write({"type": "chat", "id": "1", "text": "Tell me a lot."})
        await until(lambda: talk.loud(0.2), "it speaks")
        talk.room.lose()
        frames = len(talk.room.sink.frames)
        await asyncio.sleep(1)
        assert len(talk.room.sink.frames) == frames
        talk.room.join()
        await asyncio.sleep(1)
        assert talk.loud(0.6), "it goes on"
        assert talk.of_type("hello")[-1]["history"]
