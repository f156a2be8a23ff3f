"""What the fake server sends: a drawn face and a tone, each on the wall clock.

In: whether it speaks, asked for every frame. Out: aiortc tracks. All pictures are drawn once, up front.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fractions
import functools
import math
import time
from collections.abc import Callable

import av
import cv2
import numpy as np
import numpy.typing as npt
from aiortc import MediaStreamTrack

FPS = 25
SAMPLE_RATE_HZ = 48_000
PACKET_SAMPLES = 960
CYCLE = 50
"""Frames drawn for each of "mouth shut" and "talking"; then they repeat."""

Frame = npt.NDArray[np.uint8]


def draw_face(size_px: int, phase: float, open_: float) -> Frame:
    """A plain face, bgr24 [size, size, 3]; ``phase`` 0..1 moves it, ``open_`` 0..1 opens its mouth."""
    picture = np.empty((size_px, size_px, 3), np.uint8)
    picture[:] = np.linspace((214, 205, 196), (170, 158, 150), size_px)[:, None, :]

    def at(x: float, y: float) -> tuple[int, int]:
        return int(x * size_px), int((y + 0.006 * math.sin(2 * math.pi * phase)) * size_px)

    def size(x: float, y: float) -> tuple[int, int]:
        return int(x * size_px), int(y * size_px)

    def blob(center: tuple[int, int], axes: tuple[int, int], colour: tuple[int, int, int]) -> None:
        cv2.ellipse(picture, center, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    blob(at(0.5, 0.47), size(0.27, 0.35), (48, 40, 52))  # hair
    blob(at(0.5, 1.02), size(0.34, 0.24), (120, 92, 70))  # shoulders
    blob(at(0.5, 0.78), size(0.085, 0.12), (150, 178, 222))  # neck
    blob(at(0.5, 0.52), size(0.21, 0.27), (166, 194, 236))  # face
    blink = 0.15 if 0.45 < phase < 0.49 else 1.0
    for x in (0.42, 0.58):
        blob(at(x, 0.49), size(0.030, 0.022 * blink), (250, 250, 250))
        blob(at(x, 0.49), size(0.014, 0.020 * blink), (70, 54, 44))
        cv2.ellipse(
            picture, at(x, 0.455), size(0.045, 0.018), 0, 200, 340, (48, 40, 52), max(2, size_px // 110), cv2.LINE_AA
        )
    blob(at(0.5, 0.655), size(0.052, 0.012 + 0.034 * open_), (92, 84, 176))
    if open_ > 0.2:
        blob(at(0.5, 0.66), size(0.038, 0.022 * open_), (40, 24, 56))
    return picture


@dataclasses.dataclass(frozen=True)
class Reel:
    """Every picture the fake ever sends, drawn once."""

    still: Frame
    shut: list[av.VideoFrame]
    talking: list[av.VideoFrame]


@functools.cache
def drawn_reel(size_px: int) -> Reel:
    def frame(phase: float, open_: float) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(draw_face(size_px, phase, open_), format="bgr24").reformat(format="yuv420p")

    return Reel(
        still=draw_face(size_px, 0, 0),
        shut=[frame(n / CYCLE, 0) for n in range(CYCLE)],
        talking=[frame(n / CYCLE, abs(math.sin(n * 0.9)) * (0.6 + 0.4 * math.sin(n * 0.37))) for n in range(CYCLE)],
    )


class _Paced(MediaStreamTrack):
    """Hands out one item each ``period_s``, on the wall clock."""

    period_s: float
    _start: float | None = None
    _count = 0

    async def _tick(self) -> int:
        if self._start is None:
            self._start = time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._count * self.period_s - time.monotonic()))
        self._count += 1
        return self._count - 1


class FaceTrack(_Paced):
    kind = "video"
    period_s = 1 / FPS

    def __init__(self, speaking: Callable[[], bool], reel: Reel) -> None:
        super().__init__()
        self._speaking, self._reel = speaking, reel

    async def recv(self) -> av.VideoFrame:
        n = await self._tick()
        frames = self._reel.talking if self._speaking() else self._reel.shut
        frame = av.VideoFrame.from_ndarray(frames[n % CYCLE].to_ndarray(), format="yuv420p")
        frame.pts = n * 90_000 // FPS
        frame.time_base = fractions.Fraction(1, 90_000)
        return frame


class ToneTrack(_Paced):
    kind = "audio"
    period_s = PACKET_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, speaking: Callable[[], bool]) -> None:
        super().__init__()
        self._speaking = speaking

    async def recv(self) -> av.AudioFrame:
        n = await self._tick()
        level = 6000 if self._speaking() else 0
        times = (n * PACKET_SAMPLES + np.arange(PACKET_SAMPLES)) / SAMPLE_RATE_HZ
        tone = (level * np.sin(2 * math.pi * 220 * times)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = n * PACKET_SAMPLES
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE_HZ)
        return frame
