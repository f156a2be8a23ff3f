"""OpenAI's protocol: the real client library, as a conversation uses it, against a local endpoint; and failing over
from it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import openai
import pytest
import pytest_asyncio
from livekit import rtc
from livekit.agents import llm
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.plugins import openai as openai_plugin

from agent.models import Local, Models, choose_models
from agent.persona import load_persona
from agent.settings import load_settings
from agent.speech.utterance import at_16_khz
from agent.thinking import BROKEN_OFF, UNREACHABLE, SpokenFailures
from avatar.frames import SAMPLE_RATE_HZ, Pcm
from tests.endpoints.behaviour import Behaviour
from tests.endpoints.edge_server import EdgeEndpoint
from tests.endpoints.openai_server import OpenAIEndpoint
from tests.endpoints.speech import speak

pytestmark = pytest.mark.media

KEY = "sk-very-secret-test-key-0123456789"
TEXT = "Good morning to you. This is the second sentence of the reply. And here is the third one."
NOWHERE = Path("/nonexistent/cache")


@pytest_asyncio.fixture
async def local() -> AsyncIterator[Local]:
    shared = Local(load_settings({}), whisper_cache=NOWHERE)
    await asyncio.to_thread(shared.prewarm)
    yield shared
    await shared.aclose()


@pytest_asyncio.fixture
async def endpoint(local: Local) -> AsyncIterator[OpenAIEndpoint]:
    async with OpenAIEndpoint(local.espeak) as server:
        yield server


@asynccontextmanager
async def conversation(
    local: Local,
    base_url: str,
    more: Mapping[str, str] | None = None,
    *,
    edge: EdgeEndpoint | None = None,
    consented: tuple[str, ...] = (),
) -> AsyncIterator[tuple[Models, list[tuple[str, str]]]]:
    settings = load_settings({"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY} | dict(more or {}))
    models = choose_models(
        settings,
        load_persona("mien"),
        local=local,
        consented=consented,
        edge_connector=edge.connector if edge is not None else None,
    )
    notices: list[tuple[str, str]] = []
    models.notify(lambda code, text: notices.append((code, text)))
    try:
        yield models, notices
    finally:
        await models.aclose()


async def say(models: Models, text: str = TEXT) -> tuple[Pcm, list[TimedString]]:
    parts: list[Pcm] = []
    words: list[TimedString] = []
    async with models.tts.stream() as stream:
        stream.push_text(text)
        stream.end_input()
        async for event in stream:
            parts.append(np.frombuffer(event.frame.data, np.int16))
            words += event.frame.userdata[USERDATA_TIMED_TRANSCRIPT]
    return np.concatenate(parts), words


async def ask(models: Models, question: str = "Hello?") -> list[str]:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=question)
    async with models.llm.chat(chat_ctx=context) as stream:
        return [chunk.delta.content async for chunk in stream if chunk.delta is not None and chunk.delta.content]


async def test_the_language_model_streams(local: Local, endpoint: OpenAIEndpoint) -> None:
    endpoint.chat = Behaviour(part_delay_s=0.05)
    async with conversation(local, endpoint.base_url, {"OPENAI_MODEL": "test-model"}) as (models, notices):
        begun = time.perf_counter()
        parts = await ask(models)
        assert time.perf_counter() - begun > 0.2
    assert "".join(parts) == "Hello there. How can I help you?"
    assert len(parts) == 7
    assert notices == []
    assert endpoint.asked[0].body["model"] == "test-model"
    assert endpoint.asked[0].body["stream"] is True
    assert endpoint.asked[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_leaving_an_answer_stops_the_request(local: Local, endpoint: OpenAIEndpoint) -> None:
    endpoint.chat = Behaviour(part_delay_s=0.2)
    async with conversation(local, endpoint.base_url) as (models, _):
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="Hello")
        async with models.llm.chat(chat_ctx=context) as stream:
            async for _chunk in stream:
                break
        for _ in range(50):
            await asyncio.sleep(0.02)
            if endpoint.stopped:
                break
        assert endpoint.stopped == 1


@pytest.mark.parametrize(
    ("behaviour", "said", "why"),
    [
        (Behaviour(status=401), UNREACHABLE, "refused the key"),
        (Behaviour(status=500), UNREACHABLE, "HTTP 500"),
        (Behaviour(drop_after=0), UNREACHABLE, ""),
        (Behaviour(drop_after=3), "Hello there. How" + BROKEN_OFF, ""),
        (Behaviour(malformed=True), UNREACHABLE, ""),
    ],
)
async def test_a_language_model_that_fails_is_said_aloud_and_told_once(
    local: Local, endpoint: OpenAIEndpoint, behaviour: Behaviour, said: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.chat = behaviour
    async with conversation(local, endpoint.base_url) as (models, notices):
        assert "".join(await ask(models)) == said
        assert "".join(await ask(models)) == said
        assert [code for code, _ in notices] == ["llm_failed"]
        assert why in notices[0][1]
        endpoint.chat = Behaviour()
        assert "".join(await ask(models)) == "Hello there. How can I help you?"
    assert KEY not in caplog.text + str(notices)


async def test_a_language_model_that_is_not_there_is_said_aloud(local: Local) -> None:
    async with conversation(local, "http://127.0.0.1:9/v1") as (models, notices):
        assert "".join(await ask(models)) == UNREACHABLE
        assert [code for code, _ in notices] == ["llm_failed"]


async def test_a_language_model_that_hangs_is_given_up(local: Local, endpoint: OpenAIEndpoint) -> None:
    endpoint.chat = Behaviour(hang_after=2)
    client = openai.AsyncClient(api_key=KEY, base_url=endpoint.base_url, max_retries=0)
    model = SpokenFailures(openai_plugin.LLM(model="test", client=client), next_word_s=0.4)
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    begun = time.perf_counter()
    async with model.chat(chat_ctx=context) as stream:
        said = "".join([chunk.delta.content or "" async for chunk in stream if chunk.delta is not None])
    assert time.perf_counter() - begun < 3
    assert said == "Hello there." + BROKEN_OFF
    await model.aclose()
    await client.close()


async def test_a_server_without_a_key_is_asked_without_ours(local: Local, endpoint: OpenAIEndpoint) -> None:
    settings = load_settings({"OPENAI_BASE_URL": endpoint.base_url})
    models = choose_models(settings, load_persona("mien"), local=local)
    assert "".join(await ask(models)).startswith("Hello")
    assert endpoint.asked[0].headers["Authorization"] == "Bearer not-needed"
    await models.aclose()


async def test_its_voice_speaks_the_reply_sentence_by_sentence(local: Local, endpoint: OpenAIEndpoint) -> None:
    async with conversation(local, endpoint.base_url) as (models, notices):
        pcm, words = await say(models)
        assert models.tts.voice == "openai:coral"
    assert notices == []
    assert "".join(words) == TEXT
    asked = [request.body for request in endpoint.asked]
    assert [body["input"] for body in asked] == [
        "Good morning to you.",
        "This is the second sentence of the reply.",
        "And here is the third one.",
    ]
    assert asked[0]["voice"] == "coral"
    assert 4.5 < pcm.size / SAMPLE_RATE_HZ < 9
    moments = [float(moment) for word in words for moment in (word.start_time, word.end_time)]  # type: ignore[arg-type]
    assert moments == sorted(moments)
    assert moments[-1] <= pcm.size / SAMPLE_RATE_HZ


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(status=401),
        Behaviour(status=500),
        Behaviour(drop_after=0),
        Behaviour(malformed=True),
        Behaviour(silent=True),
        Behaviour(hang_after=0),
    ],
)
async def test_a_voice_that_fails_is_replaced_by_the_one_on_the_machine(
    local: Local, endpoint: OpenAIEndpoint, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.speech = behaviour
    async with conversation(local, endpoint.base_url) as (models, notices):
        begun = time.perf_counter()
        pcm, words = await say(models)
        assert time.perf_counter() - begun < 6.5
        assert "".join(words) == TEXT
        assert 4.5 < pcm.size / SAMPLE_RATE_HZ < 9
        assert models.tts.voice == "espeak:en-us+f3"
        assert [code for code, _ in notices] == ["tts_replaced"]
        tts = next(part for part in models.parts if part.part == "tts")
        assert tts.why == "openai:coral failed"
        assert not tts.online
    assert KEY not in caplog.text + str(notices)


async def test_a_voice_that_breaks_off_goes_on_in_another(
    local: Local, endpoint: OpenAIEndpoint, tmp_path: Path
) -> None:
    endpoint.speech = Behaviour(drop_after=5, part_delay_s=0.02)
    async with (
        EdgeEndpoint(local.espeak, tmp_path / "edge") as edge,
        conversation(local, endpoint.base_url, edge=edge, consented=("edge-tts",)) as (models, notices),
    ):
        pcm, words = await say(models)
        assert "".join(words) == TEXT
        assert models.tts.voice == "edge-tts:en-US-AvaNeural"
        assert [code for code, _ in notices] == ["tts_replaced"]
        assert edge.texts[0] != "Good morning to you."
        assert "Good morning to you.".endswith(edge.texts[0])
        assert set(edge.texts[1:]) == {"This is the second sentence of the reply.", "And here is the third one."}
        assert 4.5 < pcm.size / SAMPLE_RATE_HZ < 9
        edge.behaviour = Behaviour(drop_after=4)
        _, words = await say(models)
        assert "".join(words) == TEXT
        assert models.tts.voice == "espeak:en-us+f3"


async def test_its_recognizer_hears(local: Local, endpoint: OpenAIEndpoint) -> None:
    endpoint.heard = ["what time is it"]
    async with conversation(local, endpoint.base_url) as (models, notices):
        assert models.stt is not None
        event = await models.stt.recognize(await question(local, "What time is it?"))
    assert event.alternatives[0].text == "what time is it"
    assert notices == []
    assert endpoint.asked[0].body["model"] == "gpt-4o-mini-transcribe"


@pytest.mark.parametrize("behaviour", [Behaviour(status=401), Behaviour(status=500), Behaviour(malformed=True)])
async def test_a_recognizer_that_fails_is_replaced_and_the_utterance_is_not_lost(
    local: Local, endpoint: OpenAIEndpoint, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.transcriptions = behaviour
    async with conversation(local, endpoint.base_url) as (models, notices):
        assert models.stt is not None
        event = await models.stt.recognize(await question(local, "What is the weather today?"))
        assert event.alternatives[0].text
        assert models.stt.current.name == "pocketsphinx"
        assert [code for code, _ in notices] == ["stt_replaced"]
        await models.stt.recognize(await question(local, "Stop."))
        assert len(endpoint.asked) == 1
    assert KEY not in caplog.text + str(notices)


async def question(local: Local, text: str) -> rtc.AudioFrame:
    spoken = await speak(local.espeak, text, rate_hz=16_000)
    pcm = at_16_khz(rtc.AudioFrame(spoken.pcm.tobytes(), 16_000, 1, spoken.pcm.size))
    return rtc.AudioFrame(pcm.tobytes(), 16_000, 1, pcm.size)
