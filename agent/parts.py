"""The parts of a conversation and those of a process: what `choose_models` makes; described, changed, closed.

`Local` is shared by all conversations of a process, `Models` belongs to one.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import openai
from livekit import local_inference
from livekit.agents import inference, vad
from livekit.agents import llm as llm_api

from agent.settings import Settings
from agent.smalltalk import SmallTalk
from agent.speech import whisper
from agent.speech.chain import ChainTTS
from agent.speech.espeak import Espeak
from agent.speech.espeak_worker import RATE_HZ
from agent.speech.listening import ChainSTT, Recognizer
from agent.speech.pocketsphinx import Sphinx
from agent.speech.sentences import SentenceCutter
from agent.speech.shaping import Shaper
from agent.speech.whisper import Progress, Whisper, WhisperSTT
from agent.thinking import SpokenFailures
from agent.voices import Voice

TurnDetection = Literal["vad"] | inference.TurnDetector
WHISPER_OFFER = "whisper"


@dataclass(frozen=True, slots=True)
class Part:
    """A line of what is in use, for the page and the log; the fields of ``hello.parts``."""

    part: Literal["llm", "tts", "stt", "vad", "turn_detection"]
    name: str
    why: str
    online: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that could be fetched after a yes; the fields of ``hello.offers``."""

    id: str
    text: str
    size_mb: int | None


class Local:
    """What all conversations of a process share. Safe from any event loop.

    Raises:
        WhisperError: ``MIEN_WHISPER_MODEL`` is no model.
    """

    def __init__(
        self, settings: Settings, *, whisper_cache: Path = whisper.CACHE, whisper_hub: str | None = None
    ) -> None:
        self._settings = settings
        self.espeak = Espeak()
        self.sphinx = Sphinx()
        self.whisper = Whisper(settings.stt.whisper_model, cache=whisper_cache, hub=whisper_hub)

    def prewarm(self) -> None:
        """Load now what would otherwise be loaded within somebody's first turn; blocks, so call it on a thread."""
        self.espeak.start()
        local_inference.init_vad()
        if self._settings.turn.detection == "v1-mini":
            local_inference.init_eot()
        if self._settings.openai.configured:
            importlib.import_module("openai.resources")  # half a second, otherwise within the first request
        Shaper(RATE_HZ, lead_ms=0, tail_ms=0)
        SentenceCutter().push("Load the tokenizer now, please. Thank you.")
        match stt_kind(self._settings, self):
            case "pocketsphinx":
                self.sphinx.start()
            case "faster-whisper" if self.whisper.fetched:
                self.whisper.load()
            case _:
                pass

    async def aclose(self) -> None:
        """End the children; at most some seconds."""
        await self.espeak.aclose()
        await self.sphinx.aclose()
        self.whisper.close()


class Models:
    """The parts of one conversation; made by `choose_models`, closed by its owner.

    Attributes:
        stt: None where nothing listens; typing works all the same.
    """

    def __init__(
        self,
        *,
        stt: ChainSTT | None,
        llm: SpokenFailures | SmallTalk,
        tts: ChainTTS,
        vad: vad.VAD,
        turn_detection: TurnDetection,
        why: dict[str, str],
        llm_online: bool,
        voices: tuple[Voice, ...],
        whisper: WhisperSTT | None,
        local: Local,
        client: openai.AsyncClient | None,
    ) -> None:
        self.stt = stt
        self.llm: llm_api.LLM[Any] = llm
        self.tts = tts
        self.vad = vad
        self.turn_detection: TurnDetection = turn_detection
        self.voices = voices
        self._llm = llm
        self._why = why
        self._llm_online = llm_online
        self._whisper = whisper
        self._local = local
        self._client = client
        self._chosen_voice = tts.voice
        self._chosen_recognizer = stt.current.name if stt is not None else ""

    def notify(self, on_notice: Callable[[str, str], None]) -> None:
        """Have ``on_notice(code, text)`` called when a part fails or is replaced: ``tts_replaced``, ``tts_failed``,
        ``stt_replaced``, ``llm_failed``. Afterwards ``describe`` has changed."""
        self.tts.on_notice = on_notice
        if self.stt is not None:
            self.stt.on_notice = on_notice
        if isinstance(self._llm, SpokenFailures):
            self._llm.on_notice = on_notice

    def set_voice(self, voice: str) -> None:
        """Speak with this voice from the next sentence on; choosing an online one is the consent to it.

        Raises:
            NoSuchVoice: the voice stays as it was.
        """
        self.tts.set_voice(voice)
        self._chosen_voice = self.tts.voice
        self._why["tts"] = "you picked this voice"

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What could be fetched after a yes."""
        model = self._local.whisper
        if self._whisper is None or model.fetched:
            return ()
        text = f"Understand speech much better, on this machine: download the whisper model {model.model} once."
        return (Offer(WHISPER_OFFER, text, model.size_mb),)

    async def accept(self, offer: str, granted: bool, progress: Progress) -> bool:
        """The answer to an offer. A granted model is fetched, loaded, and listens from the next utterance on.

        Returns:
            Whether a part was replaced.

        Raises:
            WhisperError: the download failed; it stays on offer.
        """
        if offer != WHISPER_OFFER or self._whisper is None or self.stt is None:
            return False
        recognizer = self._whisper
        if not granted:
            self._whisper = None
            return False
        await self._local.whisper.fetch(progress)
        await asyncio.to_thread(self._local.whisper.load)
        self._whisper = None
        self.stt.prefer(Recognizer("faster-whisper", False, recognizer))
        self._chosen_recognizer = self.stt.current.name
        self._why["stt"] = "you agreed to its download; runs on this machine"
        return True

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is in use now, and why."""
        tts_why = self._why["tts"] if self.tts.voice == self._chosen_voice else f"{self._chosen_voice} failed"
        if self.stt is None:
            listening = Part("stt", "none", self._why["stt"], False)
        else:
            current = self.stt.current
            same = current.name == self._chosen_recognizer
            stt_why = self._why["stt"] if same else f"{self._chosen_recognizer} failed"
            listening = Part("stt", current.name, stt_why, current.online)
        detector = "vad" if self.turn_detection == "vad" else "v1-mini"
        return (
            Part("llm", self._llm.model, self._why["llm"], self._llm_online),
            Part("tts", self.tts.voice, tts_why, self.tts.online),
            listening,
            Part("vad", "silero", "bundled; runs on this machine", False),
            Part("turn_detection", detector, self._why["turn_detection"], False),
        )

    def describe(self) -> dict[str, Any]:
        """``parts`` (without the renderer), ``voices``, ``voice`` and ``offers`` as the page's ``hello`` holds them."""
        return {
            "parts": [asdict(part) for part in self.parts],
            "voices": [asdict(voice) for voice in self.voices],
            "voice": self.tts.voice,
            "offers": [
                {name: value for name, value in asdict(offer).items() if value is not None} for offer in self.offers
            ],
        }

    async def aclose(self) -> None:
        await self.tts.aclose()
        if self.stt is not None:
            await self.stt.aclose()
        await self.llm.aclose()
        if self._client is not None:
            await self._client.close()


def stt_kind(settings: Settings, local: Local) -> Literal["openai", "faster-whisper", "pocketsphinx", "none"]:
    match settings.stt.provider:
        case "auto" if settings.openai.api_key is not None:
            return "openai"
        case "auto" if whisper.installed() and local.whisper.fetched:
            return "faster-whisper"
        case "auto":
            return "pocketsphinx"
        case named:
            return named
