"""The soak's memory slope: what is put in is found, what is only warming up is not taken for it."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.measure import NotMeasured
from benchmarks.streammemory import WARM_UP_S, growth

pytestmark = pytest.mark.unit


def hour(leak_mb_an_hour: float, *, warming_mb: float = 40.0, noise_mb: float = 1.0) -> list[tuple[float, float]]:
    """An hour of samples: a start that settles within minutes, a leak, noise that lasts for some samples, and now and
    then a burst."""
    chance = random.Random(7)
    samples, noise = [], 0.0
    for at_s in range(0, 3600, 2):
        noise = 0.9 * noise + chance.gauss(0, noise_mb * 0.4)
        burst = 25.0 if chance.random() < 0.02 else 0.0
        settled = warming_mb * (1 - math.exp(-at_s / 120))
        samples.append((float(at_s), 220 + settled + leak_mb_an_hour * at_s / 3600 + noise + burst))
    return samples


@pytest.mark.parametrize("leak", [0.0, 5.0, 10.0, 60.0])
def test_a_leak_of_known_slope_is_found_behind_the_warm_up(leak: float) -> None:
    found = growth(hour(leak), warm_up_s=WARM_UP_S)
    assert found.n == 50
    assert found.slope == pytest.approx(leak, abs=1.0)
    assert found.high - found.low < 3.0


def test_without_leaving_it_out_the_warm_up_would_be_taken_for_a_leak() -> None:
    assert growth(hour(0.0, warming_mb=80.0), warm_up_s=0.0).slope > 10
    assert abs(growth(hour(0.0, warming_mb=80.0), warm_up_s=WARM_UP_S).slope) < 1


def test_too_short_a_run_says_so() -> None:
    with pytest.raises(NotMeasured, match="warm-up of 600 s"):
        growth(hour(0.0)[:540], warm_up_s=WARM_UP_S)
