"""A language model whose failures are said aloud. The chat in; the model's words out, or one honest sentence in
their place.

Without this a wrong key or a lost network is a silence that nobody can explain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from livekit.agents import APIConnectOptions, APIError, llm, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

from agent.speech.rendering import reason

logger = logging.getLogger(__name__)

NEXT_WORD_S = 8.0
"""A person waits: after this and one retry the model counts as failed."""
UNREACHABLE = "I can't reach my language model right now. Please try again in a moment."
BROKEN_OFF = " … I'm sorry, I lost the connection to my language model."


def _log_notice(code: str, text: str) -> None:
    logger.warning("%s: %s", code, text)


class SpokenFailures(llm.LLM[str]):
    """Args:
        model: the one that answers.
        next_word_s: how long it may take for its next word.

    Attributes:
        on_notice: called with ``llm_failed`` and a sentence for the page, once until the model answers again.
    """

    def __init__(self, model: llm.LLM[Any], *, next_word_s: float = NEXT_WORD_S) -> None:
        super().__init__()
        self._options = APIConnectOptions(max_retry=1, retry_interval=0.3, timeout=next_word_s)
        self.on_notice: Callable[[str, str], None] = _log_notice
        self.inner = model
        self._failing = False

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def provider(self) -> str:
        return self.inner.provider

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> llm.LLMStream:
        def ask() -> llm.LLMStream:
            return self.inner.chat(
                chat_ctx=chat_ctx,
                tools=tools,
                conn_options=self._options,
                parallel_tool_calls=parallel_tool_calls,
                tool_choice=tool_choice,
                extra_kwargs=extra_kwargs,
            )

        return _Stream(self, ask, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    def worked(self) -> None:
        self._failing = False

    def failed(self, error: APIError) -> None:
        why = reason(error)
        logger.warning("the language model failed: %s", why)
        if not self._failing:
            self._failing = True
            self.on_notice("llm_failed", f"The language model {self.model} failed: {why}.")

    async def _prewarm_impl(self) -> None:
        await self.inner._prewarm_impl()

    async def aclose(self) -> None:
        await super().aclose()
        await self.inner.aclose()


class _Stream(llm.LLMStream):
    def __init__(
        self,
        model: SpokenFailures,
        ask: Callable[[], llm.LLMStream],
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
    ) -> None:
        self._model = model
        self._ask = ask
        super().__init__(model, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)

    async def _run(self) -> None:
        said = ""
        try:
            async with self._ask() as stream:
                async for chunk in stream:
                    said += (chunk.delta.content or "") if chunk.delta else ""
                    self._event_ch.send_nowait(chunk)
            self._model.worked()
        except APIError as error:
            self._model.failed(error)
            words = BROKEN_OFF if said.strip() else UNREACHABLE
            self._event_ch.send_nowait(
                llm.ChatChunk(id=utils.shortuuid("failed_"), delta=llm.ChoiceDelta(role="assistant", content=words))
            )
