"""A conversation's ears: nothing of an utterance is lost, or heard twice, whoever recognizes it and whatever fails.

Most of it by hand-made events of the voice detection; at the end, the real one over real speech.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import stt, vad

from agent.speech.activity import OverheardVAD
from agent.speech.espeak import Espeak
from agent.speech.listening import LONGEST_S, ChainSTT
from avatar.frames import SPEECH_RATE_HZ, Pcm
from tests.doubles.page import until
from tests.doubles.recognizers import Keeping, broken
from tests.endpoints.speech import speak

WINDOW = 512
PREFIX = SPEECH_RATE_HZ // 2


def frame(pcm: Pcm, rate_hz: int = SPEECH_RATE_HZ) -> rtc.AudioFrame:
    return rtc.AudioFrame(pcm.tobytes(), rate_hz, 1, pcm.size)


@dataclass
class Ears:
    """A chain that listens, and what came out of it. Its sound counts upwards, so that every sample can be told."""

    chain: ChainSTT
    detector: OverheardVAD
    stream: stt.RecognizeStream
    told: list[stt.SpeechEvent] = field(default_factory=list)
    errors: list[stt.STTError] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    at: int = 0
    rate_hz: int = SPEECH_RATE_HZ

    @property
    def texts(self) -> list[str]:
        return [event.alternatives[0].text for event in self.told]

    def emit(self, kind: vad.VADEventType, start: int, *, speaking: bool) -> None:
        pcm = (np.arange(start, self.at) % 30_000).astype(np.int16)
        event = vad.VADEvent(
            type=kind,
            samples_index=self.at * SPEECH_RATE_HZ // self.rate_hz,
            timestamp=self.at / self.rate_hz,
            speech_duration=0.1,
            silence_duration=0.25,
            frames=[frame(pcm, self.rate_hz)],
            speaking=speaking,
        )
        for listener in tuple(self.detector.listeners):
            listener(event)

    def windows(self, count: int, *, speaking: bool = True) -> None:
        for _ in range(count):
            self.at += WINDOW
            self.emit(vad.VADEventType.INFERENCE_DONE, self.at - WINDOW, speaking=speaking)

    def start(self) -> int:
        """Somebody speaks; returns where their utterance begins: what the detector has kept, half a second or less."""
        begun = max(0, self.at - PREFIX)
        self.emit(vad.VADEventType.START_OF_SPEECH, begun, speaking=True)
        return begun

    def end(self) -> int:
        self.emit(vad.VADEventType.END_OF_SPEECH, max(0, self.at - 3 * PREFIX), speaking=False)
        return self.at


@asynccontextmanager
async def listening(*recognizers: Keeping) -> AsyncIterator[Ears]:
    detector = OverheardVAD()
    chain = ChainSTT([each.recognizer for each in recognizers], detector)
    stream = chain.stream()
    ears = Ears(chain, detector, stream)
    chain.on_notice = lambda code, text: ears.notices.append(code)
    chain.on("error", ears.errors.append)

    async def take() -> None:
        async for event in stream:
            ears.told.append(event)

    taking = asyncio.create_task(take())
    await until(lambda: bool(detector.listeners), "it listens")
    try:
        yield ears
    finally:
        await stream.aclose()
        await taking
        await chain.aclose()
        assert not detector.listeners


@pytest.mark.unit
@pytest.mark.parametrize("live", [True, False])
async def test_an_utterance_is_heard_from_before_its_start_to_its_end(live: bool) -> None:
    one = Keeping("one", "hello", live=live)
    async with listening(one) as ears:
        ears.windows(40, speaking=False)
        begun = ears.start()
        ears.windows(30)
        ended = ears.end()
        ears.windows(10, speaking=False)
        await until(lambda: len(ears.told) == 1, "its text")
    assert ears.texts == ["hello"]
    assert ears.told[0].type == stt.SpeechEventType.FINAL_TRANSCRIPT
    assert ears.told[0].speech_end_time is not None
    assert ended - begun > 30 * WINDOW
    np.testing.assert_array_equal(one.heard[0], np.arange(begun, ended) % 30_000)


@pytest.mark.unit
async def test_it_is_fed_while_the_person_speaks() -> None:
    one = Keeping("one", live=True)
    async with listening(one) as ears:
        ears.windows(40, speaking=False)
        begun = ears.start()
        ears.windows(7)
        (hearing,) = one.hearings
        assert sum(piece.size for piece in hearing.pieces) == ears.at - begun
        assert not hearing.finished


@pytest.mark.unit
async def test_what_follows_soon_does_not_begin_with_the_end_of_what_was_before() -> None:
    one = Keeping("one", live=True)
    async with listening(one) as ears:
        ears.windows(40, speaking=False)
        for pause in (3, 40):
            ears.start()
            ears.windows(30)
            ears.end()
            ears.windows(pause, speaking=False)
        ears.start()
        ears.windows(10)
        last = ears.end()
        await until(lambda: len(ears.told) == 3, "three texts")
    first, second, third = one.heard
    silence = SPEECH_RATE_HZ // 5
    assert second[0] == (first[-1] + 1 - silence) % 30_000, "of the pause, what was surely silent"
    assert third[0] == (last - 10 * WINDOW - PREFIX) % 30_000, "after a long pause, all that was kept"


@pytest.mark.unit
async def test_an_utterance_at_another_rate_is_brought_to_16_khz() -> None:
    one, other = Keeping("one", broken(), live=True), Keeping("other")
    async with listening(one, other) as ears:
        ears.rate_hz = 48_000
        ears.windows(60, speaking=False)
        begun = ears.start()
        ears.windows(90)
        ended = ears.end()
        await until(lambda: len(ears.told) == 1, "its text")
    assert abs(one.heard[0].size - (ended - begun) / 3) <= 48
    np.testing.assert_array_equal(one.heard[0], other.heard[0])


@pytest.mark.unit
@pytest.mark.parametrize("live", [True, False])
async def test_when_a_recognizer_fails_the_next_one_gets_all_of_the_utterance(live: bool) -> None:
    one, other = Keeping("one", broken(), live=live), Keeping("other", "all of it", live=True)
    async with listening(one, other) as ears:
        ears.start()
        ears.windows(20)
        ears.end()
        ears.start()
        ears.windows(5)
        await until(lambda: len(ears.told) == 1, "its text")
        ears.windows(5)  # this one began with the recognizer that has failed meanwhile
        ears.end()
        await until(lambda: len(ears.told) == 2, "the text of the next")
        assert ears.chain.current is other.recognizer
    assert ears.texts == ["all of it"] * 2
    assert ears.notices == ["stt_replaced"]
    np.testing.assert_array_equal(other.heard[0], np.arange(20 * WINDOW))
    assert other.heard[1][-1] == 30 * WINDOW - 1
    assert len(one.heard) == 1
    assert all(hearing.dropped for hearing in one.hearings)


@pytest.mark.unit
async def test_when_all_fail_it_is_said_and_the_next_utterance_is_heard() -> None:
    one = Keeping("one", broken(), "again", live=True)
    async with listening(one) as ears:
        for _ in range(2):
            ears.start()
            ears.windows(20)
            ears.end()
        await until(lambda: len(ears.told) == 1, "the second text")
    assert ears.texts == ["again"]
    assert len(ears.errors) == 1
    assert "one: out of order" in str(ears.errors[0].error)
    assert not ears.errors[0].recoverable


@pytest.mark.unit
async def test_what_is_no_speech_has_no_transcript() -> None:
    one = Keeping("one", "", "words")
    async with listening(one) as ears:
        for _ in range(2):
            ears.start()
            ears.windows(20)
            ears.end()
        await until(lambda: len(ears.told) == 1, "the words")
    assert ears.texts == ["words"]


@pytest.mark.unit
async def test_who_does_not_stop_is_understood_in_parts_and_nothing_is_lost() -> None:
    one = Keeping("one", live=True)
    async with listening(one) as ears:
        begun = ears.start()
        ears.windows(int(2.2 * LONGEST_S * SPEECH_RATE_HZ / WINDOW))
        ended = ears.end()
        await until(lambda: len(ears.told) == 3, "three parts")
    np.testing.assert_array_equal(np.concatenate(one.heard), np.arange(begun, ended) % 30_000)


@pytest.mark.unit
async def test_who_speaks_when_the_session_begins_to_listen_is_heard() -> None:
    one = Keeping("one")
    async with listening(one) as ears:
        ears.windows(20)
        ears.end()
        await until(lambda: len(ears.told) == 1, "its text")
    np.testing.assert_array_equal(one.heard[0], np.arange(20 * WINDOW))


@pytest.mark.unit
async def test_who_leaves_in_the_middle_of_a_word_is_not_listened_to_any_more() -> None:
    one = Keeping("one", live=True)
    async with listening(one) as ears:
        ears.start()
        ears.windows(5)
    assert one.hearings[0].dropped
    assert not one.hearings[0].finished


@pytest.mark.unit
async def test_one_that_comes_while_somebody_speaks_gets_all_of_it() -> None:
    one, better = Keeping("one", live=True), Keeping("better")
    async with listening(one) as ears:
        ears.start()
        ears.windows(5)
        ears.chain.prefer(better.recognizer)
        ears.windows(5)
        ears.end()
        await until(lambda: len(ears.told) == 1, "its text")
    assert ears.texts == ["better"]
    assert better.heard[0].size == 10 * WINDOW
    assert one.hearings[0].dropped


@pytest.mark.unit
async def test_at_the_end_of_the_sound_what_was_said_is_still_told() -> None:
    one = Keeping("one")
    async with listening(one) as ears:
        ears.start()
        ears.windows(5)
        ears.end()
        ears.stream.end_input()
        await until(lambda: len(ears.told) == 1, "its text")


@pytest.mark.media
@pytest.mark.parametrize("pause_s", [0.1, 0.5, 1.5])
async def test_real_speech_is_heard_whole(pause_s: float) -> None:
    """Two words with a pause; the words' sounds are found, untouched, in what the recognizer is given."""
    espeak = Espeak()
    words = [(await speak(espeak, text, rate_hz=SPEECH_RATE_HZ, lead_s=0)).pcm for text in ("Stop!", "Hello there.")]
    await espeak.aclose()
    words = [word[np.flatnonzero(np.abs(word) > 200)[0] : np.flatnonzero(np.abs(word) > 200)[-1]] for word in words]
    gap = np.zeros(round(pause_s * SPEECH_RATE_HZ), np.int16)
    quiet = np.zeros(SPEECH_RATE_HZ, np.int16)
    sound = np.concatenate([quiet, words[0], gap, words[1], quiet])
    sound += np.random.default_rng(2).integers(-4, 5, sound.size).astype(np.int16)
    first = quiet.size
    second = first + words[0].size + gap.size
    one = Keeping("one", live=True)
    async with listening(one) as ears:
        detection = ears.detector.stream()
        ends = 0

        async def follow() -> None:
            nonlocal ends
            async for event in detection:
                ends += event.type == vad.VADEventType.END_OF_SPEECH

        following = asyncio.create_task(follow())
        for start in range(0, sound.size, 320):
            detection.push_frame(frame(sound[start : start + 320]))
        detection.end_input()
        await following
        await detection.aclose()
        await until(lambda: ends == len(ears.told) >= 1, "its text")
    places = [(place := _find(sound, heard), place + heard.size) for heard in one.heard]
    assert len(places) == (1 if pause_s < 0.25 else 2)
    assert places[0][0] <= first - 0.2 * SPEECH_RATE_HZ, "something of the silence before it"
    assert places[-1][0] <= second
    assert places[-1][1] >= second + words[1].size
    assert places[0][1] >= first + words[0].size
    if len(places) == 2:
        assert places[1][0] >= first + words[0].size, "nothing of the first in the second"


def _find(sound: Pcm, part: Pcm) -> int:
    windows = np.lib.stride_tricks.sliding_window_view(sound, 800)
    (place,) = np.flatnonzero((windows == part[:800]).all(axis=1))
    np.testing.assert_array_equal(sound[place : place + part.size], part)
    return int(place)
