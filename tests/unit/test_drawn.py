"""What every drawn renderer does, whoever draws."""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextlib import aclosing

import numpy as np
import pytest

from avatar import drawn
from avatar.drawn import DrawnRenderer
from avatar.frames import Pcm, Planes
from avatar.puppet.look import Look
from avatar.puppet.motion import Pose
from avatar.puppet.mouth import Mouth
from avatar.puppet.rig import Rig
from avatar.renderer import Shot

pytestmark = pytest.mark.unit


class Easel:
    """A grey picture, painted for as long as its painter is held; counts how many are being painted at once."""

    painting, most = 0, 0
    counting = threading.Lock()

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.free.set()

    def draw(self, pose: Pose, mouth: Mouth) -> Planes:
        with Easel.counting:
            Easel.painting += 1
            Easel.most = max(Easel.most, Easel.painting)
        self.begun.set()
        assert self.free.wait(10)
        threading.Event().wait(0.001)  # gives the interpreter to whoever wants to paint, too
        with Easel.counting:
            Easel.painting -= 1
        return np.full((384, 256), 128, np.uint8)


async def test_conversations_draw_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "TURN_S", 10.0)
    monkeypatch.setattr(Easel, "most", 0)
    async with aclosing(DrawnRenderer("one", Easel())) as one, aclosing(DrawnRenderer("other", Easel())) as other:
        for tick in range(30):
            await asyncio.gather(one.request(Shot(tick)), other.request(Shot(tick)))
    assert Easel.most == 1


async def test_nobody_waits_for_long_and_who_is_behind_does_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = Easel(), Easel()
    async with aclosing(DrawnRenderer("slow", slow)) as one, aclosing(DrawnRenderer("quick", quick)) as other:
        for easel in (slow, quick):
            easel.begun.clear()
            easel.free.clear()
        held = one.request(Shot(0))
        await asyncio.to_thread(slow.begun.wait, 10)
        first = other.request(Shot(0))
        assert await asyncio.to_thread(quick.begun.wait, 10), "begun beside the slow one"
        monkeypatch.setattr(drawn, "TURN_S", 60.0)
        other.push(0, np.zeros(16_000, np.int16))
        behind, last = (other.request(Shot(tick, segment=0, n=tick - 1, since=tick - 1)) for tick in (1, 2))
        quick.free.set()
        await asyncio.wait_for(asyncio.gather(first, behind), 10)
        assert not held.done()
        slow.free.set()
        await asyncio.gather(held, last)


async def test_what_was_said_before_anyone_asked_is_not_kept_back_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushes wait for a picture to be asked for; where none is, they go on all the same, and none is lost."""
    told: list[int] = []
    async with aclosing(DrawnRenderer("one", Easel())) as one:
        push = one._speech.push

        def overheard(segment: int, pcm: Pcm) -> None:
            told.append(len(pcm))
            push(segment, pcm)

        monkeypatch.setattr(one._speech, "push", overheard)
        for length in range(1, 3 * drawn.UNTOLD_MOST // 2):
            one.push(0, np.zeros(length, np.int16))
        async with asyncio.timeout(10):
            while len(told) < drawn.UNTOLD_MOST:
                await asyncio.sleep(0.001)
        await one.request(Shot(0, segment=0))
        assert told == list(range(1, 3 * drawn.UNTOLD_MOST // 2))


async def test_what_draws_is_let_go_once_it_is_closed() -> None:
    """Whoever still holds the renderer, as a conversation that ended does until Python collects it, holds no more."""
    rig = Rig(Look(), 256)
    kept = weakref.ref(rig)
    renderer = DrawnRenderer("puppet", rig)
    del rig
    assert kept() is not None
    await renderer.aclose()
    assert kept() is None
    assert renderer.still.width == 256
