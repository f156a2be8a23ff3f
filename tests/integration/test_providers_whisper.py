"""faster-whisper: the real library over a tiny model; the real hub client against a local hub."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from livekit import rtc

pytest.importorskip("faster_whisper", reason="the extra mien[whisper] is not installed")

from agent.models import Local, choose_models
from agent.persona import load_persona
from agent.settings import load_settings
from agent.speech.espeak import Espeak
from agent.speech.whisper import Whisper, WhisperError, WhisperSTT
from avatar.frames import SPEECH_RATE_HZ, Pcm
from tests.endpoints.behaviour import Behaviour
from tests.endpoints.hub_server import HubEndpoint
from tests.endpoints.speech import speak
from tests.endpoints.tiny_whisper import write_tiny_whisper

pytestmark = pytest.mark.media

HEARS = "Hello there, how are you?"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_whisper(folder, HEARS)
    return folder


@pytest_asyncio.fixture
async def hub(tiny: Path) -> AsyncIterator[HubEndpoint]:
    async with HubEndpoint(tiny) as server:
        yield server


@pytest_asyncio.fixture
async def speech() -> Pcm:
    espeak = Espeak()
    spoken = await speak(espeak, "Something else entirely.", rate_hz=SPEECH_RATE_HZ)
    await espeak.aclose()
    return spoken.pcm


def weight(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def ignore(done: int, total: int | None) -> None:
    pass


async def test_a_model_in_a_folder_transcribes_without_a_network(tiny: Path, speech: Pcm) -> None:
    whisper = Whisper(str(tiny), hub="http://127.0.0.1:9")
    assert whisper.fetched
    whisper.load()
    frame = rtc.AudioFrame(speech.tobytes(), SPEECH_RATE_HZ, 1, speech.size)
    event = await WhisperSTT(whisper, language="en").recognize(frame)
    assert event.alternatives[0].text == HEARS
    assert event.alternatives[0].confidence > 0.9
    whisper.close()


async def test_silence_and_noise_are_not_transcribed(tiny: Path) -> None:
    whisper = Whisper(str(tiny))
    for level in (0, 20, 3000):
        noise = np.random.default_rng(1).normal(0, level, 2 * SPEECH_RATE_HZ).astype(np.int16)
        text, _, confidence = await whisper.transcribe(noise, "en")
        assert (text, confidence) == ("", 0.0)
    whisper.close()


async def test_what_whisper_says_over_and_over_is_not_believed(tmp_path: Path, speech: Pcm) -> None:
    write_tiny_whisper(tmp_path, "no no no no no no no no no no ", repeats=7)
    whisper = Whisper(str(tmp_path))
    text, _, _ = await whisper.transcribe(speech, "en")
    assert text == ""
    whisper.close()


async def test_weights_are_fetched_once_with_their_progress(
    hub: HubEndpoint, tiny: Path, tmp_path: Path, speech: Pcm
) -> None:
    whisper = Whisper("tiny.en", cache=tmp_path, hub=hub.url)
    assert not whisper.fetched
    told: list[tuple[int, int | None]] = []
    await whisper.fetch(lambda done, total: told.append((done, total)))
    size = weight(tiny)
    await asyncio.sleep(0)
    assert told[0] == (0, size)
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 6
    assert whisper.fetched
    assert hub.fetched[-1] == "model.bin", "the weights come last"
    before = len(hub.fetched)
    await whisper.fetch(ignore)
    assert len(hub.fetched) == before
    assert (await whisper.transcribe(speech, "en"))[0] == HEARS
    whisper.close()


@pytest.mark.parametrize("behaviour", [Behaviour(status=401), Behaviour(status=404), Behaviour(drop_after=1)])
async def test_a_download_that_fails_says_so_and_can_be_tried_again(
    hub: HubEndpoint, tmp_path: Path, behaviour: Behaviour
) -> None:
    whisper = Whisper("tiny.en", cache=tmp_path, hub=hub.url)
    hub.behaviour = behaviour
    with pytest.raises(WhisperError, match="could not be fetched"):
        await whisper.fetch(ignore)
    assert not whisper.fetched
    hub.behaviour = Behaviour()
    await whisper.fetch(ignore)
    assert whisper.fetched
    whisper.close()


async def test_without_a_network_a_download_fails(tmp_path: Path) -> None:
    whisper = Whisper("tiny.en", cache=tmp_path, hub="http://127.0.0.1:9")
    with pytest.raises(WhisperError, match="check the network"):
        await whisper.fetch(ignore)
    whisper.close()


async def test_a_download_can_be_given_up(hub: HubEndpoint, tmp_path: Path) -> None:
    whisper = Whisper("tiny.en", cache=tmp_path, hub=hub.url)
    hub.behaviour = Behaviour(part_delay_s=0.1)
    fetching = asyncio.create_task(whisper.fetch(ignore))
    while "model.bin" not in hub.fetched:
        await asyncio.sleep(0.02)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await asyncio.sleep(0.4)
    assert not whisper.fetched
    whisper.close()


async def test_broken_weights_say_what_to_do(tiny: Path, tmp_path: Path, speech: Pcm) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.bin").write_bytes(b"not a model")
    whisper = Whisper(str(tmp_path))
    with pytest.raises(WhisperError, match="delete the folder"):
        await whisper.transcribe(speech, "en")
    whisper.close()


async def test_a_yes_on_the_page_brings_it_into_the_conversation(hub: HubEndpoint, tmp_path: Path, speech: Pcm) -> None:
    local = Local(load_settings({"MIEN_WHISPER_MODEL": "tiny.en"}), whisper_cache=tmp_path, whisper_hub=hub.url)
    settings = load_settings({"MIEN_WHISPER_MODEL": "tiny.en"})
    models = choose_models(settings, load_persona("mien"), local=local)
    assert len(models.offers) == 1
    offer = models.offers[0]
    assert (offer.id, offer.size_mb) == ("whisper", 78)
    assert models.stt is not None
    assert models.stt.current.name == "pocketsphinx"
    told: list[int] = []
    assert await models.accept("whisper", True, lambda done, total: told.append(done))
    assert told
    assert len(models.offers) == 0
    assert models.stt.current.name == "faster-whisper"
    event = await models.stt.recognize(rtc.AudioFrame(speech.tobytes(), SPEECH_RATE_HZ, 1, speech.size))
    assert event.alternatives[0].text == HEARS
    await models.aclose()
    later = choose_models(settings, load_persona("mien"), local=local)
    assert later.stt is not None
    assert later.stt.current.name == "faster-whisper"
    await later.aclose()
    await local.aclose()


async def test_a_no_on_the_page_takes_the_offer_away(hub: HubEndpoint, tmp_path: Path) -> None:
    local = Local(load_settings({}), whisper_cache=tmp_path, whisper_hub=hub.url)
    models = choose_models(load_settings({}), load_persona("mien"), local=local)
    assert [offer.id for offer in models.offers] == ["whisper"]
    assert not await models.accept("whisper", False, ignore)
    assert not list(models.offers)
    assert hub.fetched == []
    await models.aclose()
    await local.aclose()
