"""Captions in step with the voice: what the page is shown, and what counts as heard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.agents.types import TimedString

from agent.transcript import Captions

pytestmark = pytest.mark.unit

WORDS = ("One ", "two, ", "three ", "four.")


class Page:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.captions = Captions(self.messages.append)

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.messages]

    def say(self, *words: str, word_s: float = 0.5, complete: bool = True) -> None:
        async def captured() -> None:
            for number, word in enumerate(words):
                await self.captions.capture_text(
                    TimedString(word, start_time=number * word_s, end_time=(number + 1) * word_s)
                )

        asyncio.run(captured())
        if complete:
            self.captions.flush()


def test_nothing_is_shown_before_the_voice_begins() -> None:
    page = Page()
    page.say(*WORDS)
    assert page.messages == []


def test_each_word_is_shown_once_when_the_voice_reaches_it() -> None:
    page = Page()
    page.say(*WORDS)
    for tick in range(1, 51):
        page.captions.reached(tick * 0.04)
    assert page.texts == ["One ", "One two, ", "One two, three ", "One two, three four."]
    assert not any(message["final"] for message in page.messages)
    assert page.captions.finished(2.0, interrupted=False) == "One two, three four."
    assert page.messages[-1] == {
        "type": "caption", "role": "assistant", "id": "a1", "text": "One two, three four.", "final": True
    }  # fmt: skip


def test_what_was_cut_shows_exactly_what_counts_as_heard() -> None:
    page = Page()
    page.say(*WORDS)
    page.captions.reached(1.2)
    assert page.texts[-1] == "One two, three "
    assert page.captions.finished(1.2, interrupted=True) == "One two, "  # less than half of the third had sounded
    assert page.messages[-1]["text"] == "One two, "
    assert page.messages[-1]["final"]
    assert page.messages[-1]["interrupted"]
    page.say("Next.")
    page.captions.reached(0.04)
    assert page.messages[-1]["id"] == "a2"
    assert page.messages[-1]["text"] == "Next."


def test_an_utterance_cut_before_its_first_sound_leaves_no_trace() -> None:
    page = Page()
    page.say(*WORDS)
    page.say("Another ", "answer.")
    page.captions.reached(3.0)
    assert page.texts == ["Another answer."]
    page = Page()
    page.say(*WORDS)
    assert page.captions.finished(0.0, interrupted=True) == ""
    assert page.messages == []


def test_text_that_ends_after_its_voice_still_ends() -> None:
    page = Page()
    page.say(*WORDS, complete=False)
    page.captions.reached(2.0)
    assert page.captions.finished(2.0, interrupted=False) == "One two, three four."
    assert not page.messages[-1]["final"]
    page.captions.flush()
    assert page.messages[-1]["final"]


def test_text_without_times_is_shown_as_soon_as_the_voice_has_got_there() -> None:
    page = Page()

    async def captured() -> None:
        await page.captions.capture_text("no times ")
        await page.captions.capture_text(TimedString("but these", start_time=1.0, end_time=2.0))

    asyncio.run(captured())
    page.captions.reached(0.04)
    assert page.texts == ["no times "]
    assert page.captions.finished(0.5, interrupted=True) == "no times "


def test_a_sound_without_text_has_no_transcript() -> None:
    page = Page()
    assert page.captions.finished(1.0, interrupted=True) is None
    assert page.captions.finished(1.0, interrupted=False) is None
    assert page.messages == []


@given(
    durations_s=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    ticks=st.integers(0, 200),
    interrupted=st.booleans(),
)
def test_the_page_ends_with_what_the_session_was_told(durations_s: list[float], ticks: int, interrupted: bool) -> None:
    page = Page()
    spoken = [f"w{number} " for number in range(len(durations_s))]
    at_s = 0.0

    async def captured() -> None:
        nonlocal at_s
        for word, duration_s in zip(spoken, durations_s, strict=True):
            await page.captions.capture_text(TimedString(word, start_time=at_s, end_time=at_s + duration_s))
            at_s += duration_s

    asyncio.run(captured())
    page.captions.flush()
    for tick in range(ticks):
        page.captions.reached((tick + 1) * 0.04)
    position_s = min(ticks * 0.04, at_s) if interrupted else at_s
    heard = page.captions.finished(position_s, interrupted=interrupted)
    assert heard is not None
    assert "".join(spoken).startswith(heard)
    if page.messages:
        assert page.messages[-1]["text"] == heard
        assert page.messages[-1]["final"]
    else:
        assert heard == ""
    texts = page.texts[:-1]
    assert texts == sorted(texts, key=len), "a caption only grows until its end"
