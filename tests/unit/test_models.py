"""What is chosen from which settings, and that nothing goes online without a key, a URL or a yes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from livekit.agents import inference

from agent import voices
from agent.models import Local, Models, choose_models
from agent.persona import Persona, load_persona
from agent.settings import SettingsError, load_settings
from agent.smalltalk import SmallTalk
from agent.speech import espeak
from agent.speech.chain import NoSuchVoice
from agent.speech.whisper import WhisperError
from agent.thinking import SpokenFailures

pytestmark = pytest.mark.unit

NOWHERE = Path("/nonexistent/cache")
KEY = "sk-very-secret-test-key"


@asynccontextmanager
async def chosen(
    environment: Mapping[str, str] | None = None, *, persona: Persona | None = None, consented: set[str] | None = None
) -> AsyncIterator[Models]:
    settings = load_settings(environment or {})
    local = Local(settings, whisper_cache=NOWHERE)
    models = choose_models(settings, persona or load_persona("mien"), consented=consented or set(), local=local)
    try:
        yield models
    finally:
        await models.aclose()
        await local.aclose()


def parts(models: Models) -> dict[str, tuple[str, bool]]:
    return {part.part: (part.name, part.online) for part in models.parts}


async def test_without_anything_set_everything_stays_on_the_machine() -> None:
    async with chosen() as models:
        assert parts(models) == {
            "llm": ("built-in", False),
            "tts": ("espeak:en-us+f3", False),
            "stt": ("pocketsphinx", False),
            "vad": ("silero", False),
            "turn_detection": ("vad", False),
        }
        assert isinstance(models.llm, SmallTalk)
        assert all(part.why for part in models.parts)
        assert models.stt is not None
        assert models.stt.detector is models.vad, "what is heard, and when, is one thing"
        assert not any(voice.provider == "openai" for voice in models.voices)


async def test_a_key_puts_llm_stt_and_tts_online_and_says_so() -> None:
    async with chosen({"OPENAI_API_KEY": KEY}) as models:
        assert parts(models) | {"vad": ("silero", False)} == {
            "llm": ("gpt-4.1-mini", True),
            "tts": ("openai:coral", True),
            "stt": ("openai", True),
            "vad": ("silero", False),
            "turn_detection": ("vad", False),
        }
        assert isinstance(models.llm, SpokenFailures)
        assert any(voice.provider == "openai" for voice in models.voices)
        assert KEY not in json.dumps(models.describe())


async def test_a_server_of_ones_own_thinks_and_the_rest_stays_here() -> None:
    async with chosen({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "OPENAI_MODEL": "qwen3"}) as models:
        assert parts(models)["llm"] == ("qwen3", False)
        assert parts(models)["tts"] == ("espeak:en-us+f3", False)
        assert parts(models)["stt"][0] == "pocketsphinx"
    async with chosen({"OPENAI_BASE_URL": "https://llm.example.org/v1"}) as models:
        assert parts(models)["llm"][1], "a server elsewhere is online"


async def test_what_is_asked_for_by_name_is_used() -> None:
    environment = {
        "OPENAI_API_KEY": KEY,
        "TTS_PROVIDER": "espeak",
        "TTS_VOICE": "en-gb+m3",
        "STT_PROVIDER": "pocketsphinx",
        "MIEN_TURN_DETECTION": "v1-mini",
    }
    async with chosen(environment) as models:
        assert parts(models)["tts"] == ("espeak:en-gb+m3", False)
        assert parts(models)["stt"] == ("pocketsphinx", False)
        assert isinstance(models.turn_detection, inference.TurnDetector)
    async with chosen({"TTS_PROVIDER": "edge-tts"}) as models:
        assert parts(models)["tts"] == ("edge-tts:en-US-AvaNeural", True)
    async with chosen({"STT_PROVIDER": "none"}) as models:
        assert models.stt is None
        assert parts(models)["stt"] == ("none", False)
        assert models.offers == ()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TTS_PROVIDER": "openai"}, "OPENAI_API_KEY"),
        ({"STT_PROVIDER": "openai"}, "OPENAI_API_KEY"),
        ({"TTS_VOICE": "en-us+nobody"}, "no variant 'nobody'"),
        ({"TTS_VOICE": "xx"}, "no language 'xx'"),
        ({"TTS_PROVIDER": "edge-tts", "TTS_VOICE": "Ava"}, "en-US-AvaNeural"),
        ({"TTS_LANGUAGE": "zz"}, "no language 'zz'"),
        ({"MIEN_WHISPER_MODEL": "gigantic"}, "MIEN_WHISPER_MODEL"),
    ],
)
async def test_what_cannot_be_is_refused_with_what_to_do(environment: dict[str, str], message: str) -> None:
    with pytest.raises((SettingsError, NoSuchVoice, WhisperError, espeak.UnknownVoice), match=message):
        async with chosen(environment):
            pass


async def test_picking_a_voice_changes_it_and_picking_a_wrong_one_does_not() -> None:
    async with chosen() as models:
        models.set_voice("edge-tts:en-GB-SoniaNeural")
        assert models.describe()["voice"] == "edge-tts:en-GB-SoniaNeural"
        assert parts(models)["tts"] == ("edge-tts:en-GB-SoniaNeural", True)
        for wrong in ("espeak:en-us+nobody", "openai:coral", "nonsense", "edge-tts:nonsense"):
            with pytest.raises(NoSuchVoice):
                models.set_voice(wrong)
        assert models.tts.voice == "edge-tts:en-GB-SoniaNeural"


async def test_the_language_of_the_persona_is_that_of_its_voices(tmp_path: Path) -> None:
    persona = Persona(name="Mina", instructions="Sei freundlich.", language="de", folder=tmp_path)
    async with chosen(persona=persona) as models:
        assert models.tts.voice == "espeak:de+f3"
        first = {voice.provider: voice.language for voice in reversed(models.voices)}
        assert first["espeak"] == "de"
        assert first["edge-tts"].startswith("de")
    async with chosen({"TTS_LANGUAGE": "fr"}, persona=persona) as models:
        assert models.tts.voice == "espeak:fr-fr+f3"


async def test_every_voice_on_offer_can_be_picked() -> None:
    async with chosen({"OPENAI_API_KEY": KEY}) as models:
        assert len({voice.id for voice in models.voices}) == len(models.voices) > 100
        for voice in models.voices:
            models.set_voice(voice.id)
            assert models.tts.voice == voice.id


async def test_what_the_page_is_told_has_the_fields_of_the_protocol() -> None:
    async with chosen() as models:
        told = json.loads(json.dumps(models.describe()))
        assert set(told) == {"parts", "voices", "voice", "offers"}
        assert set(told["parts"][0]) == {"part", "name", "why", "online"}
        assert set(told["voices"][0]) == {"id", "provider", "name", "language", "online"}
        assert all(set(offer) <= {"id", "text", "size_mb"} for offer in told["offers"])


def test_languages_have_voices() -> None:
    assert voices.espeak_language("en") == "en-us"
    assert voices.espeak_language("en-GB") == "en-gb"
    assert voices.espeak_language("pt-PT") == "pt"
    assert voices.edge_default("de-AT") == "de-AT-IngridNeural"
    assert voices.edge_default("de-CH") == "de-DE-KatjaNeural"


def test_the_parts_of_two_conversations_are_their_own() -> None:
    async def script() -> None:
        async with chosen() as one, chosen() as other:
            one.set_voice("espeak:en-gb+m3")
            assert other.tts.voice == "espeak:en-us+f3"
            assert one.llm is not other.llm

    asyncio.run(script())
