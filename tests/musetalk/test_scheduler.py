"""The policy in virtual time: deadlines, first pictures, overload, fairness, tiers, admission. No torch, no thread."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar.musetalk.admission import HALF_SHARE, RETRY_VRAM_S, Admission, Crowding, Vram
from avatar.musetalk.scheduler import OPENING_JOBS, Request, Scheduler, Speeds
from avatar.musetalk.tiers import CALM_S, REVIEW_S, Tier, Tiers
from benchmarks.capacity import DEVICES, conversations, summary
from benchmarks.capacity_talker import ENDLESS, TICK_S, Manner, Talker
from benchmarks.capacity_world import Device, World

pytestmark = pytest.mark.unit

CARD = Speeds({1: 0.010, 2: 0.011, 4: 0.014, 8: 0.020, 16: 0.032})

requests = st.lists(st.builds(Request, st.integers(0, 9), st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60)


def waiting(these: list[Request]) -> Scheduler[Request]:
    scheduler: Scheduler[Request] = Scheduler(CARD)
    for request in these:
        scheduler.add(request)
    return scheduler


@given(requests)
def test_each_request_is_served_once_in_batches_of_the_sizes_there_are(these: list[Request]) -> None:
    scheduler, served, now = waiting(these), [], 0.0
    while (due := scheduler.due_s(now)) is not None:
        now = max(now, due)
        batch = scheduler.pick(now)
        assert 1 <= len(batch) <= CARD.largest
        served += batch
    assert len(served) == len(these)
    assert set(served) == set(these)


@given(requests)
def test_the_earliest_deadline_goes_first_whoever_asked(these: list[Request]) -> None:
    for request in these:
        request.opening = False
        request.deadline_s += 0.3  # all can be in time
    scheduler = waiting(these)
    batch = scheduler.pick(0.0)
    left = [request.deadline_s for request in these if request not in batch]
    assert max(request.deadline_s for request in batch) <= min(left, default=2.0)


@given(requests, st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_first_pictures_make_no_other_late(others: list[Request], firsts: list[float]) -> None:
    """Served with openings among them, whatever could have been in time without them is in time, or they waited."""
    for request in others:
        request.opening = False
        request.deadline_s += 0.2  # all can be in time: 60 take 0.13 s
    scheduler = waiting([*others, *(Request(10 + n, at, opening=True) for n, at in enumerate(firsts))])
    end_s = 0.0
    while len(scheduler):
        batch = scheduler.pick(end_s)
        end_s += CARD.time_s(len(batch))
        assert all(end_s <= request.deadline_s + 1e-9 for request in batch if not request.opening)


def test_first_pictures_go_in_a_small_batch_at_once() -> None:
    scheduler = waiting([Request(n, 0.2) for n in range(12)] + [Request(20, 0.12, opening=True)])
    assert [request.session for request in scheduler.pick(0.0)] == [20]
    crowd = waiting([Request(n, 0.5, opening=True) for n in range(9)])
    assert len(crowd.pick(0.0)) == OPENING_JOBS


def test_first_pictures_fill_up_with_others_where_alone_they_would_make_them_late() -> None:
    scheduler = waiting([Request(n, 0.034) for n in range(12)] + [Request(20, 0.2, opening=True)])
    batch = scheduler.pick(0.0)
    assert batch[0].session == 20
    assert len(batch) == 13


def test_what_is_late_anyway_yields_and_is_served_when_nothing_else_waits() -> None:
    scheduler = waiting([Request(0, -1.0), Request(1, 0.1)])
    assert [request.session for request in scheduler.pick(0.0)] == [1]
    assert [request.session for request in scheduler.pick(0.02)] == [0]
    assert scheduler.due_s(1.0) is None


def test_the_next_batch_is_chosen_just_before_the_device_is_free() -> None:
    scheduler = waiting([Request(n, 0.5) for n in range(20)])
    assert scheduler.due_s(0.0) == 0.0
    assert len(scheduler.pick(0.0)) == 16
    assert scheduler.due_s(0.001) == pytest.approx(CARD.batch_s[16] - 0.003)
    scheduler.freed(0.050, behind_s=0.01, busy=True)
    assert scheduler.due_s(0.050) == 0.050
    scheduler.freed(0.050)
    assert scheduler.due_s(0.050) == 0.050


def test_dropped_requests_and_those_who_leave_cost_nothing() -> None:
    these = [Request(n % 2, 0.5) for n in range(6)]
    scheduler = waiting(these)
    assert scheduler.drop(these[0])
    assert not scheduler.drop(these[0])
    assert scheduler.leave(1) == these[1::2]
    assert set(scheduler.pick(0.0)) == {these[2], these[4]}


@pytest.mark.parametrize("wrong", [{}, {0: 0.1}, {4: 0.1, 2: 0.1}, {1: 0.0}])
def test_speeds_that_cannot_be_are_refused(wrong: dict[int, float]) -> None:
    with pytest.raises(ValueError):
        Speeds(wrong)


def test_a_batch_is_as_long_as_its_size_and_its_encoding() -> None:
    speeds = Speeds({1: 0.01, 4: 0.02}, encode_s=0.001)
    assert speeds.time_s(3) == pytest.approx(0.023)
    assert speeds.time_s(9) == pytest.approx(2 * 0.02 + 0.01 + 0.009)
    assert speeds.fps == pytest.approx(4 / 0.024)


# -- whole conversations, on a device of stated times


def talkers(count: int, seconds: float, *, tiers: bool = False, speeds: Speeds = CARD) -> list[Talker]:
    world = World(Device("stated", Speeds(speeds.batch_s, deliver_s=0.008), "stated in this test"), 1, tiers=tiers)
    speaking = [Talker(world, n, ENDLESS, world.chance.random() * TICK_S, talks_at_once=True) for n in range(count)]
    world.run(seconds)
    return speaking


def test_nobody_is_late_up_to_nine_tenths_of_the_rate() -> None:
    fits = int(0.9 * CARD.fps / 25)
    assert sum(talker.seen.late for talker in talkers(fits, 10.0)) == 0


@pytest.mark.parametrize("over", [1.05, 1.2, 1.5])
def test_overload_costs_little_more_than_what_is_too_much_and_is_shared(over: float) -> None:
    speaking = talkers(round(over * CARD.fps / 25), 20.0)
    pictures, late = (sum(getattr(talker.seen, what) for talker in speaking) for what in ("pictures", "late"))
    too_much = 1 - CARD.fps * 20.0 / pictures
    assert too_much <= late / pictures <= too_much + 0.04
    lateness = [talker.seen.lateness_ms for talker in speaking]
    assert max(lateness) <= 1.5 * statistics.median(lateness)


def test_tiers_end_an_overload_and_lips_return_when_it_is_over() -> None:
    speaking = talkers(round(1.5 * CARD.fps / 25), 20.0, tiers=True)
    worst = max(talker.seen.late for talker in speaking)
    ticks = [sum(talker.seen.tier_ticks[tier] for talker in speaking) for tier in Tier]
    assert worst < 25, "at most a second's worth, at the beginning"
    assert ticks[Tier.HALF] > 0
    assert ticks[Tier.IDLE] == 0, "all fit at 12.5 lips a second, so nobody may have none"


def test_who_pauses_asks_for_nothing() -> None:
    world = World(Device("stated", CARD, "stated in this test"))
    Talker(world, 1, Manner(1.0, 0.0, (1.0, 1.0), 50.0, 0.0, (50.0, 50.0)), 0.0, talks_at_once=True)
    world.run(40.0)
    assert world.pictures == 25 + 3  # an utterance of a second, and the mouth that eases shut


def test_fifty_conversations_are_let_in_at_the_stated_speed_and_no_picture_is_late() -> None:
    """Utterances and pauses as `Manner` states them; where more talk at once than fit, some have lips at 12.5."""
    world, all_of = conversations(DEVICES["H200 goal"], 50, 100.0)
    seen = summary(world, all_of, 100.0)
    assert seen["conversations"] == 50
    assert seen["late"] == 0
    assert seen["pictures"] > 30_000
    assert 0 < seen["half_rate_share"] <= HALF_SHARE
    assert seen["without_lips_share"] == 0


# -- tiers


def speak(tiers: Tiers, sessions: range, begin_s: float, seconds: float, late: float) -> dict[int, Tier]:
    """All of them speak for so long, with this share of late pictures at each tier above idle."""
    changed: dict[int, Tier] = {}
    for n in range(round(seconds * 25)):
        now = begin_s + n * TICK_S
        for session in sessions:
            tiers.spoke(session, now)
            if tiers.tier(session) < Tier.IDLE:
                tiers.shown(session, n % 100 < 100 * late, now)
        changed |= tiers.review(now)
    return changed


def test_a_late_picture_now_and_then_changes_nothing() -> None:
    tiers = Tiers(600)
    tiers.join(1)
    assert speak(tiers, range(1, 2), 0.0, 20.0, 0.01) == {}


def test_everybody_has_half_before_anybody_has_none_and_it_ends_at_idle() -> None:
    tiers, all_of = Tiers(100), range(6)
    for session in all_of:
        tiers.join(session)
    seen = []
    for n in range(40):
        speak(tiers, all_of, n * REVIEW_S, REVIEW_S, 1.0)
        now = [tiers.tier(session) for session in all_of]
        assert max(now) - min(now) <= 1
        seen.append(max(now))
    assert seen[-1] is Tier.IDLE
    assert seen == sorted(seen)


def test_up_only_after_calm_one_at_a_time_and_where_there_is_room() -> None:
    tiers, all_of = Tiers(100), range(4)
    for session in all_of:
        tiers.join(session)
    speak(tiers, all_of, 0.0, 1.6, 1.0)
    assert {tiers.tier(session) for session in all_of} != {Tier.FULL}
    calm = [sum(tiers.tier(session) for session in all_of)]
    for n in range(40):
        speak(tiers, all_of, 1.6 + n * REVIEW_S, REVIEW_S, 0.0)
        calm.append(sum(tiers.tier(session) for session in all_of))
    assert calm[round(CALM_S / REVIEW_S) - 3] == calm[0], "not before it has been calm"
    assert all(before - after in (0, 1) for before, after in itertools.pairwise(calm))
    assert tiers.demand_hz(21.0) <= 93.0
    assert calm[-1] == 1, "93 of 100 are room for three at 25 and one at 12.5"


def test_rising_too_early_makes_the_next_rise_later() -> None:
    """A device that is in truth half as fast as was measured."""
    tiers, rises = Tiers(1000), []
    tiers.join(1)
    now, before = 0.0, Tier.FULL
    while now < 120.0:
        speak(tiers, range(1, 2), now, REVIEW_S, 1.0 if tiers.tier(1) is Tier.FULL else 0.0)
        now += REVIEW_S
        if tiers.tier(1) < before and tiers.tier(1) is Tier.FULL:
            rises.append(now)
        before = tiers.tier(1)
    waits = [later - earlier for earlier, later in itertools.pairwise(rises)]
    assert len(waits) >= 2
    assert waits == sorted(waits)
    assert waits[-1] > 3 * waits[0]


def test_more_talkers_than_the_device_serves_step_down_before_anything_is_late_and_up_again() -> None:
    tiers = Tiers(100)
    for session in range(5):
        tiers.join(session)
    assert len(speak(tiers, range(3), 0.0, 2.0, 0.0)) == 0
    speak(tiers, range(5), 2.0, 1.0, 0.0)
    assert sorted(tiers.tier(session) for session in range(5)) == [Tier.FULL] * 2 + [Tier.HALF] * 3
    assert tiers.demand_hz(3.0) <= 95
    speak(tiers, range(2), 3.0, 4.0, 0.0)
    assert {tiers.tier(session) for session in range(5)} == {Tier.FULL}


def test_who_begins_in_a_crowd_has_half_from_the_first_picture_and_nobody_else_is_touched() -> None:
    tiers = Tiers(100)
    for session in range(4):
        tiers.join(session)
    assert speak(tiers, range(3), 0.0, 1.0, 0.0) == {}
    tiers.spoke(3, 1.0)
    assert tiers.review(1.0) == {3: Tier.HALF}, "at once, not at the next look back"
    speak(tiers, range(3, 4), 1.04, 1.0, 0.0)
    assert tiers.tier(3) is Tier.FULL, "the others have stopped"


def test_who_steps_down_for_one_who_begins_is_who_has_done_so_least() -> None:
    tiers = Tiers(100)
    for session in range(5):
        tiers.join(session)
    speak(tiers, range(1, 4), 0.0, 1.0, 0.0)
    assert speak(tiers, range(4), 1.0, 1.0, 0.0) == {0: Tier.HALF}
    assert speak(tiers, range(3), 10.0, 1.0, 0.0) == {0: Tier.FULL}
    tiers.spoke(3, 11.0)
    tiers.spoke(4, 11.0)
    assert tiers.review(11.0) == {3: Tier.HALF, 4: Tier.HALF, 1: Tier.HALF}


def test_after_late_pictures_who_begins_waits_for_the_calm_too() -> None:
    tiers = Tiers(1000)
    tiers.join(1)
    speak(tiers, range(1, 2), 0.0, 1.0, 1.0)
    assert tiers.tier(1) > Tier.FULL
    low = tiers.tier(1)
    tiers.spoke(1, 2.0)  # after a second's pause
    assert tiers.review(2.0) == {}
    assert tiers.tier(1) is low


# -- admission


def test_crowding_is_what_chance_makes_of_it() -> None:
    """Talking half of the time each. Two on a device for one: half of the speech is when both talk, at half the rate.
    Three: when all do, one of them has no lips."""
    assert Crowding.of([0.5], 25) == Crowding(0.0, 0.0)
    assert Crowding.of([0.5] * 2, 25) == Crowding(0.5, 0.0)
    three = Crowding.of([0.5] * 3, 25)
    assert three.half == pytest.approx((3 / 8 * 2 + 1 / 8 * 2) / 1.5)
    assert three.none == pytest.approx(1 / 8 / 1.5)
    assert Crowding.of([], 25) == Crowding(0.0, 0.0)
    assert Crowding.of([0.0, 0.0], 25) == Crowding(0.0, 0.0)


@given(st.lists(st.floats(0.0, 1.0), max_size=30), st.floats(0.05, 1.0), st.floats(30.0, 700.0))
def test_one_more_conversation_never_lessens_the_crowding(shares: list[float], more: float, rate_hz: float) -> None:
    before, after = Crowding.of(shares, rate_hz), Crowding.of([*shares, more], rate_hz)
    assert after.half + after.none >= before.half + before.none - 1e-9
    assert after.none >= before.none - 1e-9


def test_admission_is_by_pictures_a_second() -> None:
    admission, strict = Admission(590), Admission(590, strict=True)
    for policy, most in ((admission, 41), (strict, 21)):
        session = 0
        while policy.refusal(0.0) is None:
            policy.join(session, 0.0)
            session += 1
        assert session == most
    assert "590 pictures a second, of which 531 may be promised; 21 and one more need 550" in str(strict.refusal(0.0))
    refusal = admission.refusal(0.0)
    assert refusal is not None
    assert "590 pictures a second, of which 496 may be promised; with 41 conversations and one more" in str(refusal)
    assert "of the speech would have lips at 12.5 a second, and at most 20% may" in str(refusal)
    assert "try again in 20 s" in str(refusal)
    admission.leave(0, 0.0)
    assert admission.refusal(0.0) is None


def test_who_talks_little_makes_room_and_who_talks_always_takes_it() -> None:
    quiet, busy = Admission(590), Admission(590)
    for session in range(25):
        for policy in (quiet, busy):
            policy.join(session, 0.0)
        quiet.talked(session, 0.2 * 300)
        busy.talked(session, 300.0)
    assert sum(quiet.shares(300.0)) < 6 < 24 < sum(busy.shares(300.0)) <= 25
    assert quiet.refusal(300.0) is None
    assert busy.refusal(300.0) is not None


def test_what_conversations_did_is_expected_of_the_next_and_slowly_forgotten() -> None:
    admission = Admission(590)
    assert list(admission.shares(0.0, more=1)) == [0.5]
    for session in range(40):
        admission.join(session, 0.0)
        admission.talked(session, 0.2 * 60)
    (expected,) = admission.shares(60.0, more=1)[40:]
    assert 0.2 < expected < 0.3
    for session in range(40):
        admission.leave(session, 60.0)
    assert list(admission.shares(60.0, more=1)) == [pytest.approx(expected)], "those who left are remembered"
    for session in range(200):
        admission.join(session, 100.0)
        admission.talked(session, 60.0)
        admission.leave(session, 160.0)
    assert admission.shares(160.0, more=1)[0] > 0.9


def test_on_a_small_card_nobody_is_let_in_who_would_take_all_lips_from_somebody() -> None:
    admission = Admission(16)
    assert admission.refusal(0.0) is None, "who is alone has lips at 12.5"
    admission.join(0, 0.0)
    refusal = admission.refusal(0.0)
    assert refusal is not None
    assert "of the speech would have no lips" in str(refusal)


def test_admission_is_refused_where_memory_is_short() -> None:
    refusal = Admission(590).refusal(0.0, Vram(int(0.81 * 2**37), 2**37))
    assert refusal is not None
    assert refusal.reason.startswith("the GPU's memory is 81% full")
    assert refusal.retry_after_s == RETRY_VRAM_S
    assert Admission(590).refusal(0.0, Vram(int(0.79 * 2**37), 2**37)) is None
