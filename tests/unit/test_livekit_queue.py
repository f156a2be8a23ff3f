"""What is reckoned of livekit's queue of sound, against a double of that queue, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from rooms.livekit_queue import SoundQueue

pytestmark = pytest.mark.unit

STEP_MS, TICK_MS = 10, 40
CUSHION_MS, SLACK_MS, THRESHOLD_MS = 20, 10, 70
Delay = Callable[[], int]


def never() -> int:
    return 0


@dataclass
class Native:
    """The queue as libwebrtc has it: 10 ms are sent every 10 ms, and a piece is told of when no more than the threshold
    is held."""

    threshold_ms: int = THRESHOLD_MS
    held_ms: int = 0
    waiting: bool = False
    told: bool = False

    def insert(self, piece_ms: int) -> None:
        self.held_ms += piece_ms
        self.waiting = True
        self._tell()

    def step(self) -> None:
        if self.held_ms >= STEP_MS:
            self.held_ms -= STEP_MS
        self._tell()

    def _tell(self) -> None:
        if self.waiting and self.held_ms <= self.threshold_ms:
            self.waiting, self.told = False, True


@dataclass
class Feeding:
    """A writer as the sink is one: a tick of sound every 40 ms, handed over when the queue holds a cushion.

    Args:
        taken: how many ms after it was handed over a piece is in the queue.
        word: how many ms after it was said the queue's word is heard.
        listens: whether the reckoning is told.
    """

    taken: Delay = never
    word: Delay = never
    listens: bool = True
    native: Native = field(default_factory=Native)
    queue: SoundQueue = field(default_factory=lambda: SoundQueue(THRESHOLD_MS / 1000))
    now_ms: int = 0
    off_ms: list[int] = field(default_factory=list)
    """Of each tick: how much more the queue holds than is reckoned."""
    _ticks: int = 0
    _busy: bool = False
    _insert_at: int | None = None
    _hear_at: int | None = None

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.now_ms += 1
            if self.now_ms % STEP_MS == 3:
                self.native.step()
            self._ticks += self.now_ms % TICK_MS == 0
            if self.now_ms == self._insert_at:
                self.native.insert(TICK_MS)
                self.off_ms.append(self.native.held_ms - round(self.queue.empty_at * 1000 - self.now_ms))
            if self.native.told:
                self.native.told = False
                self._hear_at = self.now_ms + self.word()
            if self.now_ms == self._hear_at:
                if self.listens:
                    self.queue.taken(self.now_ms / 1000)
                self._busy = False
            lead_ms = self.queue.empty_at * 1000 - self.now_ms
            # Half a ms of slack: the sink compares floats too.
            if self._ticks and not self._busy and lead_ms <= CUSHION_MS + SLACK_MS + 0.5:
                self._ticks -= 1
                self._busy = True
                self.queue.give(self.now_ms / 1000, TICK_MS / 1000)
                self._insert_at = self.now_ms + self.taken() + 1


def test_undisturbed_the_clock_tells_to_ten_ms() -> None:
    feeding = Feeding()
    feeding.run(20_000)
    assert max(map(abs, feeding.off_ms)) <= STEP_MS


def test_silence_in_place_of_a_piece_that_was_taken_late_is_noticed() -> None:
    def stalled() -> Feeding:
        late = iter([0] * 50 + [250])
        return Feeding(taken=lambda: next(late, 0))

    feeding = stalled()
    feeding.run(10_000)
    assert max(feeding.off_ms) >= 200
    assert max(map(abs, feeding.off_ms[-25:])) <= STEP_MS

    deaf = stalled()
    deaf.listens = False
    deaf.native.threshold_ms = 400
    deaf.run(10_000)
    assert min(deaf.off_ms[-25:]) >= 30, "the control: without the queue's word it stays so"


@pytest.mark.parametrize("seed", range(3))
def test_on_a_busy_machine_it_does_not_run_away(seed: int) -> None:
    def busy() -> Feeding:
        chance = random.Random(seed)
        return Feeding(
            taken=lambda: chance.randint(15, 60) if chance.random() < 0.05 else 0,
            word=lambda: chance.randint(0, 15),
        )

    feeding = busy()
    feeding.run(60_000)
    settled = sorted(map(abs, feeding.off_ms[100:]))
    assert settled[len(settled) * 95 // 100] <= TICK_MS


def test_what_was_cleared_says_nothing() -> None:
    queue = SoundQueue(THRESHOLD_MS / 1000)
    queue.give(1.0, 0.04)
    queue.clear(1.01)
    for _ in range(50):
        queue.taken(5.0)
    assert queue.empty_at == 1.01
    assert queue.give(1.02, 0.04) == 1.02
