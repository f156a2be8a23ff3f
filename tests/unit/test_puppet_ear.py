"""The trained ear: any cut gives the same mouths, nothing moves in silence, a weights file is checked before use."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet.ear import (
    LOOKAHEAD_MS,
    STEP_JAW,
    STEP_LIPS,
    STEP_SPREAD,
    Network,
    TrainedTracker,
    eased,
    posed,
)
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.spectrum import FFT, HOP, MELS, WINDOW, log_mel, mel_filters
from avatar.puppet.weights import LARGEST_BYTES, SHIPPED, WeightsError, load_weights
from tests.conformance.conftest import babble

pytestmark = pytest.mark.unit


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SPEECH_RATE_HZ), np.int16)


def test_digital_silence_moves_nothing() -> None:
    assert set(TrainedTracker().push(silence(6.0))) == {REST}


@pytest.mark.parametrize("level", [3, 30, 300, 3000, 9000])
def test_noise_keeps_the_mouth_shut(level: int) -> None:
    noise = np.clip(np.random.default_rng(1).normal(0, level, 4 * SPEECH_RATE_HZ), -32768, 32767).astype(np.int16)
    assert np.mean([mouth.jaw for mouth in TrainedTracker().push(noise)]) <= 0.04


def test_after_speech_silence_shuts_the_mouth() -> None:
    mouths = TrainedTracker().push(np.concatenate([babble(2.0), silence(1.0)]))
    assert max(mouth.jaw for mouth in mouths[:45]) > 0.2
    assert max(mouth.jaw for mouth in mouths[-10:]) == 0.0


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 24_000), max_size=60))
def test_any_cut_gives_the_same_mouths(cuts: list[int]) -> None:
    audio = babble(1.5, seed=2)
    tracker = TrainedTracker()
    edges = [0, *sorted(min(cut, len(audio)) for cut in cuts), len(audio)]
    pieces = [tracker.push(audio[a:b]) for a, b in itertools.pairwise(edges)]
    assert [mouth for piece in pieces for mouth in piece] == TrainedTracker().push(audio)


def test_a_mouth_comes_with_its_last_sample_and_never_before() -> None:
    tracker = TrainedTracker()
    lookahead = LOOKAHEAD_MS * SPEECH_RATE_HZ // 1000
    come = 0
    for count, sample in enumerate(np.split(babble(1.0)[:4500], 4500), start=1):
        come += len(tracker.push(sample))
        assert come == max(0, (count - lookahead) // TICK_SPEECH_SAMPLES)


def test_values_stay_in_bounds_and_nothing_pops() -> None:
    mouths = TrainedTracker().push(babble(20.0, seed=4))
    for before, after in itertools.pairwise(mouths):
        most = STEP_JAW
        assert after.jaw * (1 - after.closure) - before.jaw * (1 - before.closure) <= most + 1e-6
        assert abs(after.jaw - before.jaw) <= most + 1e-6
        assert abs(after.spread - before.spread) <= STEP_SPREAD + 1e-6
        assert abs(after.rounding - before.rounding) <= STEP_LIPS + 1e-6
        assert -1.0 <= after.spread <= 1.0
        for value in (after.jaw, after.rounding, after.closure, after.lip_teeth, after.tongue, after.effort):
            assert 0.0 <= value <= 1.0


def told(**values: float) -> np.ndarray:
    names = ("opening", "width", "rounding", "closure", "teeth", "tongue", "speech", "effort")
    defaults = {"speech": 1.0, "effort": 0.7}
    return np.array([values.get(name, defaults.get(name, 0.0)) for name in names], np.float32)


def test_what_is_told_becomes_a_pose() -> None:
    assert posed(told(speech=0.0, opening=0.02)) == REST
    wide = posed(told(opening=0.9, width=0.2))
    assert wide.jaw > 0.8
    assert wide.closure == 0.0
    pressed = posed(told(opening=0.05, closure=0.95))
    assert pressed.closure == 1.0
    assert pressed.jaw < 0.1
    bitten = posed(told(opening=0.1, closure=0.1, teeth=0.9))
    assert bitten.lip_teeth > 0.8
    assert bitten.closure < 0.2
    unsure = posed(told(opening=0.5, closure=0.95, teeth=0.9))  # its classes are as wide as doubts about the time are
    assert unsure.closure == 0.0
    assert unsure.lip_teeth == 0.0
    assert posed(told(opening=0.1)).closure == 0.0  # a small opening of no bilabial
    ring = posed(told(opening=0.3, rounding=0.9, width=-0.8))
    assert ring.rounding > 0.8
    assert ring.jaw > 0.3  # a ring hides some of the opening


def test_lips_meet_at_once_and_part_slowly() -> None:
    open_, shut = Mouth(jaw=0.9), Mouth(closure=1.0)
    assert eased(open_, shut).closure == 1.0
    assert eased(shut, open_).jaw == pytest.approx(STEP_JAW)
    assert eased(REST, open_).jaw == pytest.approx(STEP_JAW)
    assert eased(eased(shut, open_), open_).jaw == pytest.approx(0.9)


def test_frames_need_no_sound_beyond_themselves() -> None:
    samples = babble(1.0).astype(np.float32)
    filters = mel_filters()
    whole = log_mel(samples, filters)
    assert whole.shape == ((len(samples) - WINDOW) // HOP + 1, MELS)
    for k in (0, 7, 40):
        piece = log_mel(samples[k * HOP : k * HOP + WINDOW], filters)
        assert np.allclose(piece[0], whole[k], atol=1e-4)
    assert filters.shape == (FFT // 2 + 1, MELS)
    assert float(filters.sum(axis=0).min()) > 0.5  # no band is deaf


def test_a_tone_is_heard_in_its_band() -> None:
    time = np.arange(SPEECH_RATE_HZ) / SPEECH_RATE_HZ
    low, high = (
        log_mel((8000 * np.sin(2 * np.pi * hz * time)).astype(np.float32), mel_filters()).mean(axis=0).argmax()
        for hz in (300, 3000)
    )
    assert 5 < low < 20 < 38 < high < 50
    warped = (
        log_mel((8000 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32), mel_filters(1.1)).mean(axis=0).argmax()
    )
    assert warped > high


# -- the weights file


def stored() -> dict[str, np.ndarray]:
    with np.load(SHIPPED, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_shipped_weights_are_small_and_load() -> None:
    assert SHIPPED.stat().st_size < LARGEST_BYTES
    weights = load_weights()
    assert weights is load_weights()
    assert Network(weights).hear(np.zeros(TICK_SPEECH_SAMPLES, np.int16)).shape == (8,)


def test_a_file_that_is_not_there_or_none() -> None:
    with pytest.raises(WeightsError, match="cannot read"):
        load_weights(Path("/nowhere/ear.npz"))


def test_files_that_are_refused(tmp_path: Path) -> None:
    def refused(name: str, arrays: dict[str, np.ndarray], why: str) -> None:
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's own annotation of its keywords
        with pytest.raises(WeightsError, match=why):
            load_weights(path)

    good = stored()
    refused("missing", {name: array for name, array in good.items() if name != "head_b"}, "head_b")
    refused("surplus", good | {"more": np.zeros(3, np.float16)}, "more")
    refused("shape", good | {"head_w": good["head_w"][:, :5]}, "head_w has the shape")
    refused("kind", good | {"head_b": np.zeros(8, np.int32)}, "head_b is int32")
    refused("nan", good | {"dense_b": np.full_like(good["dense_b"], np.nan)}, "not finite")
    refused("huge", good | {"dense_b": np.full_like(good["dense_b"], 4e4)}, "beyond")
    refused("pickle", good | {"head_b": np.array([{"a": 1}] * 8, object)}, "cannot read|object")


def test_a_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("head_b.npy", bytes(3 * LARGEST_BYTES))
    with pytest.raises(WeightsError, match="unpacks"):
        load_weights(path)
    garbage = tmp_path / "garbage.npz"
    garbage.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(WeightsError, match="cannot read"):
        load_weights(garbage)
