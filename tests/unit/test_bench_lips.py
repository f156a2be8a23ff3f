"""The lips benchmark: its recordings keep their phone times, its lines spoil sound without moving it in time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from agent.lips.phones import Phone
from avatar.frames import SPEECH_RATE_HZ, Pcm
from avatar.puppet.loudness import LoudnessTracker
from benchmarks.lips import PAUSE_MS, loudness, mouths, parted, recorded, shuffled
from benchmarks.lips_corpus import Speaker
from benchmarks.lips_sound import DEGRADED, quiet, without_speech
from tests.conformance.conftest import babble
from training.mouth.speakers import Spoken

pytestmark = pytest.mark.media


def speaker(utterances: int = 4) -> Speaker:
    """Utterances of 0.6 s with a beep as their second phone, each at another pitch."""
    spoken = []
    for k in range(utterances):
        time = np.arange(round(0.6 * 22_050)) / 22_050
        beep = 8000 * np.sin(2 * np.pi * (400 + 200 * k) * time) * ((time > 0.2) & (time < 0.4))
        phones = [Phone("", 0, 200), Phone("ɑ" if k % 2 else "m", 200, 400), Phone("", 400, 600)]
        spoken.append(Spoken(beep.astype(np.int16), 22_050, phones))
    return Speaker("beeps", "en", False, spoken)


def test_a_recording_has_its_phones_where_they_are_heard() -> None:
    recording = recorded(speaker())
    assert recording.phones[0] == Phone("", 0.0, PAUSE_MS + 200.0)
    for phone in recording.phones:
        first, last = (round(ms * SPEECH_RATE_HZ / 1000) for ms in (phone.start_ms + 5, phone.end_ms - 5))
        level = float(np.abs(recording.pcm[first:last].astype(float)).mean())
        assert (level > 500) == bool(phone.ipa), phone
    assert abs(recording.phones[-1].end_ms - 1000 * len(recording.pcm) / SPEECH_RATE_HZ) <= PAUSE_MS + 1


def test_shuffling_moves_sentences_and_loses_nothing() -> None:
    recording = recorded(speaker(8))
    other = shuffled(recording)
    assert other != list(recording.phones)
    assert sorted(phone.ipa for phone in other) == sorted(phone.ipa for phone in recording.phones)
    assert other[-1].end_ms == pytest.approx(recording.phones[-1].end_ms)
    assert all(a.end_ms == pytest.approx(b.start_ms) for a, b in itertools.pairwise(other))


def lag_samples(sound: Pcm, like: Pcm) -> int:
    """Of the envelopes, by cross correlation."""
    a, b = (np.convolve(np.abs(x.astype(float)), np.ones(80), "same") for x in (sound, like))
    a, b = a - a.mean(), b - b.mean()
    lags = np.fft.irfft(np.fft.rfft(a, 2 * len(a)) * np.conj(np.fft.rfft(b, 2 * len(b))))
    best = int(np.argmax(lags))
    return best if best < len(a) else best - 2 * len(a)


@pytest.mark.parametrize("name", DEGRADED)
def test_spoilt_sound_is_spoilt_and_in_time(name: str) -> None:
    clean = babble(4.0, seed=1)
    spoilt = DEGRADED[name](clean)
    assert spoilt.dtype == np.int16
    assert spoilt.shape == clean.shape
    assert not np.array_equal(spoilt, clean)
    assert abs(lag_samples(spoilt, clean)) <= SPEECH_RATE_HZ // 100


def test_quiet_is_as_quiet_as_it_says() -> None:
    rms = np.sqrt(np.mean(quiet(babble(2.0)).astype(float) ** 2))
    assert 20 * np.log10(rms / 32768) == pytest.approx(-45, abs=0.2)


def test_sounds_without_speech_are_loud_enough_to_matter() -> None:
    for name, pcm in without_speech().items():
        assert len(pcm) == 20 * SPEECH_RATE_HZ
        assert (float(np.abs(pcm.astype(float)).mean()) > 5) == (name != "digital silence")


def test_an_ear_gives_a_mouth_for_each_picture_of_the_sound() -> None:
    pcm = babble(2.0)
    told = mouths(pcm, LoudnessTracker)
    assert len(told) == 50
    lips = parted(told)
    assert lips.shape == (50,)
    assert float(lips.min()) >= 0.0
    assert all(len(curve) == 50 for curve in loudness(pcm))
