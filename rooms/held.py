"""The newest frame, held for one tick: so a sink that cannot take back what it has encoded fades out at an interruption
as a room does.

Frames in; ticks out, one later, each with the sound that is left of it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from avatar.frames import TICK_MS, Frame, Pcm, Picture
from rooms.packets import SoundPackets

DELAY_MS = TICK_MS


class Tick(NamedTuple):
    """What a frame has become. ``sound``: int16 [TICK_SAMPLES] at 48 kHz."""

    tick: int
    picture: Picture
    sound: Pcm


class HeldFrames:
    """Used on one thread."""

    def __init__(self) -> None:
        self._sound = SoundPackets(20, capacity_ticks=2)
        self._pictures: deque[tuple[int, Picture]] = deque()

    def push(self, frame: Frame) -> Tick | None:
        """Take a frame; returns the one before it."""
        self._sound.push(frame)
        self._pictures.append((frame.tick, frame.picture))
        return self._pop() if len(self._pictures) > 1 else None

    def flush(self) -> Tick | None:
        """The frame that is held, if there is one."""
        return self._pop() if self._pictures else None

    def clear(self, generation: int) -> int:
        return self._sound.clear(generation)

    def unsent(self) -> int:
        return self._sound.unsent()

    def _pop(self) -> Tick:
        packets = (self._sound.pop(), self._sound.pop())
        sound = np.concatenate([packet.pcm for packet in packets if packet is not None])
        tick, picture = self._pictures.popleft()
        return Tick(tick, picture, sound)
