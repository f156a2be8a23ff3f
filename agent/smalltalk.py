"""The built-in persona as a livekit-agents LLM: the chat so far in, an honest short answer out, word by word.

It is what answers while no language model is configured. It says so when asked and in its first answer, and never
pretends to know. What it says is written in `agent.smalltalk_lines`; nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from livekit.agents import APIConnectOptions, llm, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

from agent.smalltalk_lines import FOREIGN, INTRODUCTION
from agent.smalltalk_rules import answer
from agent.smalltalk_turn import Turn, language_of, plain


def clock_in(timezone: str | None) -> Callable[[], datetime]:
    """The time where the user is; the machine's own where the name of the zone is unknown or not told."""
    try:
        zone = ZoneInfo(timezone) if timezone else None
    except (ZoneInfoNotFoundError, ValueError):
        zone = None
    return lambda: datetime.now(zone)


class SmallTalk(llm.LLM[str]):
    """Args:
    persona: the name it goes by.
    greeting: said when there is nothing to answer yet.
    language: the persona's; anything but English is met with one honest sentence.
    clock: the time where the user is.
    seed: same seed, same conversation.
    """

    def __init__(
        self,
        *,
        persona: str,
        greeting: str = "",
        language: str = "en",
        clock: Callable[[], datetime] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._persona = persona
        self._greeting = greeting
        self._language = language.partition("-")[0]
        self._clock = clock if clock is not None else clock_in(None)
        self._seed = seed

    @property
    def model(self) -> str:
        return "built-in"

    @property
    def provider(self) -> str:
        return "mien"

    def reply(self, messages: list[tuple[str, str]]) -> str:
        """The answer to (role, text) messages, oldest first; roles other than user and assistant do not count."""
        spoken = [(role, text) for role, text in messages if role in ("user", "assistant") and text.strip()]
        own = tuple(text for role, text in spoken if role == "assistant")
        users = [text for role, text in spoken if role == "user"]
        # A person who speaks on after a pause sends two messages in a row; both are answered.
        current: list[str] = []
        while spoken and spoken[-1][0] == "user":
            current.insert(0, spoken.pop()[1])
        introduced = any("built-in" in text for text in own)
        if not current:
            return f"{self._greeting or f'Hello, I am {self._persona}.'} {INTRODUCTION}"
        said = current[-1] if any(mark.isalnum() for mark in current[-1]) else " ".join(current)
        foreign = language_of(said) or (self._language if self._language in FOREIGN and not introduced else None)
        if foreign is not None and (language_of(said) is not None or not any(FOREIGN[foreign] in text for text in own)):
            return FOREIGN[foreign]
        turn = Turn(
            said=said,
            plain=plain(said),
            before=tuple(users[:-1]),
            own=own,
            persona=self._persona,
            now=self._clock(),
            dice=random.Random(f"{self._seed}/{len(own)}/{plain(said)}"),  # noqa: S311 - a choice of words
        )
        text = answer(turn)
        return text if introduced or "built-in" in text else f"{text} {INTRODUCTION}"

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
        return _Answer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Answer(llm.LLMStream):
    async def _run(self) -> None:
        assert isinstance(self._llm, SmallTalk)
        messages = [(message.role, message.text_content or "") for message in self._chat_ctx.messages()]
        request = utils.shortuuid("smalltalk_")
        for word in re.findall(r"\s*\S+", self._llm.reply([(str(role), text) for role, text in messages])):
            self._event_ch.send_nowait(llm.ChatChunk(id=request, delta=llm.ChoiceDelta(role="assistant", content=word)))
            await asyncio.sleep(0)
