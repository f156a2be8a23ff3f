"""The flashes that the sync benchmark looks for: sound and picture belong together before anything is sent."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from avatar.frames import Frame
from avatar.playout import Playout
from benchmarks.flash import BEEP_TICKS, CONTROL_TICKS, FlashRenderer, utterance
from rooms.memory import MemorySink
from tests.doubles.clock import run_virtually

pytestmark = pytest.mark.unit

PIECE = 480


async def released(*, early: bool) -> list[Frame]:
    """One utterance, pushed in pieces of 10 ms, through a real playout."""
    renderer, sink = FlashRenderer(), MemorySink()
    playout = Playout(renderer)
    playout.attach(sink, primary=True)
    clock = asyncio.create_task(playout.run())
    sound = utterance()
    for start in range(0, sound.size, PIECE):
        segment = playout.push(sound[start : start + PIECE])
        if early:
            renderer.early.add(segment)
        await asyncio.sleep(0.005)
    playout.end()
    await asyncio.sleep(1)
    clock.cancel()
    playout.close()
    return sink.frames


@pytest.mark.parametrize("early", [False, True], ids=["together", "control"])
def test_a_flash_is_in_the_tick_of_its_beep_and_the_controls_is_80_ms_early(early: bool) -> None:
    frames = run_virtually(released(early=early))
    loud = [frame.tick for frame in frames if np.abs(frame.sound.astype(int)).max() > 5000]
    white = [frame.tick for frame in frames if frame.picture.planes[0, 0] > 128]
    assert len(loud) == BEEP_TICKS
    assert white == [tick - CONTROL_TICKS * early for tick in loud]
