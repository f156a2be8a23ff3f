"""MuseTalk's renderer beyond the conformance suite: idling, easing, what each tier shows; a voice that goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from avatar.frames import SAMPLE_RATE_HZ, Frame
from avatar.ledger import Finished
from avatar.musetalk.avatars import AvatarError
from avatar.musetalk.config import TINY
from avatar.musetalk.demo import synthetic_frames
from avatar.musetalk.engine import Engine
from avatar.musetalk.jobs import Job, PictureCore
from avatar.musetalk.mouths import carried, eased
from avatar.musetalk.pace import Pace
from avatar.musetalk.renderer import EASE, MuseTalkRenderer, Person
from avatar.musetalk.tiers import Tier
from avatar.playout import Playout, Started
from avatar.renderer import Refused, Shot
from tests.conformance.conftest import babble
from tests.doubles.engine import CoreDouble, engine_over, person

pytestmark = pytest.mark.media

SPEECH = babble(2.0)
PATIENCE_S = 20.0


@asynccontextmanager
async def talking(core: CoreDouble) -> AsyncIterator[MuseTalkRenderer]:
    engine = engine_over(core)
    core.submitted.clear()
    renderer = MuseTalkRenderer(engine, person())
    try:
        yield renderer
    finally:
        await renderer.aclose()
        await asyncio.to_thread(engine.close)


async def shown(renderer: MuseTalkRenderer, *shots: Shot) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    answers = [renderer.request(shot) for shot in shots]
    return [(await asyncio.wait_for(answer, PATIENCE_S)).planes for answer in answers]


async def test_silence_shows_the_idle_cycle_and_costs_no_gpu() -> None:
    core = CoreDouble()
    async with talking(core) as renderer:
        for tick in range(40):
            (planes,) = await shown(renderer, Shot(tick))
            assert planes is person().identity.frames[tick % 6].body
        assert core.submitted == []
        assert core.encoded == [] or sum(core.encoded) == core.encoded[0] + 3 * 4, "only calibration's"


async def test_a_mouth_opens_from_rest_and_eases_shut_to_it() -> None:
    async with talking(CoreDouble()) as renderer:
        renderer.push(1, SPEECH)
        frame = person().identity.frames[3]
        (full,) = await shown(renderer, Shot(9, 1, 8, 20))
        for since, weight in enumerate(EASE):
            opening, shutting = await shown(renderer, Shot(9, 1, 8, since), Shot(9, None, 0, since, (1, 8)))
            assert np.array_equal(opening, eased(full.copy(), frame, weight))
            assert np.array_equal(shutting, eased(full.copy(), frame, EASE[len(EASE) - 1 - since]))
        (shut,) = await shown(renderer, Shot(9, None, 0, len(EASE), (1, 8)))
        assert np.array_equal(shut, frame.body)


async def test_a_mouth_that_is_forgotten_leaves_the_idle_picture() -> None:
    async with talking(CoreDouble()) as renderer:
        (planes,) = await shown(renderer, Shot(4, None, 0, 0, (1, 8)))
        assert np.array_equal(planes, person().identity.frames[4].body)


async def test_half_the_lips_move_with_a_head_that_goes_on() -> None:
    core = CoreDouble()
    async with talking(core) as renderer:
        renderer.push(1, SPEECH)
        renderer._session.set_tier(Tier.HALF)
        planes = await shown(renderer, *(Shot(n, 1, n, 20) for n in range(10)))
        assert sum(len(batch) for batch in core.submitted) == 5
        frames = person().identity.frames
        for n in range(1, 10, 2):
            before, here = frames[(n - 1) % 6], frames[n % 6]
            assert np.array_equal(planes[n], carried(planes[n - 1], before, here))
        assert len({one.tobytes() for one in planes}) == 10
        later = [renderer.request(Shot(11, 1, 11, 20)), renderer.request(Shot(10, 1, 10, 20))]
        assert len(await asyncio.wait_for(asyncio.gather(*later), PATIENCE_S)) == 2, "asked for alone it is made"


async def test_without_lips_the_idle_cycle_goes_on_and_costs_no_gpu() -> None:
    core = CoreDouble()
    async with talking(core) as renderer:
        renderer.push(1, SPEECH)
        renderer._session.set_tier(Tier.IDLE)
        planes = await shown(renderer, *(Shot(n, 1, n, 20) for n in range(10)), Shot(10, None, 0, 0, (1, 9)))
        assert all(np.array_equal(one, person().identity.frames[n % 6].body) for n, one in enumerate(planes))
        assert core.submitted == []


async def test_what_is_cancelled_is_not_made() -> None:
    core = CoreDouble({1: 0.03})
    async with talking(core) as renderer:
        renderer.push(1, SPEECH)
        answers = [renderer.request(Shot(n, 1, n, 20)) for n in range(20)]
        for answer in answers[1:]:
            answer.cancel()
        await shown(renderer, Shot(20, 1, 20, 20))
        assert len(core.submitted) <= 4


async def test_a_full_gpu_refuses_the_next_conversation() -> None:
    async with talking(CoreDouble({1: 0.02})) as renderer:
        with pytest.raises(Refused, match="try again in 20 s"):
            MuseTalkRenderer(renderer._session._engine, person())


def test_a_cycle_may_run_forth_and_back() -> None:
    back = Person(person().identity.frames, [0, 1, 2, 1])
    assert [back.frame(tick) for tick in (0, 1, 2, 3, 4, 7)] == [0, 1, 2, 1, 0, 1]


def test_a_person_has_frames_of_one_size() -> None:
    with pytest.raises(AvatarError, match="at least one frame"):
        Person([])
    with pytest.raises(AvatarError, match="have one size"):
        Person([*synthetic_frames(TINY, 1, 96, 96), *synthetic_frames(TINY, 1, 128, 96)])


def test_deadlines_are_found_from_the_earliest_asks() -> None:
    """Ticks at 10 s + 40 ms each, first asked for five ticks ahead, now and then asked for again later."""
    pace = Pace(5)
    for tick in range(60):
        now = 10.0 + (tick - 5) * 0.04 + (0.003 if tick % 3 else 0.0)
        assert pace.due_s(tick, now) == pytest.approx(10.0 + tick * 0.04, abs=0.0031)
        assert pace.due_s(tick - 2, now + 0.015) == pytest.approx(10.0 + (tick - 2) * 0.04, abs=0.0031)
    for tick in range(60, 160):  # a stall of 300 ms: the clock starts anew
        now = 10.3 + (tick - 5) * 0.04
        due_s = pace.due_s(tick, now)
    assert due_s == pytest.approx(10.3 + 159 * 0.04)


class Watching:
    """A sink and listener that remember."""

    name, delay_ms = "watching", 0

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.finished: list[Finished] = []

    def put(self, frame: Frame) -> None:
        self.frames.append(frame)

    def clear(self, generation: int) -> int:
        return 0

    def unsent(self) -> int:
        return 0

    async def aclose(self) -> None:
        pass

    def on_started(self, event: Started) -> None:
        pass

    def on_finished(self, event: Finished) -> None:
        self.finished.append(event)


async def test_the_voice_goes_on_while_the_gpu_hangs_and_lips_return() -> None:
    """A real playout in real time: 4 s of speech, in whose middle a GPU call never returns."""
    release = threading.Event()
    cores: list[CoreDouble] = []

    def make() -> PictureCore:
        cores.append(CoreDouble())
        return cores[-1]

    engine = Engine(make, person().identity, call_limit_s=0.4)
    engine.start()
    assert (await asyncio.to_thread(engine.wait_ready, PATIENCE_S)).state == "ready"
    renderer, seen = MuseTalkRenderer(engine, person()), Watching()
    playout = Playout(renderer, listener=seen)
    playout.attach(seen, primary=True)
    clock = asyncio.create_task(playout.run())
    try:
        speech = np.repeat(babble(4.0, seed=4), 3)
        playout.push(speech)
        playout.end()
        await asyncio.sleep(1.2)

        def hang(jobs: Sequence[Job]) -> None:
            release.wait(PATIENCE_S)

        cores[0].on_submit = hang
        deadline = time.monotonic() + PATIENCE_S
        while not seen.finished:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    finally:
        clock.cancel()
        playout.close()
        await renderer.aclose()
        release.set()
        await asyncio.to_thread(engine.close)
    assert [(event.segment, event.interrupted) for event in seen.finished] == [(0, False)]
    sound = np.concatenate([frame.sound for frame in seen.frames])
    first = int(np.flatnonzero(sound)[0]) - int(np.flatnonzero(speech)[0])
    assert np.array_equal(sound[first : first + speech.size], speech), "sound never waited for a picture"
    bodies = {frame.body.tobytes() for frame in person().identity.frames}
    start = first // (SAMPLE_RATE_HZ // 25)
    lips = [frame.picture.planes.tobytes() not in bodies for frame in seen.frames[start : start + 100]]
    still = [frame.picture is renderer.still for frame in seen.frames[start : start + 100]]
    assert sum(lips[:25]) >= 20
    assert any(still[25:60]), "a still picture while there is no GPU"
    assert sum(lips[75:]) >= 20, "lips return in mid-sentence"
    assert len(cores) == 2
