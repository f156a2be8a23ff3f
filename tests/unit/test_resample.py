"""The renderer's 16 kHz: nothing is waited for, any cut gives the same, a tone stays one, and all is 1 ms late."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar.frames import SAMPLE_RATE_HZ, SPEECH_RATE_HZ, TICK_SAMPLES, TICK_SPEECH_SAMPLES, Pcm
from avatar.resample import Decimator

pytestmark = pytest.mark.unit

LATE_SAMPLES = SPEECH_RATE_HZ // 1000


def tone(hz: float, count: int) -> Pcm:
    wave: Pcm = np.rint(10_000 * np.sin(2 * np.pi * hz * np.arange(count) / SAMPLE_RATE_HZ)).astype(np.int16)
    return wave


@pytest.mark.parametrize("size", [480, 960, TICK_SAMPLES])
def test_a_third_as_many_samples_are_there_at_once(size: int) -> None:
    decimator = Decimator()
    for _ in range(6):
        assert decimator.push(tone(440, size)).size == size // 3
    assert TICK_SAMPLES // 3 == TICK_SPEECH_SAMPLES


@given(cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_any_cut_gives_the_same_bits(cuts: list[int]) -> None:
    pcm = np.random.default_rng(1).integers(-32768, 32768, 4000).astype(np.int16)
    whole, decimator = Decimator().push(pcm), Decimator()
    parts = [decimator.push(part) for part in np.split(pcm, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.size == -(-pcm.size // 3)


def test_it_is_one_millisecond_late_and_no_more() -> None:
    pcm = np.zeros(9600, np.int16)
    pcm[3000] = 30_000
    assert int(np.abs(Decimator().push(pcm)).argmax()) == 1000 + LATE_SAMPLES


@pytest.mark.parametrize(("hz", "kept"), [(300, True), (6000, True), (9000, False), (15_000, False)])
def test_what_16_khz_can_hold_stays_and_the_rest_is_gone(hz: float, kept: bool) -> None:
    heard = Decimator().push(tone(hz, SAMPLE_RATE_HZ))[200:].astype(float)
    level = np.sqrt(np.mean(heard**2)) / (10_000 / np.sqrt(2))
    assert (level > 0.97) if kept else (level < 0.01)
