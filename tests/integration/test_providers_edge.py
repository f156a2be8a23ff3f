"""edge-tts: the real client against a local endpoint that speaks its protocol."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from agent.speech.edge import RATE_HZ, EdgeTTS, UnknownVoice
from agent.speech.espeak import Espeak
from avatar.frames import Pcm
from tests.endpoints.behaviour import Behaviour
from tests.endpoints.edge_server import EdgeEndpoint
from tests.endpoints.speech import speak

pytestmark = pytest.mark.media

TEXT = "Hello there, my friend — it's 1,000 o'clock & counting."
VOICE = "en-US-AvaNeural"


@pytest_asyncio.fixture
async def espeak() -> AsyncIterator[Espeak]:
    client = Espeak()
    client.start()
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def endpoint(espeak: Espeak, tmp_path: Path) -> AsyncIterator[EdgeEndpoint]:
    async with EdgeEndpoint(espeak, tmp_path / "edge") as server:
        yield server


async def said(tts: EdgeTTS, text: str = TEXT) -> tuple[Pcm, list[TimedString], float]:
    """Sound, words, and how long the first sound took."""
    begun, first_s = time.perf_counter(), -1.0
    parts: list[Pcm] = []
    words: list[TimedString] = []
    async with tts.synthesize(text, conn_options=APIConnectOptions(max_retry=0)) as stream:
        async for event in stream:
            if first_s < 0:
                first_s = time.perf_counter() - begun
            parts.append(np.frombuffer(event.frame.data, np.int16))
            words += event.frame.userdata[USERDATA_TIMED_TRANSCRIPT]
    return np.concatenate(parts), words, first_s


async def test_its_mp3_becomes_the_sound_that_was_sent_with_its_words(endpoint: EdgeEndpoint, espeak: Espeak) -> None:
    pcm, words, _ = await said(EdgeTTS(voice=VOICE, connector=endpoint.connector))
    sent = await speak(espeak, TEXT, rate_hz=RATE_HZ)
    assert pcm.size == pytest.approx(sent.pcm.size, abs=RATE_HZ // 10)
    loudness = [envelope(sound) for sound in (pcm, sent.pcm)]
    alike = [
        np.corrcoef(loudness[0][lag:][:300], loudness[1][: loudness[0].size - lag][:300])[0, 1] for lag in range(9)
    ]
    assert max(alike) > 0.9, "the same sound, but for the delay of mp3"
    assert "".join(words) == TEXT
    assert [str(word) for word in words] == [
        "Hello ",
        "there, ",
        "my ",
        "friend — ",
        "it's ",
        "1,000 ",
        "o'clock & ",
        "counting.",
    ]
    assert endpoint.texts == [TEXT]
    assert "AvaNeural" in endpoint.voices[0]


def envelope(pcm: Pcm) -> np.ndarray:
    size = RATE_HZ // 100
    blocks = pcm[: pcm.size // size * size].reshape(-1, size).astype(float)
    return np.asarray(np.sqrt(np.mean(blocks**2, axis=1)))


async def test_the_first_sound_does_not_wait_for_the_last(endpoint: EdgeEndpoint) -> None:
    endpoint.behaviour = Behaviour(part_delay_s=0.05)
    begun = time.perf_counter()
    _, _, first_s = await said(EdgeTTS(voice=VOICE, connector=endpoint.connector))
    assert first_s < 0.4 * (time.perf_counter() - begun)


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        (Behaviour(status=401), APIStatusError, "refused"),
        (Behaviour(status=500), APIStatusError, "refused"),
        (Behaviour(status=403), APIConnectionError, "edge-tts"),
        (Behaviour(drop_after=0), APIConnectionError, "NoAudioReceived"),
        (Behaviour(drop_after=3), APIConnectionError, "broke off in the middle"),
        (Behaviour(malformed=True), APIConnectionError, "strangely"),
    ],
)
async def test_failures_are_told_apart(
    endpoint: EdgeEndpoint, behaviour: Behaviour, error: type[APIError], message: str
) -> None:
    endpoint.behaviour = behaviour
    begun = time.perf_counter()
    with pytest.raises(error, match=message):
        await said(EdgeTTS(voice=VOICE, connector=endpoint.connector))
    assert time.perf_counter() - begun < 1.0


@pytest.mark.parametrize("hang_after", [0, 2])
async def test_a_service_that_hangs_is_given_up(endpoint: EdgeEndpoint, hang_after: int) -> None:
    endpoint.behaviour = Behaviour(hang_after=hang_after)
    begun = time.perf_counter()
    with pytest.raises(APITimeoutError):
        await said(EdgeTTS(voice=VOICE, connector=endpoint.connector))
    assert time.perf_counter() - begun < 5.5


async def test_nobody_there_is_known_at_once(tmp_path: Path) -> None:
    def connector() -> aiohttp.BaseConnector:
        return aiohttp.UnixConnector(str(tmp_path / "nobody"))

    with pytest.raises(APIConnectionError, match="cannot be reached"):
        await said(EdgeTTS(voice=VOICE, connector=connector))


async def test_leaving_a_sentence_closes_the_connection(endpoint: EdgeEndpoint) -> None:
    endpoint.behaviour = Behaviour(part_delay_s=0.2)
    async with EdgeTTS(voice=VOICE, connector=endpoint.connector).synthesize(TEXT) as stream:
        async for _ in stream:
            break
    await asyncio.sleep(0.05)
    assert endpoint.open == 0


@pytest.mark.parametrize("voice", ["Ava", "", "en_US-Ava", "x' onload='"])
def test_names_that_cannot_be_a_voice_are_refused(voice: str) -> None:
    with pytest.raises(UnknownVoice, match="such as en-US-AvaNeural"):
        EdgeTTS(voice=voice)


async def test_it_logs_nothing_of_what_is_said(endpoint: EdgeEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.behaviour = Behaviour(drop_after=2)
    with pytest.raises(APIConnectionError):
        await said(EdgeTTS(voice=VOICE, connector=endpoint.connector), "My secret is swordfish.")
    assert "swordfish" not in caplog.text
