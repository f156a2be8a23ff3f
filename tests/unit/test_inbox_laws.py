"""What holds of a program whatever comes, and in whatever order."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.inbox.program import HANDOVER_S, State
from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES
from tests.doubles.program import Stage, kinds, perform
from tests.doubles.tts import Script

pytestmark = pytest.mark.unit


SENDS = st.tuples(st.just("send"), st.integers(0, 14), st.integers(0, 3))
OTHERS = st.tuples(
    st.sampled_from(["wait", "skip", "clear", "remove", "again", "disconnect", "pause", "resume", "stop", "start"]),
    st.integers(0, 14),
    st.integers(0, 30),
)


@given(
    script=st.lists(st.one_of(SENDS, SENDS, OTHERS), min_size=3, max_size=25),
    slow=st.sampled_from([0.0, 0.05, 0.4]),
)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_each_id_is_said_once_and_each_delivery_settled_once(
    script: list[tuple[str, int, int]], slow: float
) -> None:
    async def play(stage: Stage) -> None:
        for what, number, amount in script:
            message_id = str(number)
            text = f"begin{number} middle end{number}."
            match what:
                case "send":
                    if all(paper.id != message_id for paper in stage.papers):
                        stage.send(message_id, text, priority=amount)
                case "again":
                    if any(paper.id == message_id for paper in stage.papers):
                        stage.send(message_id, text)
                case "disconnect":
                    # All that is unsettled dies with its connection and is delivered again, in order.
                    lost = [paper for paper in stage.papers if paper.live and not paper.outcomes]
                    for paper in lost:
                        paper.live = False
                    await asyncio.sleep(amount / 10)
                    for paper in lost:
                        stage.send(paper.id, text)
                case "wait":
                    await asyncio.sleep(amount / 20)
                case "remove":
                    stage.program.remove(message_id)
                case command:
                    stage.control(command)
        stage.control("start")
        stage.control("resume")
        await stage.until(lambda: all(paper.outcomes for paper in stage.papers if paper.live), 60)
        await stage.until(lambda: stage.program.state is State.IDLE, 10)
        assert stage.program.status()["messages"] == []

    stage = perform(play, best=Script(delay_s=slow, lead_s=0.02, tail_s=0.1))
    begun = Counter(word for word in stage.words if word.startswith("begin"))
    assert all(count == 1 for count in begun.values()), begun
    for paper in stage.papers:
        assert len(paper.outcomes) == (1 if paper.live else 0) or (not paper.live and len(paper.outcomes) <= 1)
    told = kinds(stage)
    for message_id, events in told.items():
        assert Counter(events)["accepted"] == 1, message_id
        assert Counter(events)["started"] <= 1, message_id
        assert events[-1] in ("finished", "skipped")
        assert events.count("finished") + events.count("skipped") == 1
    ended = Counter(word for word in stage.words if word.startswith("end"))
    for message_id, events in told.items():
        if events[-1] == "finished":
            assert ended[f"end{message_id}"] == 1, message_id


@given(
    sends=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), min_size=2, max_size=12),
)
@settings(max_examples=40, deadline=None)
def test_whoever_is_begun_had_the_highest_priority_of_those_that_could_still_be_begun(
    sends: list[tuple[int, int]],
) -> None:
    """At each start no other waits that outranks it, unless it came within the handover."""
    arrived: dict[str, tuple[float, int]] = {}
    started: list[tuple[str, float]] = []

    async def play(stage: Stage) -> None:
        now = asyncio.get_running_loop().time
        stage.inbox.listeners.append(
            lambda event: started.append((event.id, now())) if event.kind == "started" else None
        )
        for number, (priority, wait) in enumerate(sends):
            arrived[str(number)] = now(), priority
            stage.send(str(number), f"word{number} two three.", priority=priority)
            await asyncio.sleep(wait / 20)
        await stage.settled()

    stage = perform(play)
    assert len(started) == len(sends)
    position = {message_id: place for place, (message_id, _) in enumerate(started)}
    slack_s = HANDOVER_S + 0.2
    for message_id, at in started:
        for other, (other_at, priority) in arrived.items():
            if position[other] > position[message_id] and other_at < at - slack_s:
                own = -arrived[message_id][1], int(message_id)
                assert own < (-priority, int(other)), f"{message_id} before {other}"
    assert stage.sink.sound.size % TICK_SAMPLES == 0
    assert np.any(stage.sink.sound)
    assert SAMPLE_RATE_HZ == 48_000
