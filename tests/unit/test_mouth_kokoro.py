"""Kokoro for the mouth's training: its letters, the times of its phones, what is said if its files are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.mouth.__main__ import main
from training.mouth.data import KOKORO_KIND, REFINING, Amounts, jobs, kokoro_draw
from training.mouth.kokoro import (
    AHEAD_MS,
    FRAME_MS,
    NAMES,
    RATE_HZ,
    TOKENS,
    KokoroSpeaker,
    field,
    placed,
    spelt,
    telling,
)
from training.mouth.speakers import EspeakSpeaker, SpeakerError

pytestmark = pytest.mark.unit


def test_sounds_are_spelt_in_the_models_alphabet() -> None:
    american = spelt(["b_ˈɜː_d ɡ_ˌoʊ", "w_ˈɔː_ɾ_ɚ"], "a", "?")
    assert [ipa for ipa, _ in american] == ["b", "ˈɝ", "d", "", "ɡ", "ˌoʊ", "", "", "w", "ˈɔː", "ɾ", "ɚ", ""]
    assert "".join(letters for _, letters in american) == "bˈɜɹd ɡˌO, wˈɔTəɹ?"
    british = spelt(["b_ˈɜː_d ɡ_ˌəʊ"], "b", "e")
    assert "".join(letters for _, letters in british) == "bˈɜːd ɡˌQ."
    assert british[1][0] == "ˈɜː"


def test_every_sound_that_espeak_reads_has_letters() -> None:
    with EspeakSpeaker() as espeak:
        for accent, voice in (("a", "gmw/en-US"), ("b", "gmw/en-GB-x-rp")):
            clauses = espeak.read("The boy, the judge and our poor chef bought buttons near a measured fire.", voice)
            assert len(clauses) == 2
            units = spelt(clauses, accent)
            said = [unit for clause in clauses for word in clause.split() for unit in word.split("_") if unit]
            assert len([ipa for ipa, _ in units if ipa]) == len(said)
            assert all(letter in TOKENS for _, letters in units for letter in letters)
        with pytest.raises(SpeakerError, match="no voice"):
            espeak.read("hello", "nobody")


def _hum(ms: float) -> npt.NDArray[np.float64]:
    return np.asarray(8000 * np.sin(0.06 * np.arange(int(RATE_HZ * ms / 1000))), np.float64)


def test_phones_last_as_long_as_their_letters() -> None:
    """Half of what is between two words belongs to each; the sound is heard before its frames."""
    units = [("m", "m"), ("ˈɑː", "ˈɑ"), ("", " "), ("n", "n"), ("", ".")]
    lengths = np.array([10, 4, 1, 3, 2, 4, 6, 1], float)
    start_ms = 10 * FRAME_MS - AHEAD_MS
    sound = np.concatenate([0 * _hum(start_ms), _hum(14 * FRAME_MS), 0 * _hum(7 * FRAME_MS + AHEAD_MS)])
    phones = placed(units, lengths, np.rint(sound).astype(np.int16))
    assert [phone.ipa for phone in phones] == ["", "m", "ˈɑː", "n", ""]
    starts = np.array([phone.start_ms for phone in phones[1:]])
    assert starts - start_ms == pytest.approx(np.array([0, 4, 9, 14]) * FRAME_MS, abs=1)
    with pytest.raises(SpeakerError, match="7 lengths of 6 letters"):
        placed(units, lengths[1:], np.rint(sound).astype(np.int16))


def test_a_long_silence_is_a_pause_but_for_the_closure_of_a_stop() -> None:
    units = [("ɑ", "ɑ"), ("", ","), ("", " "), ("b", "b"), ("ɑ", "ɑ"), ("", ".")]
    lengths = np.array([6, 8, 12, 4, 4, 8, 2, 1], float)
    first, quiet, second = 8 * FRAME_MS, 16 * FRAME_MS, 12 * FRAME_MS
    start_ms = 6 * FRAME_MS - AHEAD_MS
    sound = np.concatenate([0 * _hum(start_ms), _hum(first), 0 * _hum(quiet), _hum(second), 0 * _hum(135)])
    phones = placed(units, lengths, np.rint(sound).astype(np.int16))
    assert [phone.ipa for phone in phones] == ["", "ɑ", "", "b", "ɑ", ""]
    pause, stop = phones[2], phones[3]
    assert pause.start_ms == pytest.approx(start_ms + first, abs=6)
    assert stop.start_ms == pytest.approx(start_ms + first + quiet - 70, abs=6)
    assert phones[-1].end_ms == pytest.approx(1000 * len(sound) / RATE_HZ)


def test_an_inner_value_of_a_model_is_told() -> None:
    """A model of two steps, written out by hand: y = -(-x), of which the first -x is asked for."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def value(name: str) -> bytes:
        shape = field(2, field(1, field(2, b"n")))
        return field(1, name.encode()) + field(2, field(1, b"\x08\x01" + shape))

    def step(source: str, target: str) -> bytes:
        return field(1, field(1, source.encode()) + field(2, target.encode()) + field(4, b"Neg"))

    graph = step("x", "inner") + step("inner", "y") + field(2, b"g") + field(11, value("x")) + field(12, value("y"))
    model = b"\x08\x08" + field(8, b"\x10\x0d") + field(7, graph)
    session = onnxruntime.InferenceSession(telling(model, "inner"), providers=["CPUExecutionProvider"])
    y, inner = session.run(["y", "inner"], {"x": np.array([1.5, -2.0], np.float32)})
    assert y.tolist() == [1.5, -2.0]
    assert inner.tolist() == [-1.5, 2.0]


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EspeakSpeaker() as espeak, pytest.raises(SpeakerError, match=r"kokoro-v1.0.int8.onnx is missing"):
        KokoroSpeaker(tmp_path, espeak)
    assert main(["-o", str(tmp_path), "--start", "ear-1.npz"]) == 2
    assert "--kokoro" in capsys.readouterr().err
    assert main(["-o", str(tmp_path), "--start", "ear-1.npz", "--kokoro", str(tmp_path / "nowhere")]) == 2
    assert "is missing" in capsys.readouterr().err


def test_more_of_kokoro_begins_with_the_same() -> None:
    few, many = (set(jobs(seed, Amounts(0, 0, 0, 0, each, 0))) for seed, each in ((1, 2), (9, 3)))
    assert few < many
    assert len(many) == 3 * len(NAMES)
    assert sum(job.voice.startswith(KOKORO_KIND) for job in jobs(2, REFINING)) == REFINING.kokoro_each * len(NAMES)


def test_half_of_kokoros_speakers_are_blends() -> None:
    draws = [kokoro_draw(job, np.random.default_rng([job.seed, 2])) for job in jobs(1, Amounts(0, 0, 0, 0, 10, 0))]
    blends = [draw for draw in draws if draw["other"]]
    assert 0.35 < len(blends) / len(draws) < 0.65
    assert all(draw["voice"] in NAMES and draw["other"] in NAMES for draw in blends)
    assert all(0.2 < draw["share"] < 0.65 for draw in blends)
