"""Portraits on their way onto the GPU, over the engine double: in pieces, between the others' pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from avatar.musetalk.calls import Calls
from avatar.musetalk.config import TINY
from avatar.musetalk.demo import synthetic_frames
from avatar.musetalk.guests import Ask, Identity
from avatar.musetalk.jobs import Job
from avatar.musetalk.scheduler import Scheduler, Speeds
from avatar.musetalk.uploads import AT_LEAST_EVERY_S, PIECE_FRAMES, Uploads
from tests.doubles.asking import PATIENCE_S, SPEECH, Mailbox, is_picture, opened, running
from tests.doubles.engine import CoreDouble, StreamDouble, mouth_of, person

pytestmark = pytest.mark.media


def long_portrait(pieces: int) -> Identity:
    return Identity((person(seed=7).identity.frames * (pieces * PIECE_FRAMES))[: pieces * PIECE_FRAMES])


def test_a_new_portrait_comes_in_pieces_and_everybodys_pictures_between_them() -> None:
    """While it comes, another conversation has a picture due at once after each piece."""
    core, box, portrait = CoreDouble(), Mailbox(), long_portrait(12)
    done: list[str] = []
    with running(core) as engine:
        session = opened(engine)
        box.ask(session, 0)
        box.answers(1)
        done.clear()

        def piece(frames: Sequence[Any]) -> None:
            assert len(frames) == PIECE_FRAMES
            done.append("piece")
            box.ask(session, done.count("piece"), within_s=0.0)

        core.on_avatar = piece
        core.on_submit = lambda jobs: done.append("batch")
        engine.open(portrait)
        answers = box.answers(12)
    assert done == ["piece", "batch"] * 12
    assert all(is_picture(outcome, n) for (_, n), outcome in answers.items())


def test_while_all_pictures_are_urgent_a_new_portrait_comes_all_the_same_but_slowly() -> None:
    core = CoreDouble({1: 0.02})
    uploads: Uploads = Uploads(core, Calls(), piece_s=0.02)
    uploads.portrait(long_portrait(3), ())
    scheduler: Scheduler[Ask] = Scheduler(Speeds({1: 0.02}))
    scheduler.add(Ask(1, 100.03))
    assert uploads.due(100.0, scheduler, ()), "it came before"
    uploads.bring(0.0, lambda ask, error: None)
    began = time.monotonic()
    scheduler = Scheduler(Speeds({1: 0.02}))
    scheduler.add(Ask(1, began + 0.03))
    assert not uploads.due(began, scheduler, ()), "it would be late"
    assert not uploads.due(began, Scheduler(Speeds({1: 0.02})), [Ask(1, began + 0.01)]), "so would what is in a batch"
    assert uploads.due(began, Scheduler(Speeds({1: 0.02})), [Ask(1, began + 0.1)])
    assert uploads.due(began + AT_LEAST_EVERY_S, scheduler, ())


def test_the_piece_of_a_portrait_that_is_waited_for_comes_first_and_speech_is_heard_in_order() -> None:
    core, box = CoreDouble(), Mailbox()
    entered, release = threading.Event(), threading.Event()
    portrait = Identity(tuple(synthetic_frames(TINY, 8 * PIECE_FRAMES, 96, 96, seed=8)))
    pieces: list[int] = []

    def piece(frames: Sequence[Any]) -> None:
        pieces.append(next(n for n in range(8) if frames[0] is portrait.frames[n * PIECE_FRAMES]))
        entered.set()
        release.wait(PATIENCE_S)

    with running(core) as engine:
        core.on_avatar = piece
        session = engine.open(portrait)
        session.push(1, SPEECH)
        assert entered.wait(PATIENCE_S)
        due_s = time.monotonic() + 5.0
        frames = [5 * PIECE_FRAMES + 1, 5 * PIECE_FRAMES, 3, 2]  # the cycle runs back, to what is there before
        for n, frame in enumerate(frames):
            session.ask(1, n, frame, due_s + n * 0.04, lambda out, n=n: box.came.put((session.number, n, out)))  # type: ignore[misc]
        release.set()
        answers = box.answers(4)
        deadline = time.monotonic() + PATIENCE_S
        while len(pieces) < 8:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert pieces[:2] == [0, 5]
    assert sorted(pieces) == list(range(8))
    stream = StreamDouble()
    stream.push(SPEECH)
    for n, frame in enumerate(frames):
        job = Job(stream.take()[1][0], list(portrait.frames), frame)  # type: ignore[arg-type]
        picture = answers[session.number, n]
        assert isinstance(picture, np.ndarray)
        assert np.array_equal(picture, mouth_of(job))


def test_who_leaves_while_the_portrait_comes_leaves_nothing_waiting() -> None:
    core, release, entered = CoreDouble(), threading.Event(), threading.Event()

    def piece(frames: Sequence[Any]) -> None:
        entered.set()
        release.wait(PATIENCE_S)

    with running(core) as engine:
        core.on_avatar = piece
        session = engine.open(long_portrait(4))
        session.push(1, SPEECH)
        assert entered.wait(PATIENCE_S)
        asks = [session.ask(1, n, 40, time.monotonic() + 5.0, lambda out: None) for n in range(3)]
        session.withdraw(asks[0])
        session.close()
        release.set()
        other, box = opened(engine), Mailbox()
        box.ask(other, 0)
        assert is_picture(box.answers(1)[other.number, 0], 0)
        dispatch = engine._runner._asks()
        assert not dispatch.uploads._held
        assert len(dispatch.scheduler) == 0
