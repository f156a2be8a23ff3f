"""Recognizers that keep what they were given and answer what they were told to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from livekit.agents import APIConnectionError, APIConnectOptions, stt, utils
from livekit.agents.language import LanguageCode
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from agent.speech.listening import Recognizer
from agent.speech.utterance import at_16_khz
from avatar.frames import Pcm


def said(text: str) -> stt.SpeechEvent:
    return stt.SpeechEvent(
        type=stt.SpeechEventType.FINAL_TRANSCRIPT,
        alternatives=[stt.SpeechData(language=LanguageCode("en"), text=text, confidence=1.0)],
    )


class KeepingSTT(stt.STT[str]):
    """Asked for whole utterances.

    Args:
        answers: one for each utterance; an exception is raised, the last one is repeated.
    """

    def __init__(self, answers: Sequence[str | Exception]) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._answers = list(answers)
        self.heard: list[Pcm] = []

    def answer(self) -> stt.SpeechEvent:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return said(answer)

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        self.heard.append(at_16_khz(buffer))
        return self.answer()


class KeepingHearing:
    """One utterance of a `KeepingSTT` that listens while it goes on."""

    def __init__(self, recognizer: KeepingSTT) -> None:
        self._recognizer = recognizer
        self.pieces: list[Pcm] = []
        self.finished = False
        self.dropped = False

    def feed(self, pcm: Pcm) -> None:
        self.pieces.append(pcm)

    async def finish(self) -> stt.SpeechEvent:
        self.finished = True
        self._recognizer.heard.append(np.concatenate(self.pieces))
        return self._recognizer.answer()

    def drop(self) -> None:
        self.dropped = True


class Keeping:
    """A `Recognizer` of these.

    Args:
        live: it listens while somebody speaks; otherwise it is asked in the end.
    """

    def __init__(self, name: str, *answers: str | Exception, live: bool = False) -> None:
        self.stt = KeepingSTT(answers or (name,))
        self.hearings: list[KeepingHearing] = []
        self.recognizer = Recognizer(name, False, self.stt, self._listen if live else None)

    @property
    def heard(self) -> list[Pcm]:
        return self.stt.heard

    def _listen(self) -> KeepingHearing:
        self.hearings.append(KeepingHearing(self.stt))
        return self.hearings[-1]


def broken() -> Exception:
    return APIConnectionError("out of order", retryable=False)
