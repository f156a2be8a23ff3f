"""The lip stick: the phone table, reference curves, and scores that broken lips must not pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.lips.labels import LabelError, read_labels
from agent.lips.phones import ARPABET, SOUNDS, Phone, PhoneError, from_arpabet, merged, sounds
from agent.lips.reference import STEP_MS, at, curves, timed
from agent.lips.score import BOUNDS, NotScored, Take, failures, score

pytestmark = pytest.mark.unit

WORDS = "pau m ey b iy t uh m aa r ow pau p aa p ax f ae n v eh r iy b ow t m uw v z ah p ae m pau"
LENGTHS_MS = {"pau": 300.0}


def spoken(words: str = WORDS, length_ms: float = 95.0) -> list[Phone]:
    phones: list[Phone] = []
    now_ms = 0.0
    for name in words.split():
        length = LENGTHS_MS.get(name, length_ms)
        phones.append(Phone(from_arpabet(name), now_ms, now_ms + length))
        now_ms += length
    return phones


def perfect(phones: list[Phone]) -> Take:
    """A mouth that follows the reference exactly, 25 pictures a second."""
    times = np.arange(20.0, phones[-1].end_ms, 40.0)
    return Take(times, 24.0 * at(curves(phones, phones[-1].end_ms).opening, times), phones)


def noisy(take: Take, amount: float, seed: int = 1) -> Take:
    spoilt = take.apertures + np.random.default_rng(seed).normal(0, amount, len(take.apertures))
    return replace(take, apertures=np.maximum(0.0, spoilt))


LONG = spoken(" ".join([WORDS] * 6))


def test_every_phone_of_american_english_is_in_the_table() -> None:
    for name, ipa in ARPABET.items():
        assert sounds(ipa), name
        assert all(sound.bilabial == (name in ("p", "b", "m")) for sound in sounds(ipa)[-1:] if name != "em")


def test_the_table_is_what_articulation_says() -> None:
    assert SOUNDS["ɑ"].opening > SOUNDS["ɛ"].opening > SOUNDS["ɪ"].opening > SOUNDS["i"].opening > 0
    assert SOUNDS["u"].rounding > 0.8 > 0.1 > SOUNDS["i"].rounding
    assert SOUNDS["i"].width > 0.5 > -0.5 > SOUNDS["u"].width
    assert {letter for letter, sound in SOUNDS.items() if sound.bilabial} == {"p", "b", "m", "ɓ"}
    for sound in SOUNDS.values():
        assert 0.0 <= sound.opening <= 1.0
        assert -1.0 <= sound.width <= 1.0
        assert 0.0 <= sound.rounding <= 1.0


@pytest.mark.parametrize(("ipa", "count"), [("ˈoʊ", 2), ("ɑː", 1), ("tʃ", 2), ("", 1), ("ɛ̃", 1), ("mʲ", 1), ("ˈæ", 1)])
def test_stress_length_and_diacritics_are_passed_over(ipa: str, count: int) -> None:
    assert len(sounds(ipa)) == count


def test_what_is_no_phone_is_refused() -> None:
    with pytest.raises(PhoneError, match="holds no letter"):
        sounds("1")
    with pytest.raises(PhoneError, match="no phone"):
        from_arpabet("qq")


def test_lips_meet_at_bilabials_and_only_there() -> None:
    phones = spoken("aa m aa f aa", 120.0)
    curve = curves(phones, 600.0)
    assert at(curve.opening, 180.0) == 0.0
    assert at(curve.closure, [60.0, 300.0, 420.0]) == pytest.approx(0.0)
    assert 0.05 < at(curve.opening, 420.0) < 0.2
    assert at(curve.teeth, 420.0) == 1.0
    assert at(curve.opening, 300.0) > 0.8


def test_diphthongs_are_two_sounds() -> None:
    parts = timed([Phone("aɪ", 0.0, 100.0)])
    assert [(round(start), round(end)) for _, start, end in parts] == [(0, 55), (55, 100)]
    assert parts[0][0].opening > parts[1][0].opening


def test_curves_are_smooth() -> None:
    curve = curves(LONG, LONG[-1].end_ms)
    # The fastest are lips that meet: from an open vowel within 30 ms.
    assert float(np.abs(np.diff(curve.opening)).max()) < 0.95 * STEP_MS / 30 + 0.05
    assert float(np.abs(np.diff(curve.width)).max()) < 0.12


def test_lips_that_follow_the_reference_pass() -> None:
    result = score([perfect(LONG)])
    assert failures(result) == []
    assert result.r > 0.999
    assert abs(result.lag_ms) < 2
    assert result.bilabials.value == 1.0
    assert result.false_closures.hits == 0


def test_good_but_imperfect_lips_pass() -> None:
    assert failures(score([noisy(perfect(LONG), 1.2)])) == []


def late(take: Take, by_ms: float) -> Take:
    return replace(take, apertures=np.interp(take.times_ms - by_ms, take.times_ms, take.apertures))


def shuffled(take: Take) -> Take:
    order = np.random.default_rng(3).permutation(len(take.phones))
    now_ms, phones = 0.0, []
    for k in order:
        phone = take.phones[int(k)]
        length = phone.end_ms - phone.start_ms
        phones.append(Phone(phone.ipa, now_ms, now_ms + length))
        now_ms += length
    return replace(take, phones=phones)


BROKEN = {
    "120 ms late": late(perfect(LONG), 120),
    "60 ms late": late(perfect(LONG), 60),
    "60 ms early": late(perfect(LONG), -60),
    "another sound": shuffled(perfect(LONG)),
    "never quite shut": replace(perfect(LONG), apertures=np.maximum(3.0, perfect(LONG).apertures)),
    "chatter": noisy(perfect(LONG), 9.0),
    "at random": replace(perfect(LONG), apertures=np.random.default_rng(5).uniform(0, 20, len(perfect(LONG).times_ms))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_lips_fail(name: str) -> None:
    assert failures(score([BROKEN[name]]))


@pytest.mark.parametrize("by_ms", [-80, -40, 40, 80, 120])
def test_the_lag_is_measured(by_ms: float) -> None:
    assert score([late(perfect(LONG), by_ms)]).lag_ms == pytest.approx(by_ms, abs=6)


def test_the_bound_for_the_lag_holds_both_ways() -> None:
    for by_ms in (40, -40):
        assert any(BOUNDS["lag_ms"].what in miss for miss in failures(score([late(perfect(LONG), by_ms)])))


def test_a_mouth_that_never_moves_is_not_scored() -> None:
    with pytest.raises(NotScored, match="never opens"):
        score([replace(perfect(LONG), apertures=np.zeros(len(perfect(LONG).times_ms)))])
    with pytest.raises(NotScored, match="at least"):
        score([perfect(spoken("pau aa t iy pau"))])


def test_pauses_are_joined_and_nothing_of_no_length_stays() -> None:
    phones = [Phone("", 0, 10), Phone("", 10, 30), Phone("a", 30, 30), Phone("b", 30, 50)]
    assert merged(phones) == [Phone("", 0, 30), Phone("b", 30, 50)]


def test_label_files(tmp_path: Path) -> None:
    psdur = tmp_path / "a.txt"
    psdur.write_text("pau:0.142 b:0.215 aa:0.373 pau:0.9 \n")
    read = read_labels(psdur)
    assert [phone.ipa for phone in read] == ["", "b", "ɑ", ""]
    assert [phone.end_ms for phone in read] == pytest.approx([142, 215, 373, 900])
    lines = tmp_path / "b.txt"
    lines.write_text("0.10 _\n0.1 0.25 mː\n\n0.30 aʊ\n")
    assert [phone.ipa for phone in read_labels(lines)] == ["", "mː", "aʊ"]


@pytest.mark.parametrize("text", ["", "0.1 m\n0.05 a\n", "0.1\n", "x m\n", "0.1 7\n", "nan m\n", "pau:0.1 qq:0.2"])
def test_label_files_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(LabelError, match="bad"):
        read_labels(path)


def test_no_label_file() -> None:
    with pytest.raises(LabelError, match="cannot read"):
        read_labels(Path("/nowhere/at/all.txt"))
