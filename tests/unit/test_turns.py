"""The latency waterfall: order, early stages, one report a turn."""

from __future__ import annotations

import pytest

from agent.turns import STAGES, Turn, TurnClock

pytestmark = pytest.mark.unit


def measured(turns: list[Turn]) -> dict[str, float]:
    (turn,) = turns
    assert tuple(name for name, _ in turn.stages) == STAGES
    assert turn.total_ms == pytest.approx(sum(ms for _, ms in turn.stages))
    return dict(turn.stages)


def test_each_stage_is_measured_from_the_one_before() -> None:
    turns: list[Turn] = []
    clock = TurnClock(turns.append)
    clock.begin(10.0)
    clock.mark("transcript", 10.1)
    clock.mark("llm_first_token", 10.3)
    clock.released(7, pushed_at_s=10.4, released_at_s=10.43)
    clock.sent(6, 10.44)
    assert not turns, "a packet of an earlier tick is not the answer"
    clock.sent(7, 10.45)
    clock.sent(7, 10.47)
    stages = measured(turns)
    assert stages == pytest.approx(
        {
            "transcript": 100,
            "llm_first_token": 200,
            "tts_first_sound": 100,
            "picture_released": 30,
            "packet_sent": 20,
        }
    )


def test_a_stage_reached_ahead_of_its_turn_costs_nothing() -> None:
    turns: list[Turn] = []
    clock = TurnClock(turns.append)
    clock.mark("transcript", 9.0)
    clock.mark("llm_first_token", 9.5)
    clock.begin(10.0)
    clock.released(0, 9.8, 10.02)
    clock.sent(0, 10.03)
    stages = measured(turns)
    assert stages["transcript"] == stages["llm_first_token"] == stages["tts_first_sound"] == 0
    assert stages["picture_released"] == pytest.approx(20)


def test_speech_that_answers_nobody_is_no_turn_and_only_its_first_segment_counts() -> None:
    turns: list[Turn] = []
    clock = TurnClock(turns.append)
    clock.released(0, 1.0, 1.1)  # a greeting
    clock.sent(0, 1.2)
    assert not turns
    clock.begin(2.0)
    clock.released(50, 2.1, 2.2)
    clock.released(90, 3.1, 3.2)
    clock.sent(50, 2.3)
    clock.sent(90, 3.3)
    assert turns[0].total_ms == pytest.approx(300)
    assert len(turns) == 1
