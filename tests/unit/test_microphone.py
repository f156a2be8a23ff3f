"""The microphone: what the avatar plays does not come back as a voice, and a person is heard over it."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt
import pytest

from avatar.frames import SAMPLE_RATE_HZ, SPEECH_RATE_HZ, Pcm
from rooms.microphone import FRAME_SAMPLES, Microphone

pytestmark = pytest.mark.unit

STEP = SPEECH_RATE_HZ // 50


def voice(seconds: float, seed: int, rms: float) -> npt.NDArray[np.float64]:
    """Noise with the slow ups and downs of syllables, float64 at 16 kHz."""
    count = round(seconds * SPEECH_RATE_HZ)
    at = np.arange(count) / SPEECH_RATE_HZ
    noise = np.convolve(np.random.default_rng(seed).normal(size=count), np.hanning(9), "same")
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * at) + 0.4, 0, None)
    sound: npt.NDArray[np.float64] = noise * syllables
    sound *= rms / np.sqrt(np.mean(sound**2))
    return sound


def passed(near: npt.NDArray[np.float64], far: npt.NDArray[np.float64] | None, *, held: bool = False) -> Pcm:
    """Both at 16 kHz, in real order, 20 ms at a time; what the session would hear."""

    async def run() -> Pcm:
        microphone = Microphone()
        microphone.held = held
        out: list[Pcm] = []

        async def listen() -> None:
            async for frame in microphone:
                out.append(np.frombuffer(frame.data, np.int16))

        listening = asyncio.create_task(listen())
        for at in range(0, near.size - STEP + 1, STEP):
            if far is not None:
                played = np.repeat(far[at : at + STEP], SAMPLE_RATE_HZ // SPEECH_RATE_HZ)
                microphone.played(played.astype(np.int16))
            microphone.hear(near[at : at + STEP].astype(np.int16))
            await asyncio.sleep(0)
        microphone.close()
        await listening
        return np.concatenate(out)

    return asyncio.run(run())


def rms(sound: npt.NDArray[np.float64] | Pcm) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def delayed(sound: npt.NDArray[np.float64], seconds: float) -> npt.NDArray[np.float64]:
    return np.concatenate([np.zeros(round(seconds * SPEECH_RATE_HZ)), sound])[: sound.size]


@pytest.mark.parametrize("delay_s", [0.05, 0.2, 0.45, 0.7])
def test_its_own_voice_at_minus_20_db_is_silence_from_the_first_word(delay_s: float) -> None:
    far = voice(6, 1, 3000)
    assert rms(passed(delayed(far, delay_s) * 0.1, far)) < 1


@pytest.mark.parametrize("echo_db", [-60, -40, -30])
def test_where_little_echo_is_left_a_quiet_voice_is_heard(echo_db: int) -> None:
    far, person = voice(12, 1, 3000), voice(12, 2, 3000 * 10 ** (-20 / 20))
    person[: 8 * SPEECH_RATE_HZ] = 0
    heard = passed(delayed(far, 0.2) * 10 ** (echo_db / 20) + person, far)
    assert rms(heard[2 * SPEECH_RATE_HZ : 8 * SPEECH_RATE_HZ]) < 3000 * 10 ** (echo_db / 20)
    assert rms(heard[8 * SPEECH_RATE_HZ :]) > 0.7 * rms(person[8 * SPEECH_RATE_HZ :])


def test_an_echo_that_grows_is_silence_again_within_four_seconds() -> None:
    far = voice(16, 1, 3000)
    echo = delayed(far, 0.2) * 0.001
    plugged_out = 8 * SPEECH_RATE_HZ
    echo[plugged_out:] *= 100
    heard = passed(echo, far)
    assert rms(heard[:plugged_out]) < 3
    assert rms(heard[plugged_out + 4 * SPEECH_RATE_HZ :]) < 1


def test_a_person_is_heard_over_the_avatar() -> None:
    far, person = voice(6, 1, 3000), voice(6, 2, 2500)
    person[: 3 * SPEECH_RATE_HZ] = 0
    heard = passed(delayed(far, 0.2) * 0.1 + person, far)
    assert rms(heard[: 3 * SPEECH_RATE_HZ]) < 1
    assert rms(heard[3 * SPEECH_RATE_HZ :]) > 0.9 * rms(person[3 * SPEECH_RATE_HZ :])


def test_over_the_avatar_a_voice_is_whole_from_its_first_loud_moment_on() -> None:
    far, person = voice(4, 1, 3000), voice(4, 2, 2500)
    person[: 2 * SPEECH_RATE_HZ] = 0
    heard = passed(person, far)
    first = int(np.flatnonzero(heard)[0])
    assert first < 2.1 * SPEECH_RATE_HZ
    spoken = slice(first, first + SPEECH_RATE_HZ // 4)
    np.testing.assert_array_equal(heard[spoken], person[spoken].astype(np.int16))


def test_with_nothing_played_every_sample_passes_untouched() -> None:
    person = voice(3, 2, 500)
    for far in (None, np.zeros(person.size)):
        heard = passed(person, far)
        np.testing.assert_array_equal(heard, person[: heard.size].astype(np.int16))


def test_held_it_is_silent() -> None:
    assert not passed(voice(1, 2, 3000), None, held=True).any()


def test_a_frame_is_passed_on_with_the_sample_that_completes_it_and_closing_ends_the_sound_after_the_rest() -> None:
    async def run() -> list[int]:
        microphone = Microphone()
        came, sizes = [], []

        async def listen() -> None:
            async for frame in microphone:
                sizes.append(frame.samples_per_channel)

        listening = asyncio.create_task(listen())
        for size in (STEP, STEP - 129, 1, 128, 4 * STEP):
            microphone.hear(np.ones(size, np.int16))
            await asyncio.sleep(0)
            came.append(len(sizes))
        assert came == [0, 0, 0, 1, 3]
        microphone.close()
        await listening
        return sizes

    assert asyncio.run(run()) == [FRAME_SAMPLES] * 3 + [6 * STEP - 3 * FRAME_SAMPLES]
