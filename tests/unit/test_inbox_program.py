"""The program over a live playout in virtual time: order, gaps, states, and how far ahead speech is made."""

from __future__ import annotations

import asyncio
import random

import pytest

from agent.inbox.inbox import Outcome
from agent.inbox.program import State
from agent.inbox.speech import READY_S
from agent.inbox.voicing import PORTION, portions
from tests.doubles.program import Stage, kinds, perform
from tests.doubles.tts import WORD_S, Script

pytestmark = pytest.mark.unit


def test_a_message_is_spoken_and_settled_when_it_was_heard_to_its_end() -> None:
    async def script(stage: Stage) -> None:
        paper = stage.send("1", "alpha bravo charlie.")
        await asyncio.sleep(0.4)
        assert stage.program.state is State.TALKING
        assert paper.outcomes == []
        await stage.settled()
        heard = stage.sink.sound[: stage.sink.sound.size - stage.sink.unsent()]
        assert stage.vocabulary.read(heard) == ["alpha", "bravo", "charlie"]
        assert paper.outcomes == [Outcome("played")]
        await asyncio.sleep(1)

    stage = perform(script)
    assert stage.states == [
        (State.PROCESSING, "1"),
        (State.TALKING, "1"),
        (State.TRANSITIONING, "1"),
        (State.IDLE, None),
    ]
    assert kinds(stage) == {"1": ["accepted", "started", "finished"]}
    assert [each.value for each, _ in stage.renderer.expressions] == ["speaking", "idle"]
    assert stage.captions[-1] == ("1", "alpha bravo charlie.", True)
    assert [len(text) for _, text, _ in stage.captions] == sorted(len(text) for _, text, _ in stage.captions)


def test_ten_messages_follow_each_other_with_hardly_a_tick_between() -> None:
    async def script(stage: Stage) -> None:
        for number in range(10):
            stage.send(str(number), f"word{number} two three four five.")
        await stage.settled()

    stage = perform(script, best=Script(delay_s=0.5))
    assert [word for word in stage.words if word.startswith("word")] == [f"word{number}" for number in range(10)]
    assert len(stage.gaps) == 9
    assert max(stage.gaps) == 0.0
    segments = [report.segment for report in stage.ticks]
    spoken = [number for number, segment in enumerate(segments) if segment is not None]
    idle = sum(segment is None for segment in segments[spoken[0] : spoken[-1]])
    assert idle == 0  # the next one stood ready at every end
    assert all(state is not State.IDLE for state, _ in stage.states[:-1])


def test_very_short_messages_and_a_slow_voice_leave_no_more_than_300_ms() -> None:
    async def script(stage: Stage) -> None:
        for number in range(12):
            stage.send(str(number), f"w{number}.")
        await stage.settled()

    # 0.2 s of speech and 0.25 s of pause each, of which synthesis takes 0.2 s
    stage = perform(script, best=Script(delay_s=0.2, tail_s=0.3))
    assert len(stage.gaps) == 11
    assert max(stage.gaps) <= 0.3


def test_the_highest_priority_goes_first_even_past_one_that_was_prepared() -> None:
    async def script(stage: Stage) -> None:
        stage.send("a", "alpha one two three four five six seven eight nine.")
        stage.send("b", "bravo")
        await asyncio.sleep(0.6)  # b is prepared by now
        stage.send("c", "charlie", priority=1)
        stage.send("d", "delta", priority=9)
        stage.send("e", "echo", priority=9)
        await stage.settled()

    stage = perform(script)
    named = [word for word in stage.words if word in ("alpha", "bravo", "charlie", "delta", "echo")]
    assert named == ["alpha", "delta", "echo", "charlie", "bravo"]
    assert all(told == ["accepted", "started", "finished"] for told in kinds(stage).values())
    assert max(stage.gaps) == 0.0


def test_a_long_text_is_made_only_some_seconds_ahead() -> None:
    words = [f"w{number % 60}" for number in range(1500)]
    text = " ".join(f"{word}." if number % 8 == 7 else word for number, word in enumerate(words))
    ahead: list[float] = []

    async def script(stage: Stage) -> None:
        stage.send("long", text)
        while not stage.papers[0].outcomes:
            await asyncio.sleep(1)
            made = sum(len(said.split()) for said in stage.voices["best"].texts) * WORD_S
            heard = sum(report.segment is not None for report in stage.ticks) * 0.04
            ahead.append(made - heard)

    stage = perform(script)
    assert stage.words == words
    assert len(stage.voices["best"].texts) > 10
    portion_s = PORTION / len(text) * 1500 * WORD_S
    assert max(ahead) < 2 * portion_s + READY_S + 4.0 + 2
    assert stage.captions[-1] == ("long", text, True)
    assert stage.playout.stats.dry == 0


def test_portions_are_whole_sentences_and_together_the_text() -> None:
    draw = random.Random(1)
    text = " ".join("x" * draw.randint(1, 12) + draw.choice(["", "", "", ".", ",", "!"]) for _ in range(2000))
    parts = list(portions(text))
    assert "".join(parts) == text
    assert max(len(part) for part in parts) <= PORTION
    assert len(parts) < 2 * len(text) / PORTION
    assert list(portions("Hi.")) == ["Hi."]
