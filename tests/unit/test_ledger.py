"""How much of a segment was heard: sent, cut in mid-word, taken back on a pause, and never a sample more or less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES
from avatar.ledger import LEDGER_TICKS, Finished, Ledger
from avatar.segment import RECENT_TICKS, Segment

pytestmark = pytest.mark.unit


class Clock:
    """Ticks of a playout, without the playout."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.tick = 0

    @property
    def released(self) -> int:
        """Samples on the media time line so far."""
        return self.tick * TICK_SAMPLES

    def speak(self, segment: Segment, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.ledger.speech(segment, self.tick, segment.take_tick().size)
            self.tick += 1

    def rest(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.ledger.silence()
            self.tick += 1


def segment(number: int, samples: int, *, ended: bool = True) -> Segment:
    made = Segment(number)
    made.push(np.arange(samples).astype(np.int16), 0.0, 0, TICK_SAMPLES)
    if ended:
        made.end(0.0, 0)
    return made


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE_HZ


def test_a_released_segment_ends_when_its_last_sample_was_sent() -> None:
    clock, said = Clock(), segment(3, TICK_SAMPLES + 100)
    clock.rest(5)
    clock.speak(said, 2)
    clock.ledger.released(said)
    last = 6 * TICK_SAMPLES + 100
    assert list(clock.ledger.settle(last - 1)) == []
    assert list(clock.ledger.settle(last)) == [Finished(3, seconds(TICK_SAMPLES + 100), False)]
    assert list(clock.ledger.settle(last + TICK_SAMPLES)) == [], "once"


def test_segments_end_in_order_and_each_at_its_own_sample() -> None:
    clock = Clock()
    for number in range(3):
        said = segment(number, 2 * TICK_SAMPLES)
        clock.speak(said, 2)
        clock.ledger.released(said)
    assert [event.segment for event in clock.ledger.settle(4 * TICK_SAMPLES)] == [0, 1]
    assert [event.segment for event in clock.ledger.settle(6 * TICK_SAMPLES)] == [2]


def test_whoever_is_told_of_an_end_may_cut_the_rest() -> None:
    clock = Clock()
    for number in range(2):
        said = segment(number, TICK_SAMPLES)
        clock.speak(said)
        clock.ledger.released(said)
    ends = []
    for event in clock.ledger.settle(2 * TICK_SAMPLES):
        ends.append(event)
        ends += clock.ledger.cut([], 0)
    assert [event.segment for event in ends] == [0, 1]


@given(ticks=st.integers(1, 20), unsent=st.integers(0, 12 * TICK_SAMPLES), rest=st.integers(0, 3))
def test_what_was_not_sent_of_a_cut_segment_was_not_heard(ticks: int, unsent: int, rest: int) -> None:
    clock, said = Clock(), segment(0, 30 * TICK_SAMPLES, ended=False)
    clock.rest(15)
    clock.speak(said, ticks)
    clock.rest(rest)
    unsent = min(unsent, clock.released)
    [event] = clock.ledger.cut([said], unsent)
    heard = min(ticks * TICK_SAMPLES, max(0, ticks * TICK_SAMPLES + rest * TICK_SAMPLES - unsent))
    assert event == Finished(0, seconds(heard), True)


def test_a_cut_over_two_segments_and_the_silence_between_them() -> None:
    """Not sent: one tick of the second, the silence that filled up the last of the first, and 30 samples before it."""
    clock, first, second = Clock(), segment(0, TICK_SAMPLES + 100), segment(1, 5 * TICK_SAMPLES)
    waiting = segment(2, TICK_SAMPLES)
    clock.speak(first, 2)
    clock.ledger.released(first)
    clock.speak(second)
    unsent = TICK_SAMPLES + (TICK_SAMPLES - 100) + 30
    assert clock.ledger.cut([second, waiting], unsent) == [
        Finished(0, seconds(TICK_SAMPLES + 70), True),
        Finished(1, 0.0, True),
        Finished(2, 0.0, True),
    ]
    assert not clock.ledger.speaking


def test_a_segment_that_was_heard_to_its_end_is_not_interrupted_by_a_cut() -> None:
    clock, said = Clock(), segment(0, 2 * TICK_SAMPLES)
    clock.speak(said, 2)
    clock.rest()
    clock.ledger.released(said)
    assert clock.ledger.cut([], TICK_SAMPLES) == [Finished(0, seconds(2 * TICK_SAMPLES), False)]


def test_an_open_segment_is_interrupted_even_if_all_of_it_was_heard() -> None:
    clock, said = Clock(), segment(0, TICK_SAMPLES, ended=False)
    clock.speak(said)
    assert clock.ledger.cut([said], 0) == [Finished(0, seconds(TICK_SAMPLES), True)]


@given(spoken=st.integers(1, 20), unsent=st.integers(1, 6 * TICK_SAMPLES))
def test_a_pause_gives_back_whole_ticks_and_they_are_said_again(spoken: int, unsent: int) -> None:
    clock, said = Clock(), segment(0, 30 * TICK_SAMPLES)
    clock.rest(10)
    clock.speak(said, spoken)
    clock.ledger.take_back(said, unsent)
    kept = max(0, spoken - -(-unsent // TICK_SAMPLES))
    assert said.taken == kept * TICK_SAMPLES
    assert said.peek(1).tolist() == np.array([kept * TICK_SAMPLES]).astype(np.int16).tolist()
    assert not clock.ledger.speaking
    # What was taken back counts as heard no more, and not as missing either.
    [event] = clock.ledger.cut([said], unsent)
    assert event.position_s == seconds(kept * TICK_SAMPLES)


def test_only_the_segments_own_last_ticks_are_given_back() -> None:
    clock, first, second = Clock(), segment(0, TICK_SAMPLES), segment(1, 5 * TICK_SAMPLES)
    clock.speak(first)
    clock.ledger.released(first)
    clock.speak(second, 2)
    clock.ledger.take_back(second, RECENT_TICKS * TICK_SAMPLES)
    assert (first.taken, second.taken) == (TICK_SAMPLES, 0)
    clock.ledger.take_back(second, TICK_SAMPLES)
    assert first.taken == TICK_SAMPLES


def test_who_spoke_last() -> None:
    clock, said, other = Clock(), segment(0, 3 * TICK_SAMPLES), segment(1, TICK_SAMPLES)
    assert not clock.ledger.speaking
    clock.speak(said)
    assert clock.ledger.speaking
    assert clock.ledger.spoke_last(said)
    assert not clock.ledger.spoke_last(other)
    clock.rest()
    assert not clock.ledger.speaking
    assert not clock.ledger.spoke_last(said)


def test_a_sink_that_is_stuck_for_longer_than_is_remembered_costs_no_more_than_that() -> None:
    clock, said = Clock(), segment(0, 200 * TICK_SAMPLES)
    clock.speak(said, 100)
    [event] = clock.ledger.cut([said], 90 * TICK_SAMPLES)
    assert event.position_s == seconds((100 - LEDGER_TICKS) * TICK_SAMPLES)
