"""The sound of frames cut into packets of 10 or 20 ms, for sinks that hold sound for a moment before it is sent.

In: frames, as the playout releases them. Out: packets, in order, each with its place on the time line; nothing is
repeated, and what is silenced or dropped is counted. It knows no clock and no transport: the sink pops when one is due.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, TICK_SAMPLES, Frame, Pcm

FADE_MS = 10
FADE_SAMPLES = SAMPLE_RATE_HZ * FADE_MS // 1000
_FADE_OUT = (0.5 + 0.5 * np.cos(np.linspace(0.0, np.pi, FADE_SAMPLES))).astype(np.float32)


def faded(pcm: Pcm) -> Pcm:
    """What is heard of int16 [n] at 48 kHz when it is silenced: its first 10 ms fade out, the rest is zeros."""
    silenced: Pcm = np.zeros_like(pcm)
    fading = pcm[:FADE_SAMPLES]
    silenced[: fading.size] = fading * _FADE_OUT[: fading.size]
    return silenced


class SoundPacket(NamedTuple):
    """``pcm``: int16 [packet_ms at 48 kHz], never written to; ``media_time_ms`` is the time of its first sample."""

    media_time_ms: int
    tick: int
    pcm: Pcm


class SoundPackets:
    """A bounded first-in first-out queue of sound. Used on one thread.

    Args:
        packet_ms: how long a packet is, 10 or 20.
        capacity_ticks: how many frames' sound is held at most, at least 1. When a frame finds no room, the oldest
            frame gives way: what is kept is what is closest to now.
    """

    def __init__(self, packet_ms: int, capacity_ticks: int) -> None:
        if packet_ms not in (10, 20):
            raise ValueError(f"packets are 10 or 20 ms long, not {packet_ms}")
        if capacity_ticks < 1:
            raise ValueError(f"room for at least one tick is needed, not {capacity_ticks}")
        self._packet_ms = packet_ms
        self._packet_samples = SAMPLE_RATE_HZ * packet_ms // 1000
        self._capacity_ticks = capacity_ticks
        self._sounds: deque[tuple[int, Pcm]] = deque()
        self._sent_of_first = 0
        self._generation = 0

    def __len__(self) -> int:
        """How many whole packets can be popped."""
        return self.unsent() // self._packet_samples

    def unsent(self) -> int:
        """How many samples were pushed and neither popped nor dropped."""
        return len(self._sounds) * TICK_SAMPLES - self._sent_of_first

    def push(self, frame: Frame) -> int:
        """Take a frame's sound. One that carries an older generation than the last ``clear`` is held as silence.

        Returns:
            How many samples were dropped to make room: 0 unless the queue was full.
        """
        stale = frame.generation < self._generation
        dropped = 0
        if len(self._sounds) == self._capacity_ticks:
            self._sounds.popleft()
            dropped = TICK_SAMPLES - self._sent_of_first
            self._sent_of_first = 0
        self._sounds.append((frame.tick, np.zeros_like(frame.sound) if stale else frame.sound))
        return dropped

    def pop(self) -> SoundPacket | None:
        """The next packet; None when all has been sent."""
        if not self._sounds:
            return None
        tick, sound = self._sounds[0]
        start = self._sent_of_first
        self._sent_of_first += self._packet_samples
        if self._sent_of_first == TICK_SAMPLES:
            self._sounds.popleft()
            self._sent_of_first = 0
        time_ms = tick * TICK_MS + start * 1000 // SAMPLE_RATE_HZ
        return SoundPacket(time_ms, tick, sound[start : start + self._packet_samples])

    def clear(self, generation: int) -> int:
        """Silence what has not been sent, in its place: the first 10 ms fade out, the rest becomes zeros.

        Returns:
            How many samples had not been sent.
        """
        self._generation = max(self._generation, generation)
        start = self._sent_of_first
        for place, (tick, sound) in enumerate(self._sounds):
            # A frame's sound is shared with the other sinks: silence takes its place, it is not written into.
            silenced = np.zeros_like(sound)
            if place == 0:
                # Packets and the fade divide a tick evenly: the fade never runs past the first frame.
                silenced[start:] = faded(sound[start:])
            self._sounds[place] = (tick, silenced)
        return self.unsent()
