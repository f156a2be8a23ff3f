"""pocketsphinx as a livekit-agents STT: speech in, text out, in English, on this machine, and poor.

It is the last resort: free speech comes out with many words wrong. With a list of the phrases that may be said it is
usable, which is what tests do. It runs in a child process (`agent.speech.sphinx_worker`) and decodes while the person
still speaks (`PocketsphinxSTT.listen`), so that the text is there soon after the end. Silence and noise give no text:
sound that has nothing of a voice is not decoded at all, and a result that is mostly fillers is dropped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Sequence

from livekit.agents import APIConnectionError, APIConnectOptions, stt, utils
from livekit.agents.language import LanguageCode
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from agent.speech.child import Child, ChildDied, ChildRefused, Exchange
from agent.speech.framing import BEGIN, FEED, FINISH
from agent.speech.sphinx_worker import PIECE_BYTES, RATE_HZ, TEXT, plain
from agent.speech.utterance import VoiceGate, at_16_khz
from avatar.frames import MienError, Pcm

logger = logging.getLogger(__name__)

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

    def listen(self, phrases: Sequence[str] = ()) -> Listening:
        """Begin an utterance.

        Args:
            phrases: all that may be said; empty for free dictation.
        """
        return Listening(self._child, tuple(phrases))

    async def recognize(self, pcm: Pcm, phrases: Sequence[str] = ()) -> tuple[str, float]:
        """An utterance that is over, int16 at 16 kHz: see `Listening.finish`."""
        listening = self.listen(phrases)
        try:
            for at in range(max(0, pcm.size - int(LONGEST_S * RATE_HZ)), pcm.size, RATE_HZ):
                listening.feed(pcm[at : at + RATE_HZ])
                await asyncio.sleep(0)  # looking for a voice takes some milliseconds a second
            return await listening.finish()
        finally:
            listening.drop()

    async def aclose(self) -> None:
        await self._child.aclose()


class Listening:
    """One utterance, decoded while it goes on. Call ``finish`` or ``drop`` in the end."""

    def __init__(self, child: Child, phrases: tuple[str, ...]) -> None:
        self._child = child
        self._phrases = phrases
        self._gate = VoiceGate()
        self._pieces: list[bytes] = []
        self._exchange: Exchange | None = None

    def feed(self, pcm: Pcm) -> None:
        """What was said next, int16 at 16 kHz; never blocks."""
        sound = pcm.tobytes()
        pieces = [sound[at : at + PIECE_BYTES] for at in range(0, len(sound), PIECE_BYTES)]
        self._pieces += pieces
        if self._exchange is not None:
            for piece in pieces:
                self._exchange.send(FEED, piece)
        elif self._gate.hears(pcm) and (exchange := self._child.open_now()) is not None:
            # Otherwise the child is started at the end, when there is time to wait for it.
            self._exchange = self._begin(exchange)

    async def finish(self) -> tuple[str, float]:
        """Text and confidence (0 to 1); empty for what is no speech.

        Raises:
            SphinxError: a phrase has a word without known pronunciation, or the child failed twice.
        """
        if not self._gate.open:
            return "", 0.0
        for attempt in (1, 2):
            try:
                exchange, self._exchange = self._exchange or self._begin(await self._child.open()), None
                exchange.send(FINISH)
                (answer,) = [json.loads(content) async for kind, content in exchange.frames() if kind == TEXT]
                return _whole(str(answer["text"]), self._phrases), float(answer["confidence"])
            except ChildDied as error:
                if attempt == 2:
                    raise SphinxError(f"pocketsphinx failed twice on one utterance: {error}") from error
                logger.warning("%s; it hears the utterance again", error)
            except ChildRefused as error:
                raise SphinxError(f"pocketsphinx: {error}") from error
        return "", 0.0

    def drop(self) -> None:
        """The text is not wanted any more; after ``finish``, nothing happens."""
        if self._exchange is not None:
            self._exchange.cancel()

    def _begin(self, exchange: Exchange) -> Exchange:
        exchange.send(BEGIN, json.dumps({"phrases": self._phrases}).encode())
        for piece in self._pieces:
            exchange.send(FEED, piece)
        return exchange


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

    def listen(self) -> SphinxHearing:
        """Listen to an utterance while it goes on: a `Hearing`."""
        return SphinxHearing(self._sphinx.listen(self._phrases))

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        return await _told(self._sphinx.recognize(at_16_khz(buffer), self._phrases))


class SphinxHearing:
    """What `agent.speech.listening` wants of a recognizer that listens while somebody speaks."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    def feed(self, pcm: Pcm) -> None:
        self._listening.feed(pcm)

    async def finish(self) -> stt.SpeechEvent:
        return await _told(self._listening.finish())

    def drop(self) -> None:
        self._listening.drop()


async def _told(answer: Awaitable[tuple[str, float]]) -> stt.SpeechEvent:
    """As livekit-agents wants it."""
    try:
        text, confidence = await answer
    except SphinxError as error:
        raise APIConnectionError(str(error), retryable=False) from error
    return stt.SpeechEvent(
        type=stt.SpeechEventType.FINAL_TRANSCRIPT,
        request_id=utils.shortuuid("sphinx_"),
        alternatives=[stt.SpeechData(language=LanguageCode("en"), text=text, confidence=confidence)],
    )
