"""One more conversation, or not: by the stated limit, by late ticks, by the processors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agent.capacity import PROMISE_S, Capacity

pytestmark = pytest.mark.unit


@dataclass
class Machine:
    """Its clock, the processor time it has given us, and the ticks it was in time for."""

    now: float = 0.0
    used_s: float = 0.0
    ticks: int = 0
    late: int = 0

    def capacity(self, limit: int = 4, *, measured: bool = True) -> Capacity:
        return Capacity(
            limit,
            2.0,
            lambda: (self.ticks, self.late),
            measured=measured,
            clock=lambda: self.now,
            used=lambda: self.used_s,
        )

    def run(self, capacity: Capacity, seconds: float, *, cores: float = 0.1, late_share: float = 0.0) -> None:
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.used_s += cores / 2
            ticks = capacity.open * 12
            self.ticks += ticks
            self.late += round(ticks * late_share)
            capacity.measure()


def test_the_stated_limit_holds_for_promises_and_conversations_alike() -> None:
    capacity = Machine().capacity(2)
    assert capacity.promise("one") is None
    capacity.begin("one")
    assert capacity.promise("two") is None
    refusal = capacity.promise("three")
    assert refusal is not None
    assert "MIEN_MAX_SESSIONS" in refusal
    assert capacity.load() == 1.0
    capacity.end("one")
    assert capacity.promise("three") is None


def test_a_promise_that_nobody_takes_up_is_forgotten() -> None:
    machine = Machine()
    capacity = machine.capacity(1)
    assert capacity.promise("one") is None
    machine.now += PROMISE_S + 1
    assert capacity.promise("two") is None


def test_late_ticks_close_the_door_until_they_come_in_time_again() -> None:
    machine = Machine()
    capacity = machine.capacity()
    capacity.begin("one")
    machine.run(capacity, 6)
    assert capacity.promise("two") is None
    capacity.end("two")
    machine.run(capacity, 6, late_share=0.1)
    refusal = capacity.promise("two")
    assert refusal is not None
    assert "came late" in refusal
    assert capacity.load() == 1.0
    machine.run(capacity, 6)
    assert capacity.promise("two") is None


def test_processors_that_are_almost_used_up_close_the_door() -> None:
    machine = Machine()
    capacity = machine.capacity()
    for job in ("one", "two"):
        capacity.begin(job)
    machine.run(capacity, 6, cores=1.1)
    assert capacity.load() == pytest.approx(1.1 / 1.8, abs=0.02)
    assert capacity.promise("three") is None
    machine.run(capacity, 6, cores=1.5)
    assert "processors" in (capacity.promise("four") or "")


def test_who_disturbs_nobody_is_let_in() -> None:
    machine = Machine()
    capacity = machine.capacity()
    capacity.begin("one")
    machine.run(capacity, 6, cores=1.9, late_share=0.5)
    capacity.end("one")
    assert capacity.promise("two") is None


def test_only_the_stated_limit_counts_if_that_is_asked_for() -> None:
    machine = Machine()
    capacity = machine.capacity(measured=False)
    capacity.begin("one")
    machine.run(capacity, 6, cores=1.9, late_share=0.5)
    assert capacity.promise("two") is None
    assert capacity.load() == 0.5
