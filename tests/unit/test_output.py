"""The session's audio output over a playout, in virtual time: one end for every segment, back-pressure, holding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents.types import TimedString
from livekit.agents.voice.io import PlaybackFinishedEvent, PlaybackStartedEvent

from agent.output import AHEAD_S, PlayoutOutput
from agent.transcript import Captions
from avatar.frames import SAMPLE_RATE_HZ, MienError
from avatar.playout import Playout
from rooms.memory import MemorySink
from tests.doubles.clock import run_virtually
from tests.doubles.renderers import ScriptedRenderer

pytestmark = pytest.mark.unit


def frame(seconds: float, level: int = 5000, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> rtc.AudioFrame:
    samples = round(seconds * rate_hz)
    pcm = np.full((samples, channels), level, np.int16)
    return rtc.AudioFrame(pcm.tobytes(), rate_hz, channels, samples)


class Stage:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.captions = Captions(self.messages.append)
        self.output = PlayoutOutput(self.captions)
        self.playout = Playout(ScriptedRenderer(), listener=self.output)
        self.output.bind(self.playout)
        self.playout.on_tick = lambda tick: self.captions.reached(tick.position_s)
        self.sink = MemorySink()
        self.playout.attach(self.sink, primary=True)
        self.output.hold(False)
        self.started: list[PlaybackStartedEvent] = []
        self.finished: list[PlaybackFinishedEvent] = []
        self.output.on("playback_started", self.started.append)
        self.output.on("playback_finished", self.finished.append)


def perform(script: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        stage = Stage()
        clock = asyncio.create_task(stage.playout.run())
        await script(stage)
        clock.cancel()

    run_virtually(play())


def test_a_segment_that_is_heard_starts_and_ends_once() -> None:
    async def script(stage: Stage) -> None:
        await stage.output.capture_frame(frame(0.3))
        await stage.output.capture_frame(frame(0.2))
        stage.output.flush()
        ended = await stage.output.wait_for_playout()
        assert ended == PlaybackFinishedEvent(playback_position=0.5, interrupted=False)
        assert len(stage.started) == len(stage.finished) == 1

    perform(script)


def test_the_session_is_told_the_text_that_was_heard() -> None:
    async def script(stage: Stage) -> None:
        for number in range(10):
            await stage.captions.capture_text(
                TimedString(f"{number} ", start_time=number * 0.4, end_time=(number + 1) * 0.4)
            )
        await stage.output.capture_frame(frame(4))
        await asyncio.sleep(1.01)
        stage.output.flush()
        stage.captions.flush()
        stage.output.clear_buffer()
        ended = await stage.output.wait_for_playout()
        assert ended.playback_position == pytest.approx(1.0, abs=0.05)
        # Of the third word, from 0.8 to 1.2 s, half had sounded: it counts.
        assert ended.synchronized_transcript == "0 1 2 "
        assert stage.messages[-1] == {
            "type": "caption", "role": "assistant", "id": "a1", "text": "0 1 2 ", "final": True, "interrupted": True
        }  # fmt: skip

    perform(script)


def test_an_interrupted_segment_ends_at_once_and_once() -> None:
    async def script(stage: Stage) -> None:
        await stage.output.capture_frame(frame(3))
        await asyncio.sleep(1)
        stage.output.flush()
        stage.output.clear_buffer()
        await asyncio.sleep(0.01)
        assert [event.interrupted for event in stage.finished] == [True]
        assert stage.finished[0].playback_position == pytest.approx(1, abs=0.05)
        stage.output.clear_buffer()
        async with asyncio.timeout(0.001):
            await stage.output.wait_for_playout()
        assert len(stage.finished) == 1

    perform(script)


def test_a_clear_without_flush_begins_a_new_segment_with_the_next_frame() -> None:
    async def script(stage: Stage) -> None:
        await stage.output.capture_frame(frame(1))
        stage.output.clear_buffer()
        await stage.output.capture_frame(frame(0.2))
        stage.output.flush()
        await stage.output.wait_for_playout()
        assert [event.interrupted for event in stage.finished] == [True, False]

    perform(script)


def test_two_queued_segments_both_end() -> None:
    async def script(stage: Stage) -> None:
        for _ in range(2):
            await stage.output.capture_frame(frame(0.2))
            stage.output.flush()
        await stage.output.wait_for_playout()
        assert [event.playback_position for event in stage.finished] == [pytest.approx(0.2)] * 2

    perform(script)


def test_flush_with_nothing_captured_is_no_segment() -> None:
    async def script(stage: Stage) -> None:
        stage.output.flush()
        stage.output.clear_buffer()
        async with asyncio.timeout(0.001):
            await stage.output.wait_for_playout()
        assert not stage.finished

    perform(script)


def test_synthesis_is_held_back_and_an_interruption_frees_it_without_a_new_segment() -> None:
    async def script(stage: Stage) -> None:
        await stage.output.capture_frame(frame(AHEAD_S + 2))
        waiting = asyncio.create_task(stage.output.capture_frame(frame(1)))
        await asyncio.sleep(1)
        assert not waiting.done()
        stage.output.clear_buffer()
        await waiting
        assert stage.playout.ahead_s == 0, "what waited belongs to what was cleared"
        await stage.output.wait_for_playout()
        assert len(stage.finished) == 1

    perform(script)


def test_a_frame_cancelled_while_it_waits_counts_nowhere() -> None:
    async def script(stage: Stage) -> None:
        await stage.output.capture_frame(frame(AHEAD_S + 1))
        stage.output.flush()
        waiting = asyncio.create_task(stage.output.capture_frame(frame(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await stage.output.wait_for_playout()
        assert len(stage.finished) == 1

    perform(script)


def test_nobody_there_holds_speech_and_a_resume_of_the_session_does_not_free_it() -> None:
    async def script(stage: Stage) -> None:
        stage.output.hold(True)
        await stage.output.capture_frame(frame(0.2))
        stage.output.flush()
        stage.output.resume()
        await asyncio.sleep(1)
        assert not stage.started
        stage.output.hold(False)
        await stage.output.wait_for_playout()
        assert [event.interrupted for event in stage.finished] == [False]

    perform(script)


def test_the_sessions_pause_outlasts_the_room_coming_back() -> None:
    async def script(stage: Stage) -> None:
        stage.output.pause()
        stage.output.hold(True)
        stage.output.hold(False)
        await stage.output.capture_frame(frame(0.2))
        await asyncio.sleep(0.5)
        assert not stage.started
        stage.output.resume()
        await asyncio.sleep(0.2)
        assert stage.started

    perform(script)


def test_stereo_is_mixed_and_a_wrong_rate_is_named() -> None:
    async def script(stage: Stage) -> None:
        await stage.output.capture_frame(frame(0.2, channels=2))
        stage.output.flush()
        ended = await stage.output.wait_for_playout()
        assert ended.playback_position == pytest.approx(0.2)
        with pytest.raises(MienError, match="22050"):
            await stage.output.capture_frame(frame(0.2, rate_hz=22_050))

    perform(script)
