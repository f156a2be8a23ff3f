"""Sound on its way from a provider: one rate, silence trimmed, nothing audible lost; and what may be speech at all."""

from __future__ import annotations

import numpy as np
import pytest
from livekit import rtc

from agent.speech.shaping import Shaper
from agent.speech.utterance import may_be_speech, voiced_frames
from avatar.frames import SAMPLE_RATE_HZ, SPEECH_RATE_HZ, Pcm

pytestmark = pytest.mark.unit


def tone(seconds: float, rate_hz: int, hz: float = 440, level: float = 8000) -> Pcm:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.int16)


def shaped(pcm: Pcm, rate_hz: int, *, chunk: int, lead_ms: float = 15, tail_ms: float = 250) -> tuple[Pcm, Shaper]:
    shaper = Shaper(rate_hz, lead_ms=lead_ms, tail_ms=tail_ms)
    parts = []
    for start in range(0, pcm.size, chunk):
        part = pcm[start : start + chunk]
        parts.append(shaper.push(rtc.AudioFrame(part.tobytes(), rate_hz, 1, part.size)))
    parts += shaper.end()
    return np.concatenate(parts), shaper


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("chunk", [160, 1323, 100_000])
def test_silence_is_trimmed_and_the_sound_keeps_its_length(rate_hz: int, chunk: int) -> None:
    quiet = np.zeros(rate_hz // 2, np.int16)
    pcm, shaper = shaped(np.concatenate([quiet, tone(1.0, rate_hz), quiet]), rate_hz, chunk=chunk)
    loud = np.flatnonzero(np.abs(pcm.astype(int)) > 100)
    assert loud[0] / SAMPLE_RATE_HZ <= 0.017
    assert (loud[-1] - loud[0]) / SAMPLE_RATE_HZ == pytest.approx(1.0, abs=0.004)
    assert (pcm.size - loud[-1]) / SAMPLE_RATE_HZ == pytest.approx(0.25, abs=0.005)
    assert shaper.cut_s == pytest.approx(0.5 - 0.015, abs=0.005)


def test_the_rate_is_changed_without_drift() -> None:
    pcm, _ = shaped(tone(20.0, 22_050), 22_050, chunk=1323, tail_ms=0)
    assert pcm.size == pytest.approx(20 * SAMPLE_RATE_HZ, abs=120)
    spectrum = np.abs(np.fft.rfft(pcm[: 10 * SAMPLE_RATE_HZ].astype(float) * np.hanning(10 * SAMPLE_RATE_HZ)))
    assert np.argmax(spectrum) / 10 == pytest.approx(440, abs=0.2)


def test_pauses_inside_are_kept() -> None:
    rate_hz = 24_000
    middle = np.zeros(rate_hz, np.int16)
    pcm, _ = shaped(np.concatenate([tone(0.3, rate_hz), middle, tone(0.3, rate_hz)]), rate_hz, chunk=480)
    assert pcm.size / SAMPLE_RATE_HZ == pytest.approx(1.6, abs=0.005)


def test_only_silence_is_nothing() -> None:
    pcm, shaper = shaped(np.zeros(48_000, np.int16), 24_000, chunk=480)
    assert pcm.size == 0
    assert not shaper.heard


@pytest.mark.parametrize("name", ["silence", "white", "pink", "clicks", "cough", "short"])
def test_noise_is_no_speech(name: str) -> None:
    random = np.random.default_rng(7)
    count = 2 * SPEECH_RATE_HZ
    noise = random.normal(0, 1, count)
    match name:
        case "silence":
            pcm = np.zeros(count)
        case "white":
            pcm = 3000 * noise
        case "pink":
            spectrum = np.fft.rfft(noise)
            spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
            pcm = np.fft.irfft(spectrum)
            pcm *= 8000 / np.abs(pcm).max()
        case "clicks":
            pcm = np.zeros(count)
            pcm[::4000] = 20_000
        case "cough":
            pcm = noise * 9000 * np.exp(-(np.arange(count) % SPEECH_RATE_HZ) / 1500)
        case _:
            pcm = tone(0.03, SPEECH_RATE_HZ).astype(float)
    assert not may_be_speech(np.clip(pcm, -32_768, 32_767).astype(np.int16))


def test_a_vowel_may_be_speech_and_a_whispering_level_may_not() -> None:
    time = np.arange(SPEECH_RATE_HZ // 2) / SPEECH_RATE_HZ
    vowel = np.sum([np.sin(2 * np.pi * 120 * n * time) / n for n in range(1, 20)], axis=0)
    assert voiced_frames((4000 * vowel).astype(np.int16)) > 30
    assert not may_be_speech((30 * vowel).astype(np.int16))
