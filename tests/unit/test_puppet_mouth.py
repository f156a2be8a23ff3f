"""What the puppet hears: silence and noise leave the mouth shut, vowels open and shape it, and cuts do not matter."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet.loudness import LOOKAHEAD_MS, STEP_JAW, LoudnessTracker
from avatar.puppet.mouth import REST, SHUTTING, Mouth, blend, calming, opening, shutting
from avatar.puppet.speech import KEPT_PICTURES, Speech
from avatar.renderer import RendererError
from tests.conformance.conftest import babble

pytestmark = pytest.mark.unit


def vowel(first_hz: float, second_hz: float, seconds: float, level: float = 0.3, pitch_hz: float = 140) -> Pcm:
    time = np.arange(round(seconds * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    sound = np.zeros(len(time))
    for harmonic in range(1, 28):
        at_hz = harmonic * pitch_hz
        gain = 1 / (1 + ((at_hz - first_hz) / 90) ** 2) + 0.4 / (1 + ((at_hz - second_hz) / 140) ** 2)
        sound += gain * np.sin(2 * np.pi * at_hz * time + harmonic)
    swell = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.03)
    loudest = float(np.abs(sound).max())
    return np.asarray(sound / loudest * swell * level * 32767).astype(np.int16)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SPEECH_RATE_HZ), np.int16)


def heard(*parts: Pcm) -> list[Mouth]:
    return LoudnessTracker().push(np.concatenate([*parts, silence(0.1)]))


AH, EE, OO = (vowel(f1, f2, 0.4) for f1, f2 in ((780, 1250), (280, 2400), (310, 750)))


def test_digital_silence_moves_nothing() -> None:
    assert set(heard(silence(3.0))) == {REST}


@pytest.mark.parametrize("level", [30, 300, 3000, 9000])
def test_noise_without_a_voice_keeps_the_mouth_shut(level: int) -> None:
    noise = np.clip(np.random.default_rng(1).normal(0, level, 4 * SPEECH_RATE_HZ), -32768, 32767).astype(np.int16)
    assert np.mean([mouth.jaw for mouth in heard(noise)]) <= 0.04


def test_a_hum_that_never_ends_is_no_voice() -> None:
    hum = (3000 * np.sin(2 * np.pi * 50 * np.arange(6 * SPEECH_RATE_HZ) / SPEECH_RATE_HZ)).astype(np.int16)
    assert np.mean([mouth.jaw for mouth in heard(hum)]) <= 0.04


def test_a_loud_open_vowel_opens_the_jaw_and_the_pause_after_it_shuts_it() -> None:
    mouths = heard(silence(0.4), AH, silence(0.6))
    assert max(mouth.jaw for mouth in mouths[:5]) < 0.05
    assert max(mouth.jaw for mouth in mouths[11:19]) > 0.6
    assert max(mouth.jaw for mouth in mouths[-6:]) < 0.02


def test_vowels_are_told_apart() -> None:
    a, i, u = (heard(silence(0.2), AH, silence(0.1), sound)[19:23] for sound in (AH, EE, OO))
    jaw = [np.mean([mouth.jaw for mouth in mouths]) for mouths in (a, i, u)]
    assert jaw[0] > 1.5 * jaw[1] > 0.05
    assert jaw[0] > 1.5 * jaw[2] > 0.05
    assert min(mouth.spread for mouth in i) > 0.4
    assert max(mouth.spread for mouth in u) < 0.0
    assert max(mouth.rounding for mouth in u) > 0.25
    assert max(mouth.rounding for mouth in i) == 0.0


def test_a_short_dip_between_vowels_presses_the_lips_together() -> None:
    mouths = heard(silence(0.2), AH, silence(0.08), AH)
    assert max(mouth.closure for mouth in mouths[14:18]) > 0.9
    assert max(mouth.closure for mouth in mouths[8:13]) < 0.2


@pytest.mark.parametrize("level", [0.008, 0.05, 0.8])
def test_quiet_and_loud_speakers_open_their_mouths_alike(level: float) -> None:
    sound = np.concatenate([vowel(780, 1250, 0.25, level), silence(0.15)] * 6)
    assert 0.45 < max(mouth.jaw for mouth in heard(sound)[30:]) <= 1.0


def test_values_stay_in_bounds_and_lips_never_part_with_a_jump() -> None:
    mouths = heard(babble(20.0, seed=4))
    assert max(mouth.closure for mouth in mouths) > 0.9
    for before, after in itertools.pairwise(mouths):
        assert after.jaw * (1 - after.closure) - before.jaw * (1 - before.closure) <= STEP_JAW + 1e-6
        assert -1.0 <= after.spread <= 1.0
        for value in (after.jaw, after.rounding, after.closure, after.lip_teeth, after.tongue, after.effort):
            assert 0.0 <= value <= 1.0


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 24_000), max_size=60))
def test_any_cut_gives_the_same_mouths(cuts: list[int]) -> None:
    audio = babble(1.5, seed=2)
    tracker = LoudnessTracker()
    edges = [0, *sorted(min(cut, len(audio)) for cut in cuts), len(audio)]
    pieces = [tracker.push(audio[a:b]) for a, b in itertools.pairwise(edges)]
    assert [mouth for piece in pieces for mouth in piece] == LoudnessTracker().push(audio)


def test_a_mouth_comes_with_its_last_sample_and_never_before() -> None:
    tracker = LoudnessTracker()
    audio = babble(1.0)
    lookahead = LOOKAHEAD_MS * SPEECH_RATE_HZ // 1000
    given_so_far = 0
    for count, sample in enumerate(np.split(audio[:4000], 4000), start=1):
        given_so_far += len(tracker.push(sample))
        assert given_so_far == max(0, (count - lookahead) // TICK_SPEECH_SAMPLES)


def test_mouths_ease_open_and_shut() -> None:
    wide = Mouth(jaw=0.9, spread=0.5, effort=1.0)
    opened = [opening(wide, since).jaw for since in range(4)]
    assert opened == sorted(opened)
    assert opened[0] < 0.4
    assert opened[-1] == wide.jaw
    shut = [shutting(wide, since).jaw for since in range(len(SHUTTING) + 2)]
    assert shut == sorted(shut, reverse=True)
    assert shutting(wide, len(SHUTTING)) == REST
    assert calming(wide, 0) > calming(wide, 5) > calming(wide, 30) == 0.0
    assert blend(REST, wide, 0.5).jaw == pytest.approx(0.45)


def test_an_hour_of_one_segment_stays_small() -> None:
    """A mouth far back is refused rather than remembered, and heard audio is let go."""
    speech = Speech(LoudnessTracker)
    minute = np.tile(babble(2.0), 30)
    speech.push(1, minute)
    pictures = len(minute) // TICK_SPEECH_SAMPLES - 3
    speech.mouth(1, pictures)
    segment = speech._segments[1]
    assert len(segment._mouths) <= KEPT_PICTURES + 1
    assert sum(len(pcm) for pcm in segment._waiting) <= 4 * TICK_SPEECH_SAMPLES
    with pytest.raises(RendererError, match="no longer known"):
        speech.mouth(1, pictures - KEPT_PICTURES - 1)
    assert speech.mouth(1, pictures - KEPT_PICTURES)


def test_after_names_shown_mouths_only() -> None:
    speech = Speech(LoudnessTracker)
    speech.push(1, vowel(780, 1250, 1.0))
    wide = speech.mouth(1, 10)
    assert wide.jaw > 0.4
    speech.clear()
    assert speech.last_mouth((1, 10)) == wide
    assert speech.last_mouth((1, 11)) == REST
    assert speech.last_mouth(None) == REST
