"""A playout that runs in virtual time over a scripted renderer and a sink, and keeps what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from avatar.frames import SAMPLE_RATE_HZ, Pcm
from avatar.playout import Finished, Playout, Started, TickReport
from avatar.renderer import Shot
from rooms.memory import MemorySink
from tests.doubles.clock import run_virtually
from tests.doubles.renderers import ScriptedRenderer, read_shot

TICK_S = 0.04


@dataclass
class Heard:
    """A listener that keeps what it is told."""

    started: list[Started] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)

    def on_started(self, event: Started) -> None:
        self.started.append(event)

    def on_finished(self, event: Finished) -> None:
        self.finished.append(event)


@dataclass
class Stage:
    playout: Playout
    renderer: ScriptedRenderer
    sink: MemorySink
    heard: Heard
    ticks: list[TickReport]

    def shots(self) -> list[Shot]:
        return [read_shot(frame.picture) for frame in self.sink.frames]


def speech(seconds: float, level: int = 8000) -> Pcm:
    """Never zero, so that it can be told from silence, and no two samples near each other are alike."""
    count = round(seconds * SAMPLE_RATE_HZ)
    return (level + np.arange(count) % 4000).astype(np.int16)


def perform(
    script: Callable[[Stage], Awaitable[None]],
    renderer: ScriptedRenderer | None = None,
    sink: Callable[[], MemorySink] = MemorySink,
) -> Stage:
    """Run a script beside a live playout, in virtual time."""

    async def play() -> Stage:
        heard = Heard()
        played = renderer or ScriptedRenderer()
        playout = Playout(played, listener=heard)
        target = sink()
        ticks: list[TickReport] = []
        playout.on_tick = ticks.append
        playout.attach(target, primary=True)
        stage = Stage(playout, played, target, heard, ticks)
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(playout.run())
            await asyncio.sleep(0.1)
            await script(stage)
            clock.cancel()
        playout.close()
        return stage

    return run_virtually(play())


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def said(sink: MemorySink) -> Pcm:
    """All sound that is not silence."""
    sound = sink.sound
    heard: Pcm = sound[sound != 0]
    return heard
