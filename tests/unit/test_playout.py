"""The playout in virtual time: pairing, starts, late pictures, dry speech, failing neighbours, the clock."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, Pcm, Sink
from avatar.pictures import TICKS_OFF
from avatar.playout import Finished, Playout, TickReport
from avatar.renderer import Expression, Shot
from tests.doubles.clock import run_virtually
from tests.doubles.playout import TICK_S, Stage, loop_time, perform, said, speech
from tests.doubles.renderers import OneByOneRenderer, ScriptedRenderer, batching_renderer, read_shot
from tests.doubles.sinks import LostSink

pytestmark = pytest.mark.unit


# -- pairing


def test_idle_is_a_picture_and_silence_every_40_ms() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)

    stage = perform(script)
    assert [frame.tick for frame in stage.sink.frames] == list(range(len(stage.sink.frames)))
    assert len(stage.sink.frames) == pytest.approx(2.1 / TICK_S, abs=2)
    assert not stage.sink.sound.any()
    assert [shot.tick for shot in stage.shots()[1:]] == list(range(1, len(stage.sink.frames)))


def test_each_picture_goes_with_its_own_sound() -> None:
    pcm = speech(1.0)

    async def script(stage: Stage) -> None:
        stage.playout.push(pcm)
        stage.playout.end()
        await asyncio.sleep(1.5)

    stage = perform(script)
    spoken = [frame for frame in stage.sink.frames if frame.sound.any()]
    assert [read_shot(frame.picture).n for frame in spoken] == list(range(25))
    for n, frame in enumerate(spoken):
        assert read_shot(frame.picture) == Shot(frame.tick, 0, n, min(n, 25))
        np.testing.assert_array_equal(frame.sound, pcm[n * TICK_SAMPLES : (n + 1) * TICK_SAMPLES])
    assert stage.heard.finished == [Finished(0, 1.0, False)]


def test_the_renderer_hears_the_same_speech_at_16_khz_whatever_the_chunks() -> None:
    pcm = speech(0.5)

    # the closing clear forgets the audio, so look at what was pushed before it
    async def whole(stage: Stage) -> None:
        stage.playout.push(pcm)
        stage.playout.end()
        results.append(stage.renderer.heard(0))

    async def cut(stage: Stage) -> None:
        for chunk in np.split(pcm, [1, 7, 480, 481, 5000, 20_000]):
            stage.playout.push(chunk)
        stage.playout.end()
        results.append(stage.renderer.heard(0))

    results: list[Pcm] = []
    perform(whole)
    perform(cut)
    assert results[0].size == 8000
    np.testing.assert_array_equal(results[0], results[1])


def test_the_last_tick_is_filled_up_with_silence_and_the_next_segment_follows() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.05))
        stage.playout.end()
        stage.playout.push(speech(0.04, level=20_000))
        stage.playout.end()
        await asyncio.sleep(1)

    stage = perform(script)
    spoken = [(shot.segment, shot.n) for shot in stage.shots() if shot.segment is not None]
    assert spoken == [(0, 0), (0, 1), (1, 0)]
    assert [event.position_s for event in stage.heard.finished] == [pytest.approx(0.05), pytest.approx(0.04)]
    assert not any(event.interrupted for event in stage.heard.finished)


# -- starts


def test_speech_starts_at_the_next_tick_when_its_picture_is_prompt() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(0.005)
        stage.playout.push(speech(0.2))
        await asyncio.sleep(0.3)

    stage = perform(script)
    (event,) = stage.heard.started
    assert event.fresh
    assert event.released_at - event.pushed_at <= TICK_S


def test_sound_waits_for_a_slow_first_picture_but_not_longer_than_the_grace() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(1))
        await asyncio.sleep(1)

    never = ScriptedRenderer(latency=lambda shot: 0.0 if shot.segment is None else None)
    (event,) = perform(script, never).heard.started
    assert not event.fresh
    assert 0.12 <= event.released_at - event.pushed_at <= 0.12 + 2 * TICK_S

    slow = ScriptedRenderer(lead_ticks=4, start_ticks=2, latency=lambda shot: 0.05)
    (event,) = perform(script, slow).heard.started
    assert event.fresh
    assert event.released_at - event.pushed_at <= 3 * TICK_S


@pytest.mark.parametrize(
    ("piece_s", "pieces", "least_s"),
    [
        (1.0, 1, 0.04),  # all of it is there: only the drawing is waited for
        (0.02, 50, 0.14),  # as it is heard: with the sixth piece the picture's sound is there
        (0.05, 1, 0.12),  # no more comes than a part of the lookahead
    ],
)
def test_the_grace_begins_when_the_first_picture_could_be_drawn(piece_s: float, pieces: int, least_s: float) -> None:
    async def script(stage: Stage) -> None:
        for _ in range(pieces):
            stage.playout.push(speech(piece_s))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)

    never = ScriptedRenderer(
        lookahead_ms=80, start_grace_ms=40, latency=lambda shot: 0.0 if shot.segment is None else None
    )
    (event,) = perform(script, never).heard.started
    assert not event.fresh
    assert least_s <= event.released_at - event.pushed_at <= least_s + TICK_S + 0.016


@pytest.mark.parametrize(("drawn_s", "heard_s"), [(0.019, 0.02), (0.025, 0.025), (0.035, 0.035), (0.037, 0.06)])
def test_a_tick_comes_a_little_late_for_a_first_picture_that_is_nearly_there(drawn_s: float, heard_s: float) -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(1))  # 20 ms before the next tick
        await asyncio.sleep(0.5)

    stage = perform(script, ScriptedRenderer(latency=lambda shot: 0.0 if shot.segment is None else drawn_s))
    (event,) = stage.heard.started
    assert event.fresh
    assert event.released_at - event.pushed_at == pytest.approx(heard_s, abs=1e-6)
    late_ms = [tick.late_ms for tick in stage.ticks]
    assert max(late_ms) <= 16 + 1e-6
    assert late_ms[-3:] == pytest.approx([0, 0, 0], abs=1e-6), "only that one"


def test_no_tick_waits_for_a_picture_in_the_middle_of_speech_or_whose_sound_has_not_come() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.06))
        await asyncio.sleep(0.3)
        stage.playout.push(speech(0.54))
        await asyncio.sleep(1)

    late = ScriptedRenderer(lookahead_ms=80, latency=lambda shot: 0.0 if shot.segment is None or not shot.n else 0.045)
    stage = perform(script, late)
    assert len(stage.heard.started) == 1
    assert max(tick.late_ms for tick in stage.ticks) == pytest.approx(0, abs=1e-6)


def test_a_renderer_that_fails_does_not_make_the_voice_wait() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(0.4))
        stage.playout.end()
        await asyncio.sleep(1)

    stage = perform(script, ScriptedRenderer(fails=lambda shot: shot.segment is not None))
    assert stage.heard.started[0].released_at - stage.heard.started[0].pushed_at <= TICK_S
    assert stage.heard.finished == [Finished(0, 0.4, False)]
    assert stage.playout.stats.renderer_errors >= 10


# -- late pictures


def test_a_late_picture_repeats_the_last_then_the_mouth_eases_shut_then_speech_is_back() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(1))
        stage.playout.end()
        await asyncio.sleep(1.5)

    late = range(8, 16)
    stage = perform(script, ScriptedRenderer(latency=lambda shot: None if shot.n in late and shot.segment == 0 else 0))
    first = next(i for i, shot in enumerate(stage.shots()) if shot.segment == 0)
    seen = stage.shots()[first : first + 25]
    kinds = [report.picture for report in stage.ticks[first : first + 25]]
    assert kinds == ["fresh"] * 8 + ["repeated"] * 4 + ["closing"] * 4 + ["fresh"] * 9
    assert [shot.n for shot in seen[8:12]] == [7, 7, 7, 7]
    closing = seen[12:16]
    assert [(shot.segment, shot.since, shot.after) for shot in closing] == [(None, i, (0, 7)) for i in range(4)]
    # Asked for when one more was still to come before it.
    assert [(shot.n, shot.since) for shot in seen[16:18]] == [(16, 1), (17, 1)]
    np.testing.assert_array_equal(said(stage.sink), speech(1))
    assert stage.playout.stats.late == len(late)


@pytest.mark.parametrize("n", [0, 10])
@pytest.mark.parametrize("hold_up_ms", [50, 100, 250])
@pytest.mark.parametrize("picture_ms", [10, 20, 30])
def test_a_drawing_thread_that_was_held_up_catches_up(picture_ms: int, hold_up_ms: int, n: int) -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(2))
        stage.playout.end()
        await asyncio.sleep(2.5)

    renderer = OneByOneRenderer(lambda shot: (hold_up_ms if (shot.segment, shot.n) == (0, n) else picture_ms) / 1000)
    stage = perform(script, renderer)
    assert stage.playout.stats.late <= 14
    assert {report.picture for report in stage.ticks[-40:]} == {"fresh"}
    spoken = [shot.n for shot in renderer.requests if shot.segment == 0]
    assert len(spoken) - len(set(spoken)) <= 8, "what is late is not drawn again and again"


def test_with_no_picture_at_all_the_still_is_shown_and_the_voice_goes_on() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(1))
        stage.playout.end()
        await asyncio.sleep(0.2)
        stage.renderer.broken = True
        await asyncio.sleep(1.5)
        stage.renderer.broken = False

    stage = perform(script)
    np.testing.assert_array_equal(said(stage.sink), speech(1))
    assert stage.sink.frames[-1].picture is stage.renderer.still
    assert stage.heard.finished == [Finished(0, 1.0, False)]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_a_jittering_batching_renderer_never_costs_a_sample(seed: int) -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(2))
        stage.playout.end()
        await asyncio.sleep(3)

    stage = perform(script, batching_renderer(seed))
    np.testing.assert_array_equal(said(stage.sink), speech(2))
    (event,) = stage.heard.started
    assert event.released_at - event.pushed_at <= 0.2 + 2 * TICK_S
    shown = [(frame.tick, read_shot(frame.picture)) for frame in stage.sink.frames]
    assert all(
        0 <= tick - shot.tick <= TICKS_OFF
        for (tick, shot), report in zip(shown, stage.ticks, strict=True)
        if report.picture == "fresh"
    )
    assert stage.heard.finished == [Finished(0, 2.0, False)]


# -- speech that stutters


def test_speech_that_runs_dry_resumes_at_its_next_sample_and_stays_in_step() -> None:
    pcm = speech(0.5)

    async def script(stage: Stage) -> None:
        stage.playout.push(pcm[: TICK_SAMPLES * 3 + 777])
        await asyncio.sleep(0.5)
        stage.playout.push(pcm[TICK_SAMPLES * 3 + 777 :])
        stage.playout.end()
        await asyncio.sleep(1)

    stage = perform(script)
    spoken = [(frame, read_shot(frame.picture)) for frame in stage.sink.frames if read_shot(frame.picture).segment == 0]
    assert [shot.n for _, shot in spoken] == list(range(13))
    assert [shot.since for _, shot in spoken][:5] == [0, 1, 2, 0, 1], "the mouth opens anew after the gap"
    for frame, shot in spoken:
        expected = pcm[shot.n * TICK_SAMPLES : (shot.n + 1) * TICK_SAMPLES]
        quiet = 480 if shot.n == 3 else 0  # faded in
        np.testing.assert_array_equal(frame.sound[quiet : expected.size], expected[quiet:])
    assert stage.playout.stats.dry == 1
    assert stage.heard.finished == [Finished(0, 0.5, False)]


@settings(deadline=None, max_examples=50)
@given(
    pieces=st.lists(st.tuples(st.integers(1, 9000), st.floats(0, 0.3)), min_size=1, max_size=12),
    start_offset=st.floats(0, 0.08),
)
def test_a_stuttering_tts_loses_and_repeats_nothing(pieces: list[tuple[int, float]], start_offset: float) -> None:
    total = sum(size for size, _ in pieces)
    pcm = (1 + np.arange(total) % 30_000).astype(np.int16)

    async def script(stage: Stage) -> None:
        await asyncio.sleep(start_offset)
        at = 0
        for size, pause_s in pieces:
            stage.playout.push(pcm[at : at + size])
            at += size
            await asyncio.sleep(pause_s)
        stage.playout.end()
        await asyncio.sleep(total / SAMPLE_RATE_HZ + 1)

    stage = perform(script)
    assert stage.heard.finished == [Finished(0, total / SAMPLE_RATE_HZ, False)]
    spoken = [
        (frame, report) for frame, report in zip(stage.sink.frames, stage.ticks, strict=True) if report.segment == 0
    ]
    assert len(spoken) == -(-total // TICK_SAMPLES)
    for n, (frame, report) in enumerate(spoken):
        # A picture whose audio is still in the resampler (1 ms) is late; then the last one stays.
        assert report.picture == "repeated" or read_shot(frame.picture).n == n
        expected = pcm[n * TICK_SAMPLES : (n + 1) * TICK_SAMPLES]
        np.testing.assert_array_equal(frame.sound[480 : expected.size], expected[480:])  # 10 ms may be faded


def test_a_lost_sink_is_not_noticed_by_the_others() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.attach(other)
        stage.playout.push(speech(0.4))
        stage.playout.end()
        await asyncio.sleep(1)

    other: Sink = LostSink(5)
    stage = perform(script)
    np.testing.assert_array_equal(said(stage.sink), speech(0.4))
    assert stage.playout.stats.sinks_lost == 1
    assert [frame.tick for frame in stage.sink.frames] == list(range(len(stage.sink.frames)))


# -- the clock


def test_a_short_stall_is_caught_up_and_a_long_one_starts_the_clock_anew() -> None:
    async def play() -> tuple[list[float], int]:
        times: list[float] = []
        slept = iter([0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
        offset = [0.0]

        def clock() -> float:
            return loop_time() + offset[0]

        playout = Playout(ScriptedRenderer(), clock=clock)

        def tick(report: TickReport) -> None:
            times.append(clock())
            offset[0] += next(slept, 0.0)  # as if the machine had frozen here

        playout.on_tick = tick
        task = asyncio.create_task(playout.run())
        await asyncio.sleep(1)
        task.cancel()
        return times, playout.stats.stalls

    times, stalls = run_virtually(play())
    assert stalls == 1
    np.testing.assert_allclose(times[5:9], np.arange(5, 9) * TICK_S, atol=1e-6, err_msg="caught up after 100 ms")
    assert min(np.diff(times[9:])) >= TICK_S - 1e-6, "no burst after 500 ms"


def test_expressions_reach_the_renderer_for_a_tick_not_yet_asked_for() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.express(Expression.THINKING)
        asked = {shot.tick for shot in stage.renderer.requests}
        ((expression, tick),) = stage.renderer.expressions
        assert expression is Expression.THINKING
        assert tick > max(asked)

    perform(script)


def test_synthesis_waits_for_room_and_a_clear_frees_it() -> None:
    async def script(stage: Stage) -> None:
        stage.playout.push(speech(5))
        async with asyncio.timeout(4.5):
            await stage.playout.room(1.0)
        assert stage.playout.ahead_s <= 1.0
        stage.playout.push(speech(5))
        waiting = asyncio.create_task(stage.playout.room(1.0))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        stage.playout.clear()
        async with asyncio.timeout(0.01):
            await waiting

    perform(script)
