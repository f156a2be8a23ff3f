"""The TTS of a conversation: the reply's text streams in, 48 kHz sound with timed words streams out, whoever speaks
it.

Sentences are spoken by the chosen voice; the next one is synthesized while the last one is handed on. A provider that
fails is replaced for the rest of the conversation, and the sentence goes on with the next one where it broke off.
livekit-agents' `FallbackAdapter` does not do: once any of a reply has sounded, a failure loses the rest of it (tried),
recovered providers come back in mid-conversation, and sentences are not synthesized ahead.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from livekit.agents import APIConnectionError, APIConnectOptions, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from agent.speech.captions import Pace
from agent.speech.rendering import ProviderFailed, Rendering
from agent.speech.reply import Reply
from agent.speech.sentences import Piece
from avatar.frames import SAMPLE_RATE_HZ, MienError

logger = logging.getLogger(__name__)

KEPT_VOICES = 8
"""Voices that stay at hand after they were chosen."""


class NoSuchVoice(MienError):
    """The voice id names no provider of this conversation, or none that may be used."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to speak.

    Args:
        name: the part of a voice id before the colon.
        online: the text leaves the machine; it steps in for another only once the person has agreed to it.
        voice: the voice with which it steps in.
        make: a TTS for a voice of its own; raises MienError for one that it does not have.
    """

    name: str
    online: bool
    voice: str
    make: Callable[[str], tts.TTS[Any]]


@dataclass(eq=False, slots=True)
class _Speaker:
    """A voice that was chosen, and what is being said with it."""

    tts: tts.TTS[Any]
    pace: Pace = field(default_factory=Pace)
    renderings: WeakSet[Rendering] = field(default_factory=WeakSet)

    @property
    def speaking(self) -> bool:
        return any(not rendering.closed for rendering in self.renderings)


def _log_notice(code: str, text: str) -> None:
    logger.warning("%s: %s", code, text)


class ChainTTS(tts.TTS[str]):
    """Args:
        providers: in the order in which they step in for each other.
        voice: the id of the voice to begin with, ``provider:voice``.
        agreed: names of online providers that the person has agreed to; the chosen one's is added.

    Attributes:
        ahead_s: sentences are not begun while more than this is synthesized and, at the pace of the wall clock, not
            yet heard; a new voice then speaks soon, and little is paid for what is interrupted. By default infinite.
        on_notice: called with a code and a sentence for the page when a provider was replaced (``tts_replaced``) or
            nobody can speak (``tts_failed``).

    Raises:
        NoSuchVoice: ``voice`` is none of the providers'.
    """

    def __init__(self, providers: Sequence[Provider], voice: str, *, agreed: Iterable[str] = ()) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=True),
            sample_rate=SAMPLE_RATE_HZ,
            num_channels=1,
        )
        self.ahead_s = math.inf
        self.on_notice: Callable[[str, str], None] = _log_notice
        self._providers = tuple(providers)
        self._agreed = set(agreed)
        self._failed: set[str] = set()
        self._speakers: OrderedDict[str, _Speaker] = OrderedDict()
        """By voice; the one chosen last stands last."""
        self._closing: set[asyncio.Task[None]] = set()
        self._voice = ""
        self.set_voice(voice)

    @property
    def voice(self) -> str:
        """The id of the voice that speaks the next sentence."""
        return self._voice

    @property
    def online(self) -> bool:
        """Whether the text of the next sentence leaves the machine."""
        name = self._voice.partition(":")[0]
        return next(provider.online for provider in self._providers if provider.name == name)

    @property
    def model(self) -> str:
        return self._speakers[self._voice].tts.model

    @property
    def provider(self) -> str:
        return self._speakers[self._voice].tts.provider

    def set_voice(self, voice: str) -> None:
        """Speak with this voice from the next sentence on. Choosing an online voice is the consent to it.

        Raises:
            NoSuchVoice: there is none of this id; the voice stays as it was.
        """
        name = voice.partition(":")[0]
        provider = next((provider for provider in self._providers if provider.name == name), None)
        if provider is None:
            known = ", ".join(provider.name for provider in self._providers)
            raise NoSuchVoice(f"no voice {voice!r}: its provider must be one of {known}, as in espeak:en-us+f3")
        self._use(provider, voice)
        self._agreed.add(name)
        self._failed.discard(name)

    def _use(self, provider: Provider, voice: str) -> None:
        if voice not in self._speakers:
            try:
                self._speakers[voice] = _Speaker(provider.make(voice.partition(":")[2]))
            except MienError as error:
                raise NoSuchVoice(f"no voice {voice!r}: {error}") from error
        self._speakers.move_to_end(voice)
        self._voice = voice
        self._shed()

    def _shed(self) -> None:
        """Close those that were chosen longest ago: on a stream each message may name another voice, for days."""
        spare = [voice for voice, speaker in self._speakers.items() if voice != self._voice and not speaker.speaking]
        for voice in spare[: max(0, len(self._speakers) - KEPT_VOICES)]:
            closing = asyncio.create_task(_closed(voice, self._speakers.pop(voice)))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def replace(self, voice: str, error: ProviderFailed) -> None:
        """This voice has failed: let the next provider speak for the rest of the conversation.

        Raises:
            APIConnectionError: there is nobody left.
        """
        name = voice.partition(":")[0]
        self._failed.add(name)
        if self._voice.partition(":")[0] != name:
            return  # another voice was chosen in the meantime
        for provider in self._providers:
            if provider.name in self._failed or (provider.online and provider.name not in self._agreed):
                continue
            try:
                self._use(provider, f"{provider.name}:{provider.voice}")
            except NoSuchVoice as unusable:
                logger.warning("%s cannot step in: %s", provider.name, unusable)
                continue
            self.on_notice("tts_replaced", f"The voice {voice} failed ({error}). {self._voice} speaks from here on.")
            return
        self._failed.clear()  # the next reply is a new chance
        self.on_notice("tts_failed", f"No voice is left to speak with; the last one failed: {error}")
        raise APIConnectionError(f"no TTS left: {error}", retryable=False) from error

    def render(self, piece: Piece, *, first: bool) -> Rendering:
        """Begin to speak a piece with the current voice."""
        speaker = self._speakers[self._voice]
        rendering = Rendering(speaker.tts, self._voice, piece, first=first)
        speaker.renderings.add(rendering)
        return rendering

    def pace(self, voice: str) -> Pace:
        """Of a voice with which something is being rendered."""
        return self._speakers[voice].pace

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> tts.SynthesizeStream:
        return Reply(self, conn_options)

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return self._synthesize_with_stream(text, conn_options=conn_options)

    def prewarm(self) -> None:
        self._speakers[self._voice].tts.prewarm()

    async def aclose(self) -> None:
        for speaker in self._speakers.values():
            await speaker.tts.aclose()
        await asyncio.gather(*self._closing)


async def _closed(voice: str, speaker: _Speaker) -> None:
    try:
        await speaker.tts.aclose()
    except Exception as error:  # whatever a provider's library raises, nobody needs this voice any more
        logger.warning("the voice %s did not close: %s", voice, type(error).__name__)
