"""The playout in virtual time: interruptions, pauses, and what of the speech was heard."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES
from avatar.pictures import STILL_TICKS
from avatar.playout import Finished
from tests.doubles.playout import TICK_S, Stage, loop_time, perform, speech
from tests.doubles.renderers import batching_renderer, read_shot
from tests.doubles.sinks import LostSink, PacketSink, StuckSink

pytestmark = pytest.mark.unit


# -- interruption


def test_clear_takes_effect_in_the_caller() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(5))
        await asyncio.sleep(1)
        before = len(stage.sink.frames)
        stage.playout.clear()
        assert [event.interrupted for event in stage.heard.finished] == [True]
        assert stage.playout.ahead_s == 0
        await asyncio.sleep(1)
        after = stage.sink.frames[before:]
        assert not np.concatenate([frame.sound for frame in after])[480:].any(), "only the 10 ms fade follows"
        assert all(frame.generation == 1 for frame in after)
        shots = [read_shot(frame.picture) for frame in after]
        assert all(shot.segment is None for shot in shots)
        assert [shot.since for shot in shots[:4]] == [0, 1, 2, 3]
        assert shots[0].after is not None, "the mouth eases shut from where it was"
        assert shots[0].after[0] == 0

    perform(script)


def test_the_fade_after_an_interruption_has_no_click() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(5))
        await asyncio.sleep(1.01)
        stage.playout.clear()
        await asyncio.sleep(0.2)

    sound = perform(script).sink.sound.astype(int)
    end = int(np.flatnonzero(sound)[-1])
    assert np.abs(np.diff(sound[end - 900 : end + 2])).max() < 4100, "the test tone itself steps by 3999"


def test_clear_before_the_first_frame_ends_the_segment_once_at_zero() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.3))
        stage.playout.clear()
        stage.playout.clear()
        await asyncio.sleep(0.3)

    stage = perform(script)
    assert stage.heard.finished == [Finished(0, 0.0, True)]
    assert not stage.heard.started
    assert not stage.sink.sound.any()


def test_clear_ends_every_queued_segment_once_and_in_order() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.4))
        stage.playout.end()
        stage.playout.push(speech(0.4))
        stage.playout.end()
        stage.playout.push(speech(0.4))
        await asyncio.sleep(0.21)
        stage.playout.clear()
        await asyncio.sleep(0.3)

    stage = perform(script)
    assert [event.segment for event in stage.heard.finished] == [0, 1, 2]
    assert all(event.interrupted for event in stage.heard.finished)
    assert stage.heard.finished[0].position_s == pytest.approx(0.2, abs=0.05)
    assert [event.position_s for event in stage.heard.finished[1:]] == [0, 0]


def test_clear_then_push_at_once_plays_the_new_segment_alone() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(1, level=1000))
        await asyncio.sleep(0.3)
        stage.playout.clear()
        before = len(stage.sink.frames)
        stage.playout.push(speech(0.2, level=20_000))
        stage.playout.end()
        await asyncio.sleep(0.6)
        sound = np.concatenate([frame.sound for frame in stage.sink.frames[before:]])
        np.testing.assert_array_equal(sound[480 : round(0.2 * SAMPLE_RATE_HZ)], speech(0.2, level=20_000)[480:])

    stage = perform(script)
    assert [(event.segment, event.interrupted) for event in stage.heard.finished] == [(0, True), (1, False)]


def test_nothing_old_comes_out_after_a_clear_even_from_a_slow_renderer() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(2))
        await asyncio.sleep(0.7)
        before = len(stage.sink.frames)
        stage.playout.clear()
        stage.playout.push(speech(1))
        await asyncio.sleep(1)
        assert all(read_shot(frame.picture).segment != 0 for frame in stage.sink.frames[before + STILL_TICKS :])

    perform(script, batching_renderer(3))


def test_an_empty_segment_ends_at_zero() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(np.zeros(0, np.int16))
        stage.playout.end()
        stage.playout.end()
        await asyncio.sleep(0.2)

    assert perform(script).heard.finished == [Finished(0, 0.0, False)]


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.floats(0, 0.5)),
            st.tuples(st.just("end"), st.just(0.0)),
            st.tuples(st.just("clear"), st.just(0.0)),
            st.tuples(st.just("pause"), st.just(0.0)),
            st.tuples(st.just("resume"), st.just(0.0)),
            st.tuples(st.just("wait"), st.floats(0, 0.4)),
            st.tuples(st.just("break"), st.just(0.0)),
            st.tuples(st.just("mend"), st.just(0.0)),
            st.tuples(st.just("lose sink"), st.just(0.0)),
        ),
        max_size=25,
    )
)
def test_whatever_happens_each_segment_ends_exactly_once(steps: list[tuple[str, float]]) -> None:
    async def script(stage: Stage) -> None:
        for step, amount in steps:
            match step:
                case "push":
                    stage.playout.push(speech(amount))
                case "end":
                    stage.playout.end()
                case "clear":
                    stage.playout.clear()
                case "pause":
                    stage.playout.pause()
                case "resume":
                    stage.playout.resume()
                case "break" | "mend":
                    stage.renderer.broken = step == "break"
                case "lose sink":
                    stage.playout.detach(stage.sink)
                case _:
                    await asyncio.sleep(amount)
        stage.playout.end()
        stage.playout.resume()
        await asyncio.sleep(sum(amount for step, amount in steps if step == "push") + 1)
        ended = [event.segment for event in stage.heard.finished]
        assert ended == list(range(stage.playout.stats.segments))
        assert stage.playout.ahead_s == 0
        stage.renderer.broken = False

    perform(script, batching_renderer(1))


# -- pause


def test_pause_holds_the_position_and_resume_goes_on_there() -> None:
    pcm = speech(0.6)

    async def script(stage: Stage) -> None:
        stage.playout.push(pcm)
        stage.playout.end()
        await asyncio.sleep(0.25)
        stage.playout.pause()
        await asyncio.sleep(0.5)
        stage.playout.resume()
        await asyncio.sleep(1)

    stage = perform(script)
    spoken = [(frame, read_shot(frame.picture)) for frame in stage.sink.frames if read_shot(frame.picture).segment == 0]
    assert [shot.n for _, shot in spoken] == list(range(15))
    gaps = np.diff([frame.tick for frame, _ in spoken])
    assert sorted(gaps)[-1] == pytest.approx(0.5 / TICK_S, abs=2)
    assert sum(gaps > 1) == 1
    assert stage.heard.finished == [Finished(0, 0.6, False)]


def test_pause_then_clear_ends_once_with_the_held_position_and_outlasts_the_clear() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(2))
        await asyncio.sleep(0.25)
        stage.playout.pause()
        await asyncio.sleep(0.5)
        stage.playout.clear()
        assert stage.heard.finished[0].position_s == pytest.approx(0.25, abs=0.05)
        before = len(stage.sink.frames)
        stage.playout.push(speech(0.1))
        stage.playout.end()
        await asyncio.sleep(0.5)
        assert not np.concatenate([frame.sound for frame in stage.sink.frames[before:]])[480:].any()
        stage.playout.resume()
        await asyncio.sleep(0.5)

    stage = perform(script)
    assert [(event.segment, event.interrupted) for event in stage.heard.finished] == [(0, True), (1, False)]


@settings(deadline=None, max_examples=40)
@given(pause_s=st.floats(0.1, 1.2), held_ms=st.sampled_from([10, 20, 40, 60]))
def test_a_pause_silences_what_was_not_sent_and_says_it_after_the_resume(pause_s: float, held_ms: int) -> None:
    pcm = speech(1.5)

    async def script(stage: Stage) -> None:
        sink = stage.sink
        assert isinstance(sink, PacketSink)
        stage.playout.push(pcm)
        stage.playout.end()
        await asyncio.sleep(pause_s)
        spoken = sum(report.segment == 0 for report in stage.ticks) * TICK_SAMPLES
        sent = max(0, spoken - sink.unsent())
        before = len(sink.frames)
        stage.playout.pause()
        assert sink.cleared == (sink.unsent() > 0)
        await asyncio.sleep(0.3)
        stage.playout.resume()
        await asyncio.sleep(2)
        again = [(f, r) for f, r in zip(sink.frames, stage.ticks, strict=True) if f.tick >= before and r.segment == 0]
        first = again[0][1]
        assert first.segment == 0
        resumed_at = (38 - len(again)) * TICK_SAMPLES  # 1.5 s are 37.5 ticks
        assert resumed_at <= sent, "nothing that was not sent is left out"
        assert sent - resumed_at < TICK_SAMPLES, "less than a tick is said twice"

    stage = perform(script, sink=lambda: PacketSink(loop_time, held_ms=held_ms))
    assert stage.heard.finished == [Finished(0, 1.5, False)]


# -- what was heard, told by the primary sink


@settings(deadline=None, max_examples=40)
@given(drift=st.floats(-0.002, 0.002), cut_s=st.floats(0.05, 1.5), held_ms=st.sampled_from([10, 20, 40, 60]))
def test_the_position_is_what_the_sink_sent(drift: float, cut_s: float, held_ms: int) -> None:
    async def script(stage: Stage) -> None:
        assert isinstance(stage.sink, PacketSink)
        stage.playout.push(speech(3))
        stage.playout.end()
        await asyncio.sleep(cut_s)
        released = sum(int((frame.sound != 0).sum()) for frame in stage.sink.frames)
        sent = released - min(released, stage.sink.unsent())
        stage.playout.clear()
        (event,) = stage.heard.finished
        assert event.interrupted
        assert event.position_s == pytest.approx(sent / SAMPLE_RATE_HZ, abs=0.011)

    perform(script, sink=lambda: PacketSink(loop_time, drift=drift, held_ms=held_ms))


def test_a_segment_ends_only_when_the_sink_has_sent_it() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.4))
        stage.playout.end()
        while not stage.heard.finished:
            assert loop_time() < 3
            await asyncio.sleep(0.001)
        ended_at.append(loop_time() - stage.heard.started[0].released_at)

    ended_at: list[float] = []
    perform(script, sink=lambda: PacketSink(loop_time, held_ms=60))
    assert 0.4 + 0.06 <= ended_at[0] <= 0.4 + 0.06 + 2 * TICK_S


def test_a_primary_sink_that_never_sends_or_goes_away_does_not_hang_the_segment() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.4))
        stage.playout.end()
        await asyncio.sleep(2)
        assert len(stage.heard.finished) == 1

    perform(script, sink=StuckSink)
    perform(script, sink=lambda: LostSink(4))
    perform(script, sink=lambda: LostSink(4, RuntimeError("a bug in the sink")))
