"""A stream's renderer is made, lost, made again; whatever becomes of it, there is a picture at every tick."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from agent.stream_face import LateFace
from agent.stream_renewal import APART_S, CLOSE_S, LOST_TICKS, Renewal
from avatar.frames import TICK_MS, MienError, Picture
from avatar.playout import Playout
from avatar.renderer import Shot
from avatar.static import StaticRenderer
from rooms.memory import MemorySink
from tests.doubles.clock import run_virtually

pytestmark = pytest.mark.unit


def plain(luma: int) -> Picture:
    return Picture(np.full((24, 16), luma, np.uint8))


class MortalRenderer(StaticRenderer):
    """Draws until it dies; then it answers nothing, and may not even close."""

    def __init__(self, luma: int) -> None:
        super().__init__(plain(luma))
        self.dead = self.stuck = self.closed = False

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        return asyncio.get_running_loop().create_future() if self.dead else super().request(shot)

    async def aclose(self) -> None:
        if self.stuck:
            await asyncio.sleep(1e6)
        self.closed = True


class Stage:
    """A playout with a late face and its renewal, in virtual time.

    Args:
        make: gives the renderer of each attempt, counted from 0, or raises.
    """

    def __init__(self, make: Callable[[int], MortalRenderer]) -> None:
        self.first = plain(7)
        self.face = LateFace(self.first)
        self.sink = MemorySink()
        self.playout = Playout(self.face)
        self.playout.attach(self.sink, primary=True)
        self.made: list[MortalRenderer] = []
        self.blends: list[float] = []
        self.attempts = 0
        self._give = make
        self.renewal = Renewal(self.face, self.playout, self._make, self.blends.append)

    async def _make(self) -> MortalRenderer:
        self.attempts += 1
        await asyncio.sleep(2.0)
        self.made.append(self._give(self.attempts - 1))
        return self.made[-1]

    async def run(self, script: Callable[[], Awaitable[None]]) -> None:
        clock = asyncio.create_task(self.playout.run())
        await self.renewal.begin()
        keeping = asyncio.create_task(self.renewal.keep())
        await script()
        for task in (keeping, clock):
            assert not task.done(), "it ended by itself"
            task.cancel()

    def shown(self) -> list[int]:
        """The brightness of every tick's picture so far."""
        return [int(frame.picture.planes[0, 0]) for frame in self.sink.frames]


def alive(luma: int) -> MortalRenderer:
    return MortalRenderer(luma)


def test_the_still_is_shown_until_the_first_one_stands_and_the_blend_begins_with_its_first_picture() -> None:
    async def main() -> None:
        stage = Stage(lambda attempt: alive(100))

        async def script() -> None:
            await asyncio.sleep(1.0)

        await stage.run(script)
        shown = stage.shown()
        assert set(shown) == {7, 100}
        assert stage.blends == [shown.index(100) * TICK_MS]
        assert stage.renewal.problem is None

    run_virtually(main())


@pytest.mark.parametrize("stuck", [False, True])
def test_one_that_answers_nothing_gives_way_to_its_still_and_then_to_another(stuck: bool) -> None:
    async def main() -> None:
        stage = Stage(lambda attempt: alive(100 + attempt))

        async def script() -> None:
            await asyncio.sleep(APART_S + 1)
            stage.made[0].dead, stage.made[0].stuck = True, stuck
            await asyncio.sleep(LOST_TICKS * TICK_MS / 1000 + CLOSE_S + 5)

        await stage.run(script)
        assert stage.attempts == 2
        assert stage.made[0].closed is not stuck
        assert stage.shown()[-1] == 101
        assert len(stage.shown()) == stage.playout.tick

    run_virtually(main())


def test_what_fails_at_the_start_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    def make(attempt: int) -> MortalRenderer:
        if attempt < 5:
            raise MienError("the GPU has no room") if attempt else RuntimeError("CUDA error: the driver's own words")
        return alive(100)

    async def main() -> None:
        stage = Stage(make)
        told: list[str | None] = []

        async def script() -> None:
            for _ in range(6):
                told.append(stage.renewal.problem)
                await asyncio.sleep(APART_S + 4)

        await stage.run(script)
        assert told[:2] == ["a fault in the renderer: RuntimeError", "the GPU has no room"]
        assert stage.renewal.problem is None
        assert stage.attempts == 6
        assert set(stage.shown()[:100]) == {7}
        assert stage.shown()[-1] == 100

    run_virtually(main())
    # Not each time: it may be away for a night.
    assert sum("there is no renderer" in line for line in caplog.messages) == 3


def test_its_place_is_free_before_another_is_asked_for() -> None:
    """A card may have room for one."""

    async def main() -> None:
        closed_before: list[bool] = []

        def make(attempt: int) -> MortalRenderer:
            closed_before.append(all(each.closed for each in stage.made))
            return alive(100 + attempt)

        stage = Stage(make)

        async def script() -> None:
            await asyncio.sleep(APART_S + 1)
            stage.made[0].dead = True
            await asyncio.sleep(APART_S)

        await stage.run(script)
        assert closed_before == [True, True]

    run_virtually(main())
