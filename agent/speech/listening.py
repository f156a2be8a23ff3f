"""The STT of a conversation: an utterance in, text out, by the first recognizer that works.

Recognizers are tried in order; one that fails is replaced for the rest of the conversation and the same utterance
goes to the next. livekit-agents' `FallbackAdapter` streams to all of them by a VAD stream each and brings failed ones
back in mid-conversation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from livekit.agents import APIConnectionError, APIConnectOptions, APIError, stt, utils
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from agent.speech.rendering import reason

logger = logging.getLogger(__name__)

LIMIT_S = 12.0


@dataclass(frozen=True, slots=True)
class Recognizer:
    """One way to listen.

    Args:
        name: for the page and the log.
        online: what is said leaves the machine.
        stt: a non-streaming one.
    """

    name: str
    online: bool
    stt: stt.STT[Any]


def _log_notice(code: str, text: str) -> None:
    logger.warning("%s: %s", code, text)


class ChainSTT(stt.STT[str]):
    """Args:
        recognizers: best first, at least one.

    Attributes:
        on_notice: called with ``stt_replaced`` and a sentence for the page.
    """

    def __init__(self, recognizers: Sequence[Recognizer]) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self.on_notice: Callable[[str, str], None] = _log_notice
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
        """Let this one listen from the next utterance on; the others stay behind it."""
        self._recognizers.insert(0, recognizer)

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        once = APIConnectOptions(max_retry=0, timeout=conn_options.timeout)
        while True:
            recognizer = self.current
            try:
                async with asyncio.timeout(LIMIT_S):
                    return await recognizer.stt.recognize(buffer, language=language, conn_options=once)
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
