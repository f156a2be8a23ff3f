"""The STT of a conversation: what is said goes in while it is said, text comes out after its end, by the first
recognizer that works.

In: the events of the session's own voice detection (`agent.speech.activity`), which tell where an utterance begins and
ends and hold its sound, from half a second before. Out: a final transcript for each utterance, in order. A recognizer
that can, decodes while the person speaks; the others are asked at the end. Recognizers are tried in order; one that
fails is replaced for the rest of the conversation and the whole utterance goes to the next. livekit-agents'
`FallbackAdapter` streams to all of them by a VAD stream each and brings failed ones back in mid-conversation.

There are no interim transcripts: they would count as words that interrupt, and change with every other word. Nothing
is recognized ahead of the end either: whisper's decoding cannot be stopped once begun, so a wrong guess, at every
pause between words, would hold up the right one by more than the eighth of a second there is to win.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, stt, utils, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

from agent.speech.activity import OverheardVAD
from agent.speech.rendering import reason
from agent.speech.utterance import To16kHz
from avatar.frames import SPEECH_RATE_HZ, Pcm

logger = logging.getLogger(__name__)

LIMIT_S = 12.0
LONGEST_S = 30.0
"""Who speaks for longer without a pause is understood in parts: recognizers take no more at once."""
PAUSE_S = 0.2
"""An utterance ends with more silence than this, so that much of it may be heard again as the next one's beginning."""
_ONCE = APIConnectOptions(max_retry=0, timeout=DEFAULT_API_CONNECT_OPTIONS.timeout)


class Hearing(Protocol):
    """One utterance, at a recognizer that listens while it goes on."""

    def feed(self, pcm: Pcm) -> None:
        """What was said next, int16 at 16 kHz. Must not block or raise; what fails, fails in ``finish``."""

    async def finish(self) -> stt.SpeechEvent:
        """The person has ended; what they said.

        Raises:
            APIError: it could not be recognized.
        """

    def drop(self) -> None:
        """The text is not wanted; after ``finish``, nothing happens."""


@dataclass(frozen=True, slots=True)
class Recognizer:
    """One way to listen.

    Args:
        name: for the page and the log.
        online: what is said leaves the machine.
        stt: is asked for whole utterances.
        listen: begins an utterance while it goes on, where it can do that.
    """

    name: str
    online: bool
    stt: stt.STT[Any]
    listen: Callable[[], Hearing] | None = None


def _log_notice(code: str, text: str) -> None:
    logger.warning("%s: %s", code, text)


class ChainSTT(stt.STT[str]):
    """Args:
        recognizers: best first, at least one.
        detector: the session's; without its events, a stream hears nothing.

    Attributes:
        on_notice: called with ``stt_replaced`` and a sentence for the page.
    """

    def __init__(self, recognizers: Sequence[Recognizer], detector: OverheardVAD) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self.on_notice: Callable[[str, str], None] = _log_notice
        self.detector = detector
        self._recognizers = list(recognizers)

    @property
    def current(self) -> Recognizer:
        """Who gets the next utterance."""
        return self._recognizers[0]

    @property
    def model(self) -> str:
        return self.current.stt.model

    @property
    def provider(self) -> str:
        return self.current.name

    def prefer(self, recognizer: Recognizer) -> None:
        """Let this one listen from now on; the others stay behind it."""
        self._recognizers.insert(0, recognizer)

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        return _Listening(self, conn_options)

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        return await self.first_that_works(
            lambda recognizer: recognizer.stt.recognize(buffer, language=language, conn_options=_ONCE)
        )

    async def first_that_works(self, ask: Callable[[Recognizer], Awaitable[stt.SpeechEvent]]) -> stt.SpeechEvent:
        """Ask one recognizer after the other; those that fail are left out from then on.

        Raises:
            APIConnectionError: the last one failed too.
        """
        while True:
            recognizer = self.current
            try:
                async with asyncio.timeout(LIMIT_S):
                    return await ask(recognizer)
            except (APIError, TimeoutError) as error:
                why = reason(error) if isinstance(error, APIError) else f"no answer within {LIMIT_S:g} s"
                if len(self._recognizers) == 1:
                    raise APIConnectionError(f"{recognizer.name}: {why}", retryable=False) from error
                if recognizer is self.current:
                    self._recognizers.pop(0)
                    self.on_notice(
                        "stt_replaced",
                        f"Speech recognition by {recognizer.name} failed ({why}). "
                        f"{self.current.name} listens from here on.",
                    )

    async def aclose(self) -> None:
        for recognizer in self._recognizers:
            await recognizer.stt.aclose()


