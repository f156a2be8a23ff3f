"""pocketsphinx as a livekit-agents STT: an utterance in, text out, in English, on this machine, and poor.

It is the last resort: free speech comes out with about every second word wrong. With a list of the phrases that may
be said it is usable, which is what tests do. It runs in a child process (`agent.speech.sphinx_worker`), bounded in
time. Silence and noise give no text: sound that has nothing of a voice is not decoded at all, and a result that is
mostly fillers is dropped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from livekit.agents import APIConnectionError, APIConnectOptions, stt, utils
from livekit.agents.language import LanguageCode
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from agent.speech.child import Child, ChildDied, ChildRefused
from agent.speech.sphinx_worker import HEAD, RATE_HZ, TEXT, plain
from agent.speech.utterance import at_16_khz, may_be_speech
from avatar.frames import MienError, Pcm

LONGEST_S = 30.0
"""Of a longer utterance, the last half minute counts."""
SILENCE_S = 8.0
"""It sends a sign of life for every second of sound; loading takes less than half of this on a busy machine."""


class SphinxError(MienError):
    """pocketsphinx could not work: what it said."""


class Sphinx:
    """The client of the child process: shared by all conversations of a process."""

    def __init__(self) -> None:
        self._child = Child("agent.speech.sphinx_worker", silence_s=SILENCE_S)

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        self._child.start()

    async def recognize(self, pcm: Pcm, phrases: Sequence[str] = ()) -> tuple[str, float]:
        """Text and confidence (0 to 1) of int16 at 16 kHz; empty for what is no speech.

        Args:
            phrases: all that may be said; empty for free dictation.

        Raises:
            SphinxError: a phrase has a word without known pronunciation, or the child failed twice.
        """
        pcm = pcm[-int(LONGEST_S * RATE_HZ) :]
        if not await asyncio.to_thread(may_be_speech, pcm):
            return "", 0.0
        head = json.dumps({"phrases": list(phrases)}).encode()
        payload = HEAD.pack(len(head)) + head + pcm.tobytes()
        for attempt in (1, 2):
            try:
                async for kind, content in self._child.ask(payload):
                    if kind == TEXT:
                        answer = json.loads(content)
                        return _whole(str(answer["text"]), phrases), float(answer["confidence"])
            except ChildDied as error:
                if attempt == 2:
                    raise SphinxError(f"pocketsphinx failed twice on one utterance: {error}") from error
            except ChildRefused as error:
                raise SphinxError(f"pocketsphinx: {error}") from error
        return "", 0.0

    async def aclose(self) -> None:
        await self._child.aclose()


def _whole(text: str, phrases: Sequence[str]) -> str:
    """With a grammar, the decoder may end in the middle of a phrase: take the only phrase that goes on like that."""
    if not phrases or not text:
        return text
    begun = [phrase for phrase in phrases if plain(phrase).startswith(text)]
    exact = [phrase for phrase in begun if plain(phrase) == text]
    return exact[0] if exact else begun[0] if len(begun) == 1 else ""


class PocketsphinxSTT(stt.STT[str]):
    """Args:
    sphinx: the process's client.
    phrases: all that may be said; empty for free dictation.
    """

    def __init__(self, sphinx: Sphinx, *, phrases: Sequence[str] = ()) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._sphinx = sphinx
        self._phrases = tuple(phrases)

    @property
    def model(self) -> str:
        return "en-us"

    @property
    def provider(self) -> str:
        return "pocketsphinx"

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        try:
            text, confidence = await self._sphinx.recognize(at_16_khz(buffer), self._phrases)
        except SphinxError as error:
            raise APIConnectionError(str(error), retryable=False) from error
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            request_id=utils.shortuuid("sphinx_"),
            alternatives=[stt.SpeechData(language=LanguageCode("en"), text=text, confidence=confidence)],
        )
