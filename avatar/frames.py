"""What the playout releases and who takes it: pictures, frames, the clock's units, and the Sink protocol.

One frame is one tick of the conversation's only clock: a picture and its own 40 ms of sound. Everything
downstream of the playout (rooms, recordings, streams) depends on this file and on nothing else of the avatar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FPS = 25
"""Pictures a second, everywhere."""
TICK_MS = 40
SAMPLE_RATE_HZ = 48_000
"""Sound out of the playout: 48 kHz mono, signed 16 bit."""
TICK_SAMPLES = SAMPLE_RATE_HZ * TICK_MS // 1000
SPEECH_RATE_HZ = 16_000
"""Sound into a renderer: 16 kHz mono, signed 16 bit."""
TICK_SPEECH_SAMPLES = SPEECH_RATE_HZ * TICK_MS // 1000

Pcm = npt.NDArray[np.int16]
"""Mono samples, shape [n]; the rate is named beside it."""
Planes = npt.NDArray[np.uint8]
"""An I420 picture, shape [height * 3 // 2, width]: Y, then U and V at half size (BT.601, limited range)."""


class MienError(Exception):
    """The root of every error that Mien raises on purpose: what was wrong, which value, what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One I420 picture. It is never written to once it has been made, so it can be shared between sinks.

    Args:
        planes: uint8 [height * 3 // 2, width], C-contiguous; width and height are even.
    """

    planes: Planes

    def __post_init__(self) -> None:
        rows, width = self.planes.shape
        if self.planes.dtype != np.uint8 or rows % 3 or width % 2 or (rows * 2 // 3) % 2:
            raise ValueError(
                "a picture is uint8 [height * 3 // 2, width] with even sides, "
                f"not {self.planes.dtype} {self.planes.shape}"
            )

    @property
    def width(self) -> int:
        return int(self.planes.shape[1])

    @property
    def height(self) -> int:
        return int(self.planes.shape[0]) * 2 // 3


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What one tick releases: a picture and its own sound, always both.

    Args:
        tick: its place on the clock; the media time is ``tick * TICK_MS`` and never repeats or skips.
        generation: counts interruptions; a sink drops what carries an older one than it was last told of.
        picture: what to show during this tick.
        sound: int16 [TICK_SAMPLES] at 48 kHz; silence where nothing is said.
    """

    tick: int
    generation: int
    picture: Picture
    sound: Pcm

    @property
    def media_time_ms(self) -> int:
        return self.tick * TICK_MS


class SinkClosed(MienError):
    """The sink can take nothing any more; the playout detaches it and goes on."""


class Sink(Protocol):
    """Takes frames on their way out: a room's tracks, RTMP, a recording.

    It decides nothing about what plays. Between ``put`` and sending it may cut the sound into packets and hold
    one constant delay, at most 60 ms, for sound and picture alike. All methods are called on the event loop of the
    conversation and return at once; work that blocks belongs to the sink's own thread.
    """

    @property
    def name(self) -> str:
        """For logs and metrics."""

    @property
    def delay_ms(self) -> int:
        """The constant time between a frame's release and the sending of its first sample."""

    def put(self, frame: Frame) -> None:
        """Take the next frame. When the sink's queue is full it drops by its own stated policy, the picture first.

        Raises:
            SinkClosed: the other end is gone for good.
        """

    def clear(self, generation: int) -> int:
        """Silence everything not yet sent, in this call, keeping the place of each sample on the time line.

        The first few milliseconds fade out rather than stop. Later frames carry at least this generation.

        Returns:
            How many samples (48 kHz) had been put and not sent when the call came.
        """

    def unsent(self) -> int:
        """How many samples (48 kHz) were put and have not been sent."""

    async def aclose(self) -> None:
        """Flush and close; bounded in time."""
