"""The mouth's training: targets stand where they belong, hearings are seeded, numpy computes what torch trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.lips.phones import Phone, PhoneError
from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES
from avatar.puppet import ear
from avatar.puppet.weights import load_weights
from benchmarks.lips_corpus import CZECH, ENGLISH, ESPEAK, FINNISH
from benchmarks.lips_corpus import FESTIVAL as MEASURED_FESTIVAL
from tests.conformance.conftest import babble
from training.mouth import augment, texts
from training.mouth.data import (
    FESTIVAL,
    FLITE,
    HELD_OUT_VARIANTS,
    OUTPUTS,
    TARGET_MS,
    Amounts,
    features,
    jobs,
    wanted,
)
from training.mouth.export import export, restored
from training.mouth.festival import Line, festival, from_sampa
from training.mouth.fit import CROP, Examples, loss_of
from training.mouth.network import BEHIND, LOOKAHEAD_MS, Network
from training.mouth.speakers import SpeakerError, Spoken, end_times

pytestmark = pytest.mark.unit

KAL = Path("/usr/share/festival/voices/english/kal_diphone")
AMOUNTS = Amounts(english=40, foreign=40, flite_each=10, festival_each=3, no_speech=5)


def test_the_same_seed_gives_the_same_jobs_and_another_others() -> None:
    assert jobs(1, AMOUNTS) == jobs(1, AMOUNTS)
    assert jobs(1, AMOUNTS) != jobs(2, AMOUNTS)
    assert len(jobs(1, AMOUNTS)) == 40 + 40 + 20 + 3 * len(FESTIVAL) + 5


def test_nobody_is_trained_on_who_is_measured_with() -> None:
    everything = jobs(3, Amounts())
    voices = {job.voice for job in everything}
    assert not {voice for voice in voices if voice.partition("+")[2] in HELD_OUT_VARIANTS}
    assert {voice.partition("+")[2] for voice, _, _ in ESPEAK} == HELD_OUT_VARIANTS
    assert {voice for voice in voices if voice.startswith("flite")} == {f"flite:{voice}" for voice in FLITE}
    assert not {"awb", "rms"} & set(FLITE)
    assert not {voice for _, voice, _, _ in MEASURED_FESTIVAL} & set(FESTIVAL)
    assert set(FESTIVAL.values()) == set(texts.FESTIVAL_LANGUAGES)
    said = {job.text for job in everything}
    assert not said & {*ENGLISH, *CZECH, *FINNISH}


def test_targets_stand_where_the_phones_are() -> None:
    phones = [Phone("", 0, 200), Phone("ɑ", 200, 400), Phone("m", 400, 500), Phone("ɑ", 500, 700), Phone("", 700, 900)]
    sound = np.random.default_rng(0).normal(0, 1000, SPEECH_RATE_HZ * 9 // 10)
    spoken = Spoken(sound.astype(np.int16), SPEECH_RATE_HZ, phones)
    curve = wanted(spoken, sound)
    opening, closure = (curve[:, OUTPUTS.index(name)] for name in ("opening", "closure"))
    assert len(curve) == 900 // TARGET_MS + 1
    assert opening[300 // TARGET_MS] > 0.8
    assert opening[450 // TARGET_MS] == 0.0
    assert closure[450 // TARGET_MS] == 1.0
    assert closure[300 // TARGET_MS] == 0.0
    shifted = wanted(spoken, np.concatenate([np.zeros(1600), sound]), before_ms=100.0)
    assert shifted[(450 + 100) // TARGET_MS, OUTPUTS.index("closure")] == 1.0
    faster = wanted(spoken, sound[: len(sound) // 2], speed=2.0)
    assert faster[round(450 / 2 / TARGET_MS), OUTPUTS.index("closure")] == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_hearings_are_seeded_and_stay_in_range(seed: int) -> None:
    clean = babble(1.0, seed).astype(np.float64)
    heard = augment.heard(clean, np.random.default_rng(seed), [clean])
    assert np.array_equal(heard, augment.heard(clean, np.random.default_rng(seed), [clean]))
    assert heard.shape == clean.shape
    assert np.all(np.isfinite(heard))
    assert float(np.abs(heard).max()) <= 32768
    nobody = augment.no_speech(np.random.default_rng(seed))
    assert np.all(np.isfinite(nobody))


def test_resampling_keeps_a_tone() -> None:
    time = np.arange(22_050) / 22_050
    out = augment.resampled(1000 * np.sin(2 * np.pi * 440 * time), 22_050)
    assert abs(len(out) - SPEECH_RATE_HZ) <= 1
    spectrum = np.abs(np.fft.rfft(out[:16_000] * np.hanning(len(out[:16_000]))))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert float(np.abs(out[4000:12000]).max()) == pytest.approx(1000, rel=0.02)


def test_festivals_phones_are_ipa_in_each_of_its_languages() -> None:
    assert [from_sampa(name) for name in ("#", "E1", "tS", "r~*", "@:", "7", "ax", "a")] == [
        "", "ɛ", "tʃ", "ʃ", "æ", "ø", "ə", "a",
    ]  # fmt: skip
    with pytest.raises(PhoneError, match="no phone"):
        from_sampa("%")


@pytest.mark.media
@pytest.mark.skipif(
    shutil.which("festival") is None or not KAL.is_dir(), reason="festival and festvox-kallpc16k are not installed"
)
def test_festival_speaks_as_long_and_as_high_as_told() -> None:
    """In one run: its phones end with its sound, and stretched lines are longer."""
    plain, slow = festival([Line("papa ma"), Line("papa ma", stretch=1.4, pitch=1.3)], "kal_diphone", "en")
    assert [phone.ipa for phone in plain.phones if phone.ipa][:4] == ["p", "ɑ", "p", "ə"]
    assert slow.duration_ms > 1.15 * plain.duration_ms
    assert abs(plain.phones[-1].end_ms - plain.duration_ms) < 60
    with pytest.raises(SpeakerError, match="festvox"):
        festival([Line("papa")], "nobody_diphone", "en")


def test_flites_times_are_ends() -> None:
    phones = end_times("pau:0.142 b:0.215 aa:0.373 ")
    assert [phone.ipa for phone in phones] == ["", "b", "ɑ"]
    assert (phones[1].start_ms, phones[1].end_ms) == pytest.approx((142, 215))
    with pytest.raises(SpeakerError, match="one at a time"):
        end_times("pau:0.2 b:0.3 pau:0.1 m:0.2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    """A network of seeded random weights, with what float16 leaves of them, and its file."""
    torch.manual_seed(3)
    network = Network().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_((1.5 * value).half().float())
    path = tmp_path_factory.mktemp("weights") / "ear.npz"
    export(network, path)
    return network, path


def test_numpy_computes_what_torch_does(trained: tuple[Network, Path]) -> None:
    network, path = trained
    audio = babble(3.0)
    size = TICK_SPEECH_SAMPLES
    streamed = ear.Network(load_weights(path))
    told = np.stack([streamed.hear(audio[k : k + size]) for k in range(0, len(audio) - size + 1, size)])
    frames = features(audio.astype(np.float64))[: 4 * len(told)]
    with torch.no_grad():
        wanted_ = network(torch.from_numpy(frames)[None])[0, 1::2]
    for index in (ear.CLOSURE, ear.TEETH, ear.SPEECH):
        wanted_[:, index] = torch.sigmoid(wanted_[:, index])
    assert float(wanted_.std(dim=0).min()) > 1e-3
    assert np.abs(told - wanted_.numpy()).max() < 1e-5


def test_a_file_is_trained_further_from_where_it_stands(trained: tuple[Network, Path]) -> None:
    network, path = trained
    again = restored(path)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_training_and_run_time_agree_on_when() -> None:
    assert LOOKAHEAD_MS == ear.LOOKAHEAD_MS
    # Step j has heard 20 * (j + 1) ms and tells target j - BEHIND, the middle of a picture that ended LOOKAHEAD_MS ago.
    assert 20 * (7 + 1) - LOOKAHEAD_MS - 20 == TARGET_MS * (7 - BEHIND)
    assert len(OUTPUTS) == ear.EFFORT + 1
    assert OUTPUTS.index("closure") == ear.CLOSURE
    assert OUTPUTS.index("speech") == ear.SPEECH


def test_examples_pair_frames_with_their_targets(tmp_path: Path) -> None:
    """Each hearing says its own number in frames and targets: a pair that is shifted or mixed up shows."""
    counts = [150, 260, 90]
    frames = [np.full((2 * count, 64), k + 1, np.float16) for k, count in enumerate(counts)]
    targets = [np.full((count + 1, len(OUTPUTS)), k + 1, np.float16) for k, count in enumerate(counts)]
    np.savez(
        tmp_path / "shard0.npz",
        frames=np.concatenate(frames),
        frame_counts=[len(part) for part in frames],
        targets=np.concatenate(targets),
        target_counts=[len(part) for part in targets],
    )
    heard, wanted_ = Examples.read(tmp_path).batch(np.random.default_rng(1))
    assert heard.shape[1:] == (2 * CROP, 64)
    assert wanted_.shape[1:] == (CROP, len(OUTPUTS))
    seen = heard[:, 1::2, :].amax(dim=2)  # bands may be masked
    for row in range(len(heard)):
        for step in range(BEHIND, CROP):
            if wanted_[row, step, 0] > 0:
                assert seen[row, step - BEHIND] == wanted_[row, step, 0]
    assert float((wanted_[:, :, 0] > 0).float().mean()) > 0.8


def test_the_loss_is_least_for_what_is_wanted() -> None:
    wanted_ = torch.rand(2, CROP, len(OUTPUTS)).round()
    told = wanted_.clone()
    for name in ("closure", "teeth", "speech"):
        index = OUTPUTS.index(name)
        told[..., index] = 12 * (2 * wanted_[..., index] - 1)
    assert float(loss_of(told, wanted_)) < 0.01
    assert float(loss_of(told.roll(3, dims=1), wanted_)) > 1.0
