"""Conversations of tests over an engine double: ask for pictures, take the answers, know what they must be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from avatar.frames import Planes
from avatar.musetalk.engine import Engine, Session
from avatar.musetalk.guests import Outcome
from avatar.musetalk.jobs import Job
from tests.conformance.conftest import babble
from tests.doubles.engine import CoreDouble, StreamDouble, engine_over, mouth_of, person

SPEECH = babble(2.0)
PATIENCE_S = 20.0
"""How long an answer that must come may take on a busy machine."""


class Mailbox:
    """Answers by (session, n)."""

    def __init__(self) -> None:
        self.came: SimpleQueue[tuple[int, int, Outcome]] = SimpleQueue()

    def ask(self, session: Session, n: int, *, within_s: float = 1.0, **options: Any) -> None:
        due_s = time.monotonic() + within_s
        session.ask(1, n, n % 6, due_s, lambda out: self.came.put((session.number, n, out)), **options)

    def answers(self, count: int) -> dict[tuple[int, int], Outcome]:
        out = {}
        for _ in range(count):
            number, n, outcome = self.came.get(timeout=PATIENCE_S)
            out[number, n] = outcome
        return out

    def nothing(self) -> bool:
        try:
            self.came.get(timeout=0.1)
        except Empty:
            return True
        return False


@contextmanager
def running(core: CoreDouble, **options: Any) -> Iterator[Engine]:
    engine = engine_over(core, **options)
    core.submitted.clear()
    try:
        yield engine
    finally:
        engine.close()


def opened(engine: Engine, *, speaks: bool = True) -> Session:
    session = engine.open(person().identity)
    if speaks:
        session.push(1, SPEECH)
    return session


def expected(n: int) -> Planes:
    stream = StreamDouble()
    stream.push(SPEECH)
    for _ in range(n):
        stream.skip()
    return mouth_of(Job(stream.take()[1][0], list(person().identity.frames), n % 6))  # type: ignore[arg-type]


def is_picture(outcome: Outcome, n: int) -> bool:
    return isinstance(outcome, np.ndarray) and np.array_equal(outcome, expected(n))
