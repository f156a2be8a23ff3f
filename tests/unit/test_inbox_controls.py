"""The program under controls: skip, pause, stop, clear, remove, in every state, also just before an end."""

from __future__ import annotations

import asyncio

import pytest

from agent.inbox.inbox import Outcome
from agent.inbox.program import State
from tests.doubles.program import Stage, kinds, perform
from tests.doubles.tts import WORD_S, Script

pytestmark = pytest.mark.unit


def test_skip_ends_the_one_that_plays_and_not_the_one_that_waits() -> None:
    async def script(stage: Stage) -> None:
        first = stage.send("1", "alpha bravo charlie delta echo foxtrot golf.")
        stage.send("2", "hotel india.")
        await asyncio.sleep(0.5)
        stage.control("skip")
        assert first.outcomes == [Outcome("skipped", "skip")]
        await stage.settled()

    stage = perform(script)
    assert "golf" not in stage.words
    assert stage.words[-2:] == ["hotel", "india"]
    assert kinds(stage) == {"1": ["accepted", "started", "skipped"], "2": ["accepted", "started", "finished"]}


@pytest.mark.parametrize("before_end_s", [0.05, 0.15, 0.25, 0.35, 0.45])
def test_a_skip_just_before_the_end_loses_nothing_of_the_next_one(before_end_s: float) -> None:
    async def script(stage: Stage) -> None:
        first = stage.send("1", "alpha bravo charlie delta.")
        second = stage.send("2", "hotel india juliet.")
        third = stage.send("3", "kilo.")
        await stage.until(lambda: stage.program.state is State.TALKING)
        await asyncio.sleep(0.015 + 4 * WORD_S + 0.25 - before_end_s)
        assert first.outcomes == []
        stage.control("skip")
        await stage.settled()
        assert [paper.outcomes for paper in (second, third)] == [[Outcome("played")], [Outcome("played")]]

    stage = perform(script, best=Script(tail_s=0.6))
    assert stage.words[-4:] == ["hotel", "india", "juliet", "kilo"]
    assert stage.words.count("hotel") == 1


def test_pause_holds_in_mid_word_and_resume_goes_on() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha bravo charlie delta.")
        await asyncio.sleep(0.5)
        stage.control("pause")
        before = len(stage.ticks)
        await asyncio.sleep(5)
        assert {report.segment for report in stage.ticks[before:]} == {None}
        assert stage.papers[0].outcomes == []
        assert stage.program.status()["paused"]
        stage.control("resume")
        await stage.settled()
        assert stage.papers[0].outcomes == [Outcome("played")]

    assert perform(script, packets=False).words[-2:] == ["charlie", "delta"]


def test_stop_lets_the_one_that_plays_end_and_begins_no_other_until_start() -> None:
    async def script(stage: Stage) -> None:
        first, second = stage.send("1", "alpha bravo charlie delta echo."), stage.send("2", "foxtrot.")
        await asyncio.sleep(0.4)
        stage.control("stop")
        await stage.settled(first)
        await asyncio.sleep(5)
        assert second.outcomes == []
        assert stage.program.state is State.IDLE
        assert [each["state"] for each in stage.program.status()["messages"]] == ["waiting"]
        stage.control("start")
        await stage.settled()

    stage = perform(script)
    assert stage.words == ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]


def test_clear_takes_out_what_waits_and_what_is_prepared_and_not_what_plays() -> None:
    async def script(stage: Stage) -> None:
        for number in range(5):
            stage.send(str(number), f"word{number} two three four.")
        await asyncio.sleep(0.4)
        stage.control("clear")
        await stage.settled()
        await asyncio.sleep(3)

    stage = perform(script)
    assert stage.words == ["word0", "two", "three", "four"]
    assert [paper.outcomes[0].kind for paper in stage.papers] == ["played", *["skipped"] * 4, "played"]


def test_one_message_is_removed_wherever_it_is() -> None:
    async def script(stage: Stage) -> None:
        for number in range(4):
            stage.send(str(number), f"word{number} two three.")
        await asyncio.sleep(0.4)
        assert stage.program.remove("0")  # on air
        assert stage.program.remove("3")  # waits
        assert stage.program.remove("1")  # prepared, or handed over again
        assert not stage.program.remove("9")
        assert not stage.program.remove("0")
        await stage.settled()

    stage = perform(script)
    assert [word for word in stage.words if word.startswith("word")] == ["word0", "word2"]


def test_skip_and_clear_at_once_leave_nothing_and_the_program_idle() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha bravo charlie delta.")
        stage.send("2", "echo.")
        stage.control("pause")
        await asyncio.sleep(0.5)
        stage.control("skip")
        stage.control("clear")
        assert stage.states[-1] == (State.IDLE, None)
        stage.control("resume")
        await asyncio.sleep(1)

    assert perform(script).words == []


def test_skip_while_the_voice_is_still_thinking() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha.")
        await asyncio.sleep(0.5)
        assert stage.states == [(State.PROCESSING, "1")]
        stage.control("skip")
        assert stage.states[-1] == (State.IDLE, None)
        assert stage.papers[0].outcomes == [Outcome("skipped", "skip")]
        await asyncio.sleep(5)

    assert perform(script, best=Script(delay_s=3)).words == []
