"""A stream on air within the test: the real playout and sink, with pictures that flash when their sound beeps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from avatar.frames import Picture
from avatar.playout import Playout
from avatar.renderer import Shot
from avatar.waiting import Answer
from benchmarks.flash import FlashRenderer, utterance
from rooms.canvas import Canvas, Stage
from rooms.rtmp import Outlet, StreamSettings, StreamSink
from rooms.rtmp_address import Address
from rooms.rtmp_target import TargetStatus

WIDTH, HEIGHT = 320, 320


@dataclass(frozen=True)
class Air:
    playout: Playout
    sink: StreamSink

    def target(self, number: int = 0) -> TargetStatus:
        return self.sink.status().targets[number]

    def beep(self) -> None:
        self.playout.push(utterance())
        self.playout.end()

    async def beeps(self, seconds: float) -> None:
        """Beep about once a second."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.beep()
            await asyncio.sleep(1.0)


class NoisyRenderer(FlashRenderer):
    """Pictures that fill the whole bit rate, as a lively stream does."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(1)
        noise = random.integers(16, 235, (8, HEIGHT * 3 // 2, WIDTH), np.uint8)
        self._noise = [Picture(planes) for planes in noise]

    def request(self, shot: Shot) -> Answer:
        picture = self._noise[shot.tick % len(self._noise)]
        return self._waiting.request(shot, lambda answer: answer.set_result(picture))


@contextlib.asynccontextmanager
async def on_air(
    *urls: str,
    fps: int = 25,
    outlets: Sequence[Outlet] = (),
    first_tick: int = 0,
    renderer: FlashRenderer | None = None,
) -> AsyncIterator[Air]:
    renderer = renderer or FlashRenderer()
    playout = Playout(renderer)
    playout._tick = first_tick  # a stream that has been running for hours
    settings = StreamSettings(tuple(Address.parse(url) for url in urls), fps=fps, encoder="x264")
    sink = StreamSink(Canvas(Stage(WIDTH, HEIGHT)), WIDTH, HEIGHT, settings, outlets=outlets)
    playout.attach(sink, primary=True)
    clock = asyncio.create_task(playout.run())
    try:
        await eventually(lambda: len(sink.status().targets) == len(urls), 5, "the encoder")
        yield Air(playout, sink)
    finally:
        clock.cancel()
        playout.detach(sink)
        playout.close()
        await sink.aclose()
        await renderer.aclose()


async def eventually(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait for it; returns how long it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began < timeout_s, f"{what}: not within {timeout_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began
