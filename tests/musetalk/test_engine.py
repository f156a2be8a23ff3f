"""The engine over a core that fails in each way: what a fault costs, whom it touches, and that lips return."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from avatar.frames import Planes
from avatar.musetalk.admission import Vram
from avatar.musetalk.avatars import place, planes_of
from avatar.musetalk.engine import Engine, EngineDown
from avatar.musetalk.guests import Identity, PictureLost
from avatar.musetalk.jobs import Job, OutOfMemory, PictureCore
from avatar.renderer import Refused
from tests.doubles.asking import PATIENCE_S, SPEECH, Mailbox, is_picture, opened, running
from tests.doubles.engine import CoreDouble, StreamDouble, engine_over, person

pytestmark = pytest.mark.media


def test_pictures_of_many_conversations_share_batches_on_one_thread() -> None:
    core, box = CoreDouble({1: 0.02, 2: 0.02, 4: 0.02, 8: 0.02}), Mailbox()
    with running(core) as engine:
        sessions = [opened(engine) for _ in range(6)]
        for n in range(4):
            for session in sessions:
                box.ask(session, n)
        answers = box.answers(24)
    assert all(is_picture(outcome, n) for (_, n), outcome in answers.items())
    assert core.threads == {"musetalk-engine"}
    assert len(core.submitted) <= 6, "24 pictures in batches of up to 8"
    assert all(len({id(job.features) for job in batch}) == len(batch) for batch in core.submitted)


def test_the_next_batch_computes_while_one_is_read() -> None:
    core, box, all_asked = CoreDouble({1: 0.03, 2: 0.03, 4: 0.03}), Mailbox(), threading.Event()
    on_the_device: list[int] = []
    with running(core) as engine:
        core.on_submit = hanging(all_asked)
        core.on_read = lambda jobs: on_the_device.append(len(core.unread))
        session = opened(engine)
        for n in range(32):
            box.ask(session, n, within_s=5.0)
        all_asked.set()
        box.answers(32)
    assert len(on_the_device) >= 8
    assert on_the_device == [2] * (len(on_the_device) - 1) + [1], "the one that is read, and the next"


def test_calibration_finds_the_stated_times() -> None:
    core = CoreDouble({1: 0.02, 4: 0.04})
    with running(core) as engine:
        assert engine.status.fps == pytest.approx(100, rel=0.2)


def test_an_exception_in_a_batch_costs_only_the_culprits_pictures() -> None:
    core, box = CoreDouble(), Mailbox()
    poisoned = Identity(person(seed=5).identity.frames)

    def refuse(jobs: Sequence[Job]) -> None:
        if any(job.avatar[0] is poisoned.frames[0] for job in jobs):  # type: ignore[index]
            raise RuntimeError("CUDA error: a kernel was launched with wrong arguments")

    for where in ("on_submit", "on_read"):
        core.on_submit = core.on_read = lambda jobs: None
        with running(core) as engine:
            setattr(core, where, refuse)
            good, bad = [opened(engine) for _ in range(3)], engine.open(poisoned)
            bad.push(1, SPEECH)
            for n in range(5):
                for session in (*good, bad):
                    box.ask(session, n)
            answers = box.answers(20)
            assert engine.status.state == "ready"
        for (number, n), outcome in answers.items():
            if number == bad.number:
                assert isinstance(outcome, PictureLost)
            else:
                assert is_picture(outcome, n)


def test_out_of_memory_makes_batches_smaller_and_loses_no_picture() -> None:
    core, box = CoreDouble(), Mailbox()
    with running(core) as engine:

        def full(jobs: Sequence[Job]) -> None:
            if len(jobs) > 2:
                raise OutOfMemory("tried to allocate 2 GiB")

        core.on_submit = full
        sessions = [opened(engine) for _ in range(6)]
        for n in range(6):
            for session in sessions:
                box.ask(session, n)
        assert all(is_picture(outcome, n) for (_, n), outcome in box.answers(36).items())
        assert max(len(batch) for batch in core.submitted) <= 2
        before = engine.status.fps
        opened(engine)
        assert engine.status.fps < 0.9 * before, "and fewer conversations fit"


def no_mouth(picture: Planes, kind: str) -> Planes:
    frame = person().identity.frames[0]
    y, u, v = planes_of(picture, frame.patch)
    chance = np.random.default_rng(0)
    made = {
        "grey": (np.full_like(y, 128), np.full_like(u, 128), np.full_like(v, 128)),
        "noise": (chance.integers(16, 236, y.shape, np.uint8), u, v),
    }[kind]
    return place(picture, frame.patch, np.concatenate([plane.ravel() for plane in made]))


@pytest.mark.parametrize("kind", ["nan", "grey", "noise"])
def test_what_is_no_mouth_is_withheld_and_harms_no_other(kind: str) -> None:
    core, box = CoreDouble(), Mailbox()
    with running(core) as engine:
        core.spoil = lambda job, picture: picture if job.frame else None if kind == "nan" else no_mouth(picture, kind)
        session = opened(engine)
        for n in range(12):
            box.ask(session, n)
        answers = box.answers(12)
        assert engine.status.unfit == 2
    for (_, n), outcome in answers.items():
        if n % 6:
            assert is_picture(outcome, n)
        else:
            assert isinstance(outcome, PictureLost)
            assert "withheld" in str(outcome)


def test_a_portrait_or_speech_that_fails_touches_no_other() -> None:
    core, box = CoreDouble(), Mailbox()
    broken = Identity(person(seed=6).identity.frames)

    def upload(frames: Sequence[Any]) -> None:
        if frames[0] is broken.frames[0]:
            raise RuntimeError("out of some resource")

    core.on_avatar = upload
    deaf: list[Any] = []

    def listen(streams: Sequence[Any]) -> None:
        if any(len(stream._heard) == 20_000 for stream in streams):
            deaf.append(streams)
            raise RuntimeError("the encoder failed")

    core.on_features = listen
    with running(core) as engine:
        faceless, mute, good = engine.open(broken), opened(engine, speaks=False), opened(engine)
        faceless.push(1, SPEECH)
        mute.push(1, SPEECH[:20_000])
        for n in range(4):
            for session in (faceless, mute, good):
                box.ask(session, n)
        answers = box.answers(12)
        assert engine.status.state == "ready"
    assert deaf
    for (number, n), outcome in answers.items():
        assert is_picture(outcome, n) if number == good.number else isinstance(outcome, Exception)


class Cores:
    """Makes a core for each life of the engine; ``faults`` says what is wrong with each."""

    def __init__(self, *faults: Any) -> None:
        self.made: list[CoreDouble] = []
        self._faults = faults

    def __call__(self) -> PictureCore:
        core = CoreDouble()
        life = len(self.made)
        self.made.append(core)
        if life < len(self._faults):
            self._faults[life](core)
        return core


@contextmanager
def living(cores: Cores, **options: Any) -> Iterator[Engine]:
    engine = Engine(cores, person().identity, restart_s=(0.0, 0.05), **options)
    engine.start()
    engine.wait_ready(PATIENCE_S)
    try:
        yield engine
    finally:
        engine.close()


def hanging(release: threading.Event) -> Callable[[Sequence[Job]], None]:
    def hang(jobs: Sequence[Job]) -> None:
        release.wait(PATIENCE_S)

    return hang


def until_ready(engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while engine.status.state != "ready":
        assert time.monotonic() < deadline, engine.status
        time.sleep(0.01)


def test_a_call_that_hangs_opens_the_breaker_and_lips_return_in_mid_sentence() -> None:
    release, cores, box = threading.Event(), Cores(), Mailbox()
    with living(cores, call_limit_s=0.5) as engine:
        sessions = [opened(engine) for _ in range(3)]
        for session in sessions:
            box.ask(session, 0)
        assert all(is_picture(outcome, n) for (_, n), outcome in box.answers(3).items())
        cores.made[0].on_read = hanging(release)
        for n in (1, 2, 3):
            for session in sessions:
                box.ask(session, n, within_s=0.1)
        began = time.monotonic()
        assert all(isinstance(outcome, EngineDown) for outcome in box.answers(9).values())
        assert time.monotonic() - began < 5.0
        until_ready(engine)
        assert engine.status.restarts == 1
        assert "over 0.5 s" in engine.status.reason
        for session in sessions:
            box.ask(session, 7)
        assert all(is_picture(outcome, n) for (_, n), outcome in box.answers(3).items())
        release.set()  # the old thread comes back: nobody hears of it
        assert box.nothing()
        assert len(cores.made) == 2


def test_while_the_breaker_is_open_answers_come_at_once_and_nobody_is_let_on() -> None:
    release = threading.Event()
    cores, box = Cores(), Mailbox()
    with living(cores, call_limit_s=0.3) as engine:
        session = opened(engine)
        cores._faults = (None, lambda core: release.wait(PATIENCE_S))
        cores.made[0].on_submit = hanging(release)
        box.ask(session, 0)
        box.answers(1)
        box.ask(session, 1)
        assert isinstance(box.answers(1)[session.number, 1], EngineDown)
        with pytest.raises(Refused, match=r"the GPU is broken: a GPU call has taken over 0\.3 s; try again in 10 s"):
            engine.open(person().identity)
        release.set()
        until_ready(engine)
        box.ask(session, 2)
        assert is_picture(box.answers(1)[session.number, 2], 2)


@pytest.mark.parametrize("kind", ["exception", "garbage"])
def test_a_device_that_gives_nothing_good_any_more_is_begun_again(kind: str) -> None:
    cores, box = Cores(), Mailbox()
    with living(cores) as engine:
        session = opened(engine)

        def always(jobs: Sequence[Job]) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        if kind == "exception":
            cores.made[0].on_submit = always
        else:
            cores.made[0].spoil = lambda job, picture: no_mouth(picture, "grey")
        for n in range(30):
            box.ask(session, n)
            if engine.down:
                break
            assert isinstance(box.answers(1)[session.number, n], Exception)
        until_ready(engine)
        while not box.nothing():
            pass
        box.ask(session, 31)
        assert is_picture(box.answers(1)[session.number, 31], 31)
        assert len(cores.made) == 2


def test_a_core_that_cannot_be_made_is_tried_again() -> None:
    def fail(core: CoreDouble) -> None:
        raise OSError("no weights on this disk")

    cores, box = Cores(fail, fail), Mailbox()
    with living(cores) as engine:
        assert "no weights" in engine.status.reason
        until_ready(engine)
        session = opened(engine)
        box.ask(session, 0)
        assert is_picture(box.answers(1)[session.number, 0], 0)
    assert len(cores.made) == 3


def test_lips_that_step_down_take_half_of_what_waits_from_the_gpu_at_once() -> None:
    """A fifth conversation begins on a device for 131 a second; its asks already lie there, one for each picture."""
    core, box = CoreDouble({1: 0.030, 8: 0.061}), Mailbox()
    entered, release = threading.Event(), threading.Event()

    def hold(jobs: Sequence[Job]) -> None:
        entered.set()
        release.wait(PATIENCE_S)

    own = Identity(person(seed=5).identity.frames)
    with running(core) as engine:
        others, newcomer = [opened(engine) for _ in range(4)], engine.open(own)
        newcomer.push(1, SPEECH)
        core.on_submit = hold
        box.ask(others[0], 0, within_s=30.0)
        assert entered.wait(PATIENCE_S)  # the thread is in the core, and obeys the rest in one go
        for session in (*others, newcomer):
            for n in range(1 if session is others[0] else 0, 6):
                box.ask(session, n, within_s=30.0)
        core.on_submit = lambda jobs: None
        release.set()
        answers = box.answers(30)
        deadline = time.monotonic() + PATIENCE_S
        while any(guest.asks for guest in engine._runner._guests.values()):
            assert time.monotonic() < deadline, "an ask is never forgotten"
            time.sleep(0.005)
    made = [job.frame for batch in core.submitted for job in batch if job.avatar[0] is own.frames[0]]  # type: ignore[index]
    assert sorted(made) == [0, 2, 4]
    # Where this machine was so busy that the device seemed slower still, one of the others has stepped down too.
    assert all(is_picture(answers[session.number, n], n) for session in others for n in (0, 2, 4))
    assert all(isinstance(outcome, np.ndarray) for outcome in answers.values())


def test_memory_that_was_full_is_looked_at_again_though_nobody_speaks() -> None:
    core = CoreDouble(memory=Vram(90, 100))
    with running(core) as engine:
        with pytest.raises(Refused, match="memory is 90% full"):
            opened(engine)
        core.memory = Vram(10, 100)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                opened(engine)
                break
            except Refused:
                assert time.monotonic() < deadline, "refused for ever"
                time.sleep(0.05)


def test_admission_looks_at_memory_and_rate() -> None:
    core = CoreDouble({1: 0.02}, memory=Vram(90, 100))
    with running(core) as engine, pytest.raises(Refused, match="memory is 90% full"):
        engine.open(person().identity)
    core.memory = Vram(10, 100)
    with running(core) as engine:
        first = opened(engine)
        with pytest.raises(Refused, match="pictures a second"):
            opened(engine)
        first.close()
        opened(engine)


def test_withdrawn_asks_cost_no_gpu() -> None:
    core, box = CoreDouble({1: 0.05, 2: 0.05}), Mailbox()
    with running(core) as engine:
        session = opened(engine)
        asks = [session.ask(1, n, 0, time.monotonic() + 1, lambda out: None) for n in range(20)]
        for ask in asks[2:]:
            session.withdraw(ask)
        box.ask(session, 20)
        box.answers(1)
        assert sum(len(batch) for batch in core.submitted) <= 5


def test_what_a_conversation_leaves_behind_is_let_go() -> None:
    """A thousand utterances: as many streams alive at the end as at the beginning, and few features."""
    core, box = CoreDouble(), Mailbox()
    alive: weakref.WeakSet[StreamDouble] = weakref.WeakSet()

    def listen() -> StreamDouble:
        stream = StreamDouble()
        alive.add(stream)
        return stream

    core.listen = listen  # type: ignore[method-assign]
    with running(core) as engine:
        session = engine.open(person().identity)
        sizes = []
        for segment in range(1000):
            session.push(segment, SPEECH[:3000])
            session.end(segment)
            session.forget(before=segment)
            session.ask(segment, 0, 0, time.monotonic() + 1, lambda out: box.came.put((0, 0, out)))
            box.answers(1)
            if segment in (100, 999):
                gc.collect()
                guest = engine._runner._guests[session.number]
                sizes.append((len(alive), len(guest.features), len(guest.asks), len(engine._asks)))
        session.close()
    assert sizes[0][:2] == sizes[1][:2]
    assert max(sizes[1]) <= 40


def test_closing_answers_everything_and_ends_both_threads() -> None:
    before = set(threading.enumerate())
    core, box = CoreDouble({1: 0.03}), Mailbox()
    engine = engine_over(core)
    session = opened(engine)
    for n in range(6):
        box.ask(session, n)
    engine.close()
    answers = box.answers(6)
    assert sum(isinstance(outcome, EngineDown) for outcome in answers.values()) >= 3
    assert set(threading.enumerate()) <= before
    with pytest.raises(Refused, match="closed"):
        engine.open(person().identity)
