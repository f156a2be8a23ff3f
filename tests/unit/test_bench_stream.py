"""The judging of a stream's long run, on runs whose answer is known, and on broken ones that must not pass."""

from __future__ import annotations

import numpy as np
import pytest

from avatar.frames import SAMPLE_RATE_HZ
from benchmarks.rtmpreader import Got, Reader, joined
from benchmarks.streamrun import Down, clock_ms, compare, gaps_beyond_ms, misplaced
from benchmarks.streamtones import Tone, heard, tone, tones

pytestmark = pytest.mark.unit


def said(*numbers: int) -> list[Tone]:
    """One every two seconds."""
    return [Tone(number, place * 2000.0, place * 2000.0 + 1000) for place, number in enumerate(numbers)]


def seen(first_ms: float, last_ms: float, *, clock_s: float = 0.0) -> Reader:
    """A visit of 25 pictures a second, each there as soon as it is due by a clock that is ahead by so much."""
    times = np.arange(first_ms, last_ms + 1, 40)
    packets = [Got("video", float(each), False, float(each) / 1000 + clock_s) for each in times]
    return Reader("nowhere", packets=packets)


def test_tones_are_told_apart_with_their_times_and_parts_of_them_are_not_taken_for_others() -> None:
    sound = np.asarray(np.concatenate([tone(3), tone(49), tone(0)[: tone(0).size // 4]]) / 32768, np.float32)
    found = tones(sound, 5000)
    assert [each.number for each in found] == heard(sound) == [3, 49, -1]
    assert [each.start_ms for each in found[:2]] == pytest.approx([5100, 6300], abs=25)
    assert [each.end_ms for each in found[:2]] == pytest.approx([6100, 7300], abs=25)


def test_times_in_whole_milliseconds_cost_no_tone_and_a_gap_stays_one() -> None:
    sound = np.asarray(np.concatenate([tone(number) for number in range(50)]) / 32768, np.float32)
    starts = range(0, sound.size // 1024 * 1024, 1024)
    pieces = [(float(round(at * 1000 / SAMPLE_RATE_HZ)), sound[at : at + 1024]) for at in starts]
    assert heard(joined(pieces)[1]) == list(range(50))
    first_ms, whole = joined([pieces[0], *pieces[10:]])
    assert first_ms == 0
    assert not whole[1024 : 9 * 1024].any()
    assert whole.size == pytest.approx(sound.size, abs=1024 + 96)


@pytest.mark.parametrize(
    ("order", "wrong"),
    [([0, 1, 2, 3], 0), ([0, 1, 1, 2, 3], 3), ([0, 2, 1, 3], 2), ([0, 1, 2], 1), ([], 4), ([0, -1, 2, 3], 1)],
    ids=["as it should be", "one twice", "two exchanged", "one lost", "nothing", "one that is none of ours"],
)
def test_each_message_counts_once_and_in_its_place(order: list[int], wrong: int) -> None:
    assert misplaced(order, 4) == wrong


def test_a_client_is_asked_only_for_what_it_could_hear_whole() -> None:
    recording = said(0, 1, 2, 3)
    # It came within message 0 and left within message 3.
    assert compare(recording, recording[1:3], (500, 6500)) == (0, 0, 2)
    parts = [Tone(-1, 500, 1000), *recording[1:3], Tone(-1, 6000, 6500)]
    assert compare(recording, parts, (500, 6500)) == (0, 0, 2)


def test_what_a_client_missed_or_heard_beside_it_is_counted() -> None:
    recording = said(0, 1, 2, 3)
    assert compare(recording, recording[:2], (-500, 7500))[0] == 2
    assert compare(recording, [*recording, Tone(1, 5200, 5900)], (-500, 7500))[1] == 1
    late = [Tone(each.number, each.start_ms + 300, each.end_ms + 300) for each in recording]
    assert compare(recording, late, (-500, 9500))[:2] == (4, 4)


def test_a_gap_counts_beyond_the_servers_own_down_time() -> None:
    visits = [seen(0, 10_000), seen(15_000, 20_000), seen(24_500, 30_000)]
    assert gaps_beyond_ms(visits, [Down(10.0, 14.0), Down(20.0, 24.0)]) == pytest.approx([1000, 500])


def test_media_time_that_stood_still_during_a_restart_is_seen_against_the_clock() -> None:
    assert clock_ms(seen(15_000, 20_000, clock_s=0.1)) - clock_ms(seen(0, 10_000)) == pytest.approx(100)
