"""Which STT, LLM, TTS, VAD and turn detection a conversation uses, and why. Settings and persona in, `Models` out.

A part is local unless a key, a base URL or the person's consent says otherwise. `Local` is what all conversations of
a process share; make one at start, `prewarm` it on a thread, close it at the end:

    local = Local(settings)
    await asyncio.to_thread(local.prewarm)
    models = choose_models(settings, persona, consented=set(), local=local, timezone="Europe/Berlin")
    AgentSession(stt=models.stt, llm=models.llm, tts=models.tts, vad=models.vad, …, use_tts_aligned_transcript=True)
    await models.aclose(); await local.aclose()
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import aiohttp
import openai
from livekit.agents import inference
from livekit.plugins import openai as openai_plugin

from agent import voices
from agent.parts import Local, Models, TurnDetection, stt_kind
from agent.persona import Persona
from agent.settings import Settings, SettingsError
from agent.smalltalk import SmallTalk, clock_in
from agent.speech import whisper
from agent.speech.activity import OverheardVAD
from agent.speech.chain import ChainTTS, Provider
from agent.speech.edge import EdgeTTS
from agent.speech.espeak import EspeakTTS
from agent.speech.listening import ChainSTT, Recognizer
from agent.speech.pocketsphinx import PocketsphinxSTT
from agent.speech.whisper import WhisperSTT
from agent.thinking import NEXT_WORD_S, SpokenFailures

__all__ = ["Local", "Models", "choose_models"]

NO_KEY = "not-needed"
"""OpenAI's client insists on a key; a server of one's own does not."""
LOCAL_NEXT_WORD_S = 30.0
"""A model on this machine may read a long conversation for a while before its first word."""
ANSWER_TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 5.0


def choose_models(
    settings: Settings,
    persona: Persona,
    *,
    consented: Collection[str] = (),
    local: Local,
    timezone: str | None = None,
    edge_connector: Callable[[], aiohttp.BaseConnector] | None = None,
) -> Models:
    """Make the parts of one conversation.

    Args:
        consented: what the person has agreed to: names of online TTS providers (``edge-tts``).
        timezone: the user's, for instance ``Europe/Berlin``.
        edge_connector: how edge-tts reaches its service; None for the usual way.

    Raises:
        UnknownVoice, NoSuchVoice: the settings or the persona name a voice that there is not.
        SettingsError: a provider was asked for that is not configured or not installed.
    """
    client = _openai_client(settings)
    online = _leaves_machine(settings.openai.base_url)
    why: dict[str, str] = {}
    llm = _choose_llm(settings, persona, client, timezone, why)
    tts = _choose_tts(settings, persona, client, consented, local, edge_connector, online, why)
    detector = OverheardVAD()
    stt, fetchable = _choose_stt(settings, persona, client, local, online, detector, why)
    return Models(
        stt=stt,
        llm=llm,
        tts=tts,
        vad=detector,
        turn_detection=_choose_turn_detection(settings, why),
        why=why,
        llm_online=isinstance(llm, SpokenFailures) and online,
        voices=voices.available(_language(settings, persona), openai=client is not None),
        whisper=fetchable,
        local=local,
        client=client,
    )


def _language(settings: Settings, persona: Persona) -> str:
    return settings.tts.language or persona.language


def _leaves_machine(base_url: str | None) -> bool:
    host = urlsplit(base_url).hostname if base_url is not None else None
    return host not in ("127.0.0.1", "::1", "localhost")


def _openai_client(settings: Settings) -> openai.AsyncClient | None:
    """One client, and so one warm connection, for all parts of a conversation that speak to the endpoint."""
    if not settings.openai.configured:
        return None
    key = settings.openai.api_key
    return openai.AsyncClient(
        api_key=key.get_secret_value() if key is not None else NO_KEY,
        base_url=settings.openai.base_url,
        max_retries=0,
        timeout=openai.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
    )


def _choose_llm(
    settings: Settings, persona: Persona, client: openai.AsyncClient | None, timezone: str | None, why: dict[str, str]
) -> SpokenFailures | SmallTalk:
    if client is None:
        why["llm"] = "no OPENAI_API_KEY and no OPENAI_BASE_URL is set"
        return SmallTalk(
            persona=persona.name,
            greeting=persona.greeting,
            language=persona.language,
            clock=clock_in(timezone),
            seed=random.randrange(1_000_000),  # noqa: S311 - which joke comes first
        )
    why["llm"] = "OPENAI_BASE_URL is set" if settings.openai.base_url is not None else "OPENAI_API_KEY is set"
    model = openai_plugin.LLM(model=settings.openai.model, client=client)
    slow = not _leaves_machine(settings.openai.base_url)
    return SpokenFailures(model, next_word_s=LOCAL_NEXT_WORD_S if slow else NEXT_WORD_S)


def _choose_tts(
    settings: Settings,
    persona: Persona,
    client: openai.AsyncClient | None,
    consented: Collection[str],
    local: Local,
    edge_connector: Callable[[], aiohttp.BaseConnector] | None,
    online: bool,
    why: dict[str, str],
) -> ChainTTS:
    language = _language(settings, persona)
    match settings.tts.provider:
        case "auto" if settings.openai.api_key is not None:
            first, why["tts"] = "openai", "OPENAI_API_KEY is set"
        case "auto":
            first, why["tts"] = "espeak", "no key is set; runs on this machine"
        case "openai" if client is None:
            raise SettingsError("TTS_PROVIDER=openai needs OPENAI_API_KEY or OPENAI_BASE_URL: set one of them")
        case named:
            first, why["tts"] = named, f"TTS_PROVIDER={named}"
    same_language = voices.base(language) == voices.base(persona.language)
    defaults = {
        "openai": "coral",
        "edge-tts": voices.edge_default(language),
        "espeak": voices.espeak_default(language),
    } | (persona.voice if same_language else {})
    if settings.tts.voice is not None:
        defaults[first] = settings.tts.voice.removeprefix(f"{first}:")
    providers = [
        Provider("edge-tts", True, defaults["edge-tts"], lambda voice: EdgeTTS(voice=voice, connector=edge_connector)),
        Provider("espeak", False, defaults["espeak"], lambda voice: EspeakTTS(local.espeak, voice=voice)),
    ]
    if client is not None:
        model = settings.openai.tts_model
        providers.insert(
            0,
            Provider(
                "openai",
                online,
                defaults["openai"],
                lambda voice: openai_plugin.TTS(model=model, voice=voice, client=client, response_format="pcm"),
            ),
        )
    return ChainTTS(providers, f"{first}:{defaults[first]}", agreed=consented)


def _choose_stt(
    settings: Settings,
    persona: Persona,
    client: openai.AsyncClient | None,
    local: Local,
    online: bool,
    detector: OverheardVAD,
    why: dict[str, str],
) -> tuple[ChainSTT | None, WhisperSTT | None]:
    """The recognizer, and whisper where it could still be fetched."""
    language = voices.base(persona.language)
    auto = settings.stt.provider == "auto"
    by_sphinx = PocketsphinxSTT(local.sphinx)
    last_resort = Recognizer("pocketsphinx", False, by_sphinx, by_sphinx.listen)
    fetched = whisper.installed() and local.whisper.fetched
    by_whisper = WhisperSTT(local.whisper, language=language)
    on_machine = Recognizer("faster-whisper", False, by_whisper) if fetched else last_resort
    match stt_kind(settings, local):
        case "none":
            why["stt"] = "STT_PROVIDER=none; type instead"
            return None, None
        case "openai":
            if client is None:
                raise SettingsError("STT_PROVIDER=openai needs OPENAI_API_KEY or OPENAI_BASE_URL: set one of them")
            why["stt"] = "OPENAI_API_KEY is set" if auto else "STT_PROVIDER=openai"
            remote = openai_plugin.STT(model=settings.openai.stt_model, language=language, client=client)
            return ChainSTT([Recognizer("openai", online, remote), on_machine], detector), None
        case "faster-whisper":
            if not whisper.installed():
                raise SettingsError("STT_PROVIDER=faster-whisper needs the package: pip install 'mien[whisper]'")
            if not fetched:
                why["stt"] = "whisper's model is not downloaded yet; poor, and English only"
                return ChainSTT([last_resort], detector), by_whisper
            why["stt"] = "downloaded before; runs on this machine" if auto else "STT_PROVIDER=faster-whisper"
            return ChainSTT([on_machine, last_resort], detector), None
        case "pocketsphinx":
            why["stt"] = "the last resort: poor, and English only" if auto else "STT_PROVIDER=pocketsphinx"
            return ChainSTT([last_resort], detector), by_whisper if auto and whisper.installed() else None


def _choose_turn_detection(settings: Settings, why: dict[str, str]) -> TurnDetection:
    match settings.turn.detection:
        case "vad":
            why["turn_detection"] = "MIEN_TURN_DETECTION=vad"
            return "vad"
        case "v1-mini":
            why["turn_detection"] = "MIEN_TURN_DETECTION=v1-mini; runs on this machine"
            return inference.TurnDetector(version="v1-mini")
        case "auto":
            why["turn_detection"] = "a pause ends the turn; runs on this machine"
            return "vad"