class _Utterance:
    """What somebody says from one pause to the next; all of it is kept until it is understood."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.samples = 0
        self.ended_at = 0.0
        """Wall-clock time."""
        self._recognizer = recognizer
        self._hearing = recognizer.listen() if recognizer.listen is not None else None
        self._to_16_khz = To16kHz()
        self._sound: list[Pcm] = []

    def add(self, frames: list[rtc.AudioFrame]) -> None:
        for frame in frames:
            self._take(self._to_16_khz.push(frame))

    def end(self, at: float) -> None:
        self._take(self._to_16_khz.flush())
        self.ended_at = at

    def drop(self) -> None:
        if self._hearing is not None:
            self._hearing.drop()

    async def told_by(self, recognizer: Recognizer) -> stt.SpeechEvent:
        """What was said: by who has listened from the beginning, else all of it is played to this one.

        Raises:
            APIError: it could not be recognized.
        """
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            try:
                if recognizer is self._recognizer:
                    return await hearing.finish()
            finally:
                hearing.drop()
        pcm = np.concatenate(self._sound)
        frame = rtc.AudioFrame(pcm.tobytes(), SPEECH_RATE_HZ, 1, pcm.size)
        return await recognizer.stt.recognize(frame, conn_options=_ONCE)

    def _take(self, pcm: Pcm) -> None:
        self._sound.append(pcm)
        self.samples += pcm.size
        if self._hearing is not None:
            self._hearing.feed(pcm)


class _Listening(stt.RecognizeStream):
    """One session's."""

    def __init__(self, chain: ChainSTT, conn_options: APIConnectOptions) -> None:
        self._chain = chain
        self._utterance: _Utterance | None = None
        """The one that goes on."""
        self._ended: asyncio.Queue[_Utterance | None] = asyncio.Queue()
        self._ended_at_sample = 0
        super().__init__(stt=chain, conn_options=conn_options)

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Nothing to do: the voice detection's events hold the same sound, and just what belongs to an utterance."""

    async def _run(self) -> None:
        listeners = self._chain.detector.listeners
        listeners.add(self._heard)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._understand())
                async for _ in self._input_ch:
                    pass
                self._ended.put_nowait(None)
        finally:
            listeners.discard(self._heard)
            if self._utterance is not None:
                self._utterance.drop()
            while not self._ended.empty():
                if (waiting := self._ended.get_nowait()) is not None:
                    waiting.drop()

    def _heard(self, event: vad.VADEvent) -> None:
        match event.type:
            case vad.VADEventType.START_OF_SPEECH:
                self._begin(event)
            case vad.VADEventType.INFERENCE_DONE if self._utterance is not None:
                self._utterance.add(event.frames)
                if self._utterance.samples >= LONGEST_S * SPEECH_RATE_HZ:
                    self._end(time.time())
                    self._utterance = _Utterance(self._chain.current)
            case vad.VADEventType.END_OF_SPEECH:
                if self._utterance is None:  # this stream was opened while it went on: here is all of it
                    self._begin(event)
                self._end(time.time() - event.silence_duration)
                self._ended_at_sample = event.samples_index

    def _begin(self, event: vad.VADEvent) -> None:
        """Begin with what the detector has kept from before it was sure, but for what the last utterance had."""
        if self._utterance is not None:
            self._end(time.time())
        self._utterance = _Utterance(self._chain.current)
        since_s = (event.samples_index - self._ended_at_sample) / SPEECH_RATE_HZ
        self._utterance.add([_last(frame, since_s + PAUSE_S) for frame in event.frames])

    def _end(self, at: float) -> None:
        if self._utterance is not None:
            self._utterance.end(at)
            self._ended.put_nowait(self._utterance)
            self._utterance = None

    async def _understand(self) -> None:
        while (utterance := await self._ended.get()) is not None:
            try:
                event = await self._chain.first_that_works(utterance.told_by)
            except APIError as error:
                self._emit_error(error, recoverable=False)  # the next utterance may fare better
                continue
            finally:
                utterance.drop()
            if event.alternatives and event.alternatives[0].text:
                event.speech_end_time = utterance.ended_at
                self._event_ch.send_nowait(event)


def _last(frame: rtc.AudioFrame, seconds: float) -> rtc.AudioFrame:
    """The end of a mono frame."""
    pcm = np.frombuffer(frame.data, np.int16)[-max(1, round(seconds * frame.sample_rate)) :]
    return rtc.AudioFrame(pcm.tobytes(), frame.sample_rate, 1, pcm.size)
