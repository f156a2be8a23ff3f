"""The benchmarks' measuring, on recordings whose answer is known, and on broken ones that must not pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.measure import (
    Array,
    NotMeasured,
    clock_offset,
    dark_holes,
    distribution,
    falls_silent,
    first_loud,
    hole_level,
    moving_box,
    onsets,
    pairs,
    percentile,
    recovered,
    share_above,
    slope_with_interval,
    stays_below,
)

pytestmark = pytest.mark.unit

Picture8 = npt.NDArray[np.uint8]


def sounding(*spans: tuple[int, int], size: int = 1000) -> Array:
    """Levels that are loud within these blocks and faint elsewhere."""
    levels = np.full(size, 0.001)
    for start, stop in spans:
        levels[start:stop] = 0.3
    return levels


class TestPercentile:
    def test_known(self) -> None:
        assert percentile(list(range(101)), 95) == 95

    def test_of_one(self) -> None:
        assert percentile([7.0], 95) == 7.0

    @pytest.mark.parametrize("broken", [[], [1.0, float("nan")], [1.0, float("inf")]])
    def test_broken_samples_are_no_percentile(self, broken: list[float]) -> None:
        with pytest.raises(NotMeasured):
            percentile(broken, 95)

    def test_a_distribution_names_its_size(self) -> None:
        assert distribution([]) == {"n": 0}
        described = distribution([1.0, 2.0, 3.0])
        assert (described["n"], described["p50"], described["max"]) == (3, 2.0, 3.0)

    def test_one_late_sample_in_ten_shows_in_the_95th(self) -> None:
        assert distribution([1.0] * 18 + [500.0] * 2)["p95"] > 400


class TestHistogram:
    BUCKETS = ((0.01, 90.0), (0.02, 98.0), (0.04, 99.0), (float("inf"), 100.0))

    def test_share_above_a_bound(self) -> None:
        assert share_above(self.BUCKETS, 0.02) == pytest.approx(0.02)

    def test_nothing_is_interpolated(self) -> None:
        with pytest.raises(NotMeasured, match="no bound"):
            share_above(self.BUCKETS, 0.03)

    def test_an_empty_histogram_is_no_measurement(self) -> None:
        with pytest.raises(NotMeasured, match="empty"):
            share_above(((0.02, 0.0), (float("inf"), 0.0)), 0.02)


class TestSlope:
    def test_an_exact_line(self) -> None:
        x = np.arange(20.0)
        line = slope_with_interval(list(x), list(3 * x + 1))
        assert line.slope == pytest.approx(3)
        assert line.high - line.low == pytest.approx(0, abs=1e-9)

    def test_the_interval_holds_the_truth_19_times_of_20(self) -> None:
        draw = np.random.default_rng(5)
        x = np.linspace(0, 10, 300)
        held = 0
        for _ in range(400):
            line = slope_with_interval(list(x), list(0.4 * x + draw.normal(0, 12, x.size)))
            held += line.low <= 0.4 <= line.high
        assert 0.92 <= held / 400 <= 0.98

    def test_few_points_widen_it_as_students_t_does(self) -> None:
        draw = np.random.default_rng(6)
        x = np.arange(10.0)
        held = 0
        for _ in range(1000):
            line = slope_with_interval(list(x), list(draw.normal(0, 1, x.size)))
            held += line.low <= 0 <= line.high
        assert held / 1000 == pytest.approx(0.95, abs=0.02)

    def test_a_drift_is_seen(self) -> None:
        draw = np.random.default_rng(7)
        x = np.linspace(0, 10, 300)
        line = slope_with_interval(list(x), list(2 * x + draw.normal(0, 10, x.size)))
        assert line.low > 1

    @pytest.mark.parametrize(("x", "y"), [([1.0] * 20, [2.0] * 20), ([1.0, 2.0], [1.0, 2.0]), ([], [])])
    def test_what_has_no_slope(self, x: list[float], y: list[float]) -> None:
        with pytest.raises(NotMeasured):
            slope_with_interval(x, y)


class TestClockOffset:
    def test_the_fastest_exchange_decides(self) -> None:
        # The other clock shows 100 less; the slow exchanges are skewed by a delay on one side.
        exchanges = [(10.0, -89.0, 12.0), (20.0, -79.999, 20.002), (30.0, -69.5, 30.6)]
        related = clock_offset(exchanges)
        assert related.offset == pytest.approx(100, abs=related.error)
        assert related.error == pytest.approx(0.001)

    def test_without_an_exchange_there_is_none(self) -> None:
        with pytest.raises(NotMeasured):
            clock_offset([])


class TestOnsets:
    def test_found_where_they_are(self) -> None:
        assert onsets(sounding((100, 200), (500, 520)), threshold=0.01, quiet=50) == [100, 500]

    def test_sound_from_the_first_block_is_no_onset(self) -> None:
        assert onsets(sounding((0, 10), (500, 520)), threshold=0.01, quiet=50) == [500]

    def test_a_short_gap_is_the_same_sound(self) -> None:
        assert onsets(sounding((100, 200), (230, 300)), threshold=0.01, quiet=50) == [100]

    def test_silence_has_none(self) -> None:
        assert onsets(sounding(), threshold=0.01, quiet=50) == []

    def test_first_loud_from_a_place_on(self) -> None:
        levels = sounding((100, 200), (500, 520))
        assert first_loud(levels, 150, threshold=0.01) == 150
        assert first_loud(levels, 200, threshold=0.01) == 500
        assert first_loud(levels, 600, threshold=0.01) is None


class TestFallsSilent:
    def test_the_block_after_the_last_loud_one(self) -> None:
        assert falls_silent(sounding((100, 400)), 200, threshold=0.01, quiet=100) == 400

    def test_pauses_between_words_are_not_it(self) -> None:
        levels = sounding((100, 200), (250, 300), (350, 400))
        assert falls_silent(levels, 150, threshold=0.01, quiet=100) == 400

    def test_silent_already(self) -> None:
        assert falls_silent(sounding((100, 200)), 300, threshold=0.01, quiet=100) == 300

    def test_a_voice_that_goes_on_never_falls_silent(self) -> None:
        assert falls_silent(sounding((100, 1000)), 200, threshold=0.01, quiet=100) is None

    def test_a_recording_that_ends_too_soon_proves_nothing(self) -> None:
        assert falls_silent(sounding((100, 950)), 200, threshold=0.01, quiet=100) is None
        assert falls_silent(sounding((100, 200)), 950, threshold=0.01, quiet=100) is None


class TestMouth:
    def face(self, *, open_by: float, shift: tuple[int, int] = (0, 0), seed: int = 0) -> Array:
        """A noisy picture [30, 40]: a textured head that may have moved, its mouth at rows 14-18, columns 15-25."""
        texture = np.random.default_rng(1).uniform(80, 120, (40, 50))
        picture = texture[5 + shift[0] : 35 + shift[0], 5 + shift[1] : 45 + shift[1]].copy()
        picture[14 - shift[0] : 18 - shift[0], 15 - shift[1] : 25 - shift[1]] -= open_by
        return picture + np.random.default_rng(seed).normal(0, 1, picture.shape)

    def film(self, draw_open: bool) -> Array:
        draw = np.random.default_rng(9)
        moves = [tuple(draw.integers(-1, 2, 2)) for _ in range(40)]
        opens = draw.uniform(0, 80, 40) if draw_open else np.zeros(40)
        return np.stack(
            [self.face(open_by=o, shift=m, seed=n) for n, (o, m) in enumerate(zip(opens, moves, strict=True))]
        )

    def test_the_mouth_is_found_under_a_moving_head(self) -> None:
        row, column = moving_box(self.film(False), self.film(True), (4, 10))
        assert abs(row - 14) <= 1
        assert abs(column - 15) <= 1

    @pytest.mark.parametrize("blinks", [False, True], ids=["sways", "blinks"])
    def test_neither_a_sway_nor_a_blink_passes_for_the_mouth(self, blinks: bool) -> None:
        """In speech the head also turns, slowly, from where it was at rest, and the eyes shut now and then."""
        rest, speech = [], []
        for n in range(60):
            sway = round(4 * np.sin(n / 9))
            rest.append(self.face(open_by=0, shift=(0, 0), seed=n))
            speech.append(self.face(open_by=40 * (n % 3), shift=(0, 0 if blinks else sway), seed=100 + n))
            rest[-1][2:8, 28:38] = 60
            speech[-1][2:8, 28:38] = 240 if blinks and n % 20 < 3 else 60
            speech[-1][20:, : 6 + (0 if blinks else sway)] = 250  # a bright shoulder, the strongest edge of all
        row, column = moving_box(np.stack(rest), np.stack(speech), (4, 10))
        assert abs(row - 14) <= 1
        assert abs(column - 15) <= 4

    def test_a_face_that_does_not_move_is_no_measurement(self) -> None:
        still = np.full((40, 30, 40), 100.0)
        with pytest.raises(NotMeasured):
            moving_box(still, still, (4, 10))

    def portrait(self, opened: int, shift: int = 0) -> Picture8:
        """Skin, lips, hair that reaches in from the left, and between the lips ``opened`` rows of dark."""
        picture = np.full((40, 60), 180, np.uint8)
        picture[:, : 8 + shift] = 30
        picture[15:25, 20 + shift : 40 + shift] = 110
        picture[20 : 20 + opened, 22 + shift : 38 + shift] = 35
        return picture

    def test_an_open_mouth_is_a_hole_wherever_the_head_is(self) -> None:
        pictures = np.stack([self.portrait(0), self.portrait(4), self.portrait(4, shift=6), self.portrait(0, shift=-5)])
        assert dark_holes(pictures, 70).tolist() == [0, 64, 64, 0]

    def test_the_level_is_between_lips_and_mouth(self) -> None:
        rest = np.stack([self.portrait(0, shift) for shift in range(-5, 6)])
        speech = np.stack([self.portrait(4, shift) for shift in range(-5, 6)])
        assert 35 < hole_level(rest, speech) <= 110

    def test_a_curl_of_hair_does_not_choose_the_level(self) -> None:
        def curled(picture: Picture8) -> Picture8:
            picture[5:12, 45:52] = 25
            return picture

        rest = np.stack([curled(self.portrait(0, shift)) for shift in range(-5, 6)])
        speech = np.stack([curled(self.portrait(4, shift)) for shift in range(-5, 6)])
        with pytest.raises(NotMeasured):
            hole_level(rest, speech)

    def test_a_level_by_itself_is_chance(self) -> None:
        """At level 25 alone a curl of hair is a hole in speech, larger than the mouth; a little lighter it is hair."""

        def curled(picture: Picture8) -> Picture8:
            picture[2:14, 12:58] = 22
            picture[2:14, :12] = 28
            return picture

        rest = np.stack([self.portrait(0, shift) for shift in range(-5, 1)])
        speech = np.stack([curled(self.portrait(4, shift)) for shift in range(-5, 1)])
        assert dark_holes(speech, 25).min() > dark_holes(speech, 60).max()
        assert 35 < hole_level(rest, speech) <= 110

    def test_a_hole_of_a_few_pixels_is_no_mouth(self) -> None:
        rest = np.stack([self.portrait(0, shift) for shift in range(-5, 6)])
        speech = rest.copy()
        speech[:, 20:22, 30:34] = 35
        with pytest.raises(NotMeasured, match="no mouth opens"):
            hole_level(rest, speech)

    def test_a_mouth_that_never_opens_has_no_level(self) -> None:
        rest = np.stack([self.portrait(0, shift) for shift in range(-5, 6)])
        with pytest.raises(NotMeasured, match="no mouth opens"):
            hole_level(rest, rest)

    def test_shut_from_when_it_stays_shut(self) -> None:
        times = np.arange(0, 1, 0.04)
        values = np.where(times < 0.2, 50.0, 1.0)
        values[8] = 50.0  # opens once more at 0.32
        assert stays_below(times, values, 0.0, threshold=5, hold=0.2) == pytest.approx(0.36)

    def test_a_mouth_that_keeps_moving_is_never_shut(self) -> None:
        times = np.arange(0, 2, 0.04)
        assert stays_below(times, np.tile([50.0, 1.0], times.size // 2), 0.0, threshold=5, hold=0.2) is None

    def test_shut_at_the_very_end_proves_nothing(self) -> None:
        times = np.arange(0, 1, 0.04)
        assert stays_below(times, np.where(times < 0.9, 50.0, 1.0), 0.0, threshold=5, hold=0.2) is None


class TestSoundAgainstPicture:
    def test_each_flash_with_its_beep(self) -> None:
        found = pairs([1.0, 3.0, 5.0], [1.02, 2.99, 5.4], reach=0.2)
        assert [(flash, round(offset, 3)) for flash, offset in found] == [(1.0, 0.02), (3.0, -0.01)]

    def test_no_beep_at_all(self) -> None:
        assert pairs([1.0, 3.0], [], reach=0.2) == []

    def test_flashes_too_close_to_tell_apart(self) -> None:
        with pytest.raises(NotMeasured, match="too close"):
            pairs([1.0, 1.3], [1.0], reach=0.2)

    def test_a_control_is_recovered(self) -> None:
        draw = np.random.default_rng(3)
        offsets = draw.normal(12, 8, 300)
        found, seen = recovered(list(offsets), list(draw.normal(92, 8, 30)), shift=80, within=10)
        assert found
        assert seen == pytest.approx(80, abs=5)

    @pytest.mark.parametrize("shift", [0.0, 40.0, -80.0, 120.0])
    def test_an_instrument_that_shows_something_else_is_caught(self, shift: float) -> None:
        draw = np.random.default_rng(4)
        found, _ = recovered(list(draw.normal(0, 8, 300)), list(draw.normal(shift, 8, 30)), shift=80, within=10)
        assert not found

    def test_without_a_control_nothing_is_recovered(self) -> None:
        with pytest.raises(NotMeasured):
            recovered([1.0], [], shift=80, within=10)
