"""What a person says, on its way to the session: echo taken out, 16 kHz mono, in 20 ms frames.

In: 48 kHz mono from the room, and what the avatar itself plays (the echo's reference). Out: livekit-agents' AudioInput.
The browser cancels echo first; this is the second line, for microphones and browsers that do not.
"""

from __future__ import annotations

import asyncio
from collections import deque

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from avatar.frames import SAMPLE_RATE_HZ, SPEECH_RATE_HZ, Pcm

_STEP = SAMPLE_RATE_HZ // 100
"""The echo canceller (WebRTC's AEC3, in livekit's package) takes exactly 10 ms."""
_FRAME_SAMPLES = SPEECH_RATE_HZ // 50
_HELD_FRAMES = 100
"""Two seconds: when the session does not listen for longer, the oldest sound is of no use any more."""


class Microphone(io.AudioInput):
    """Feed it with `hear` and `played`; the session iterates over it."""

    def __init__(self) -> None:
        super().__init__(label="mien microphone")
        self.held = False
        """Hear silence instead."""
        self._frames: deque[rtc.AudioFrame] = deque(maxlen=_HELD_FRAMES)
        self._came = asyncio.Event()
        self._closed = False
        self._echo = rtc.AudioProcessingModule(echo_cancellation=True, high_pass_filter=True)
        self._resampler = rtc.AudioResampler(SAMPLE_RATE_HZ, SPEECH_RATE_HZ, num_channels=1)
        self._near: Pcm = np.zeros(0, np.int16)
        self._far: Pcm = np.zeros(0, np.int16)
        self._out: Pcm = np.zeros(0, np.int16)

    def played(self, pcm: Pcm) -> None:
        """What is being sent to the person's loudspeaker: int16 [n] at 48 kHz."""
        self._far, steps = _steps(self._far, pcm)
        for step in steps:
            self._echo.process_reverse_stream(_frame(step, SAMPLE_RATE_HZ))

    def hear(self, pcm: Pcm) -> None:
        """What their microphone took up: int16 [n] at 48 kHz."""
        self._near, steps = _steps(self._near, pcm)
        for step in steps:
            frame = _frame(step, SAMPLE_RATE_HZ)
            self._echo.process_stream(frame)
            if self.held:
                frame = _frame(np.zeros(_STEP, np.int16), SAMPLE_RATE_HZ)
            for resampled in self._resampler.push(frame):
                self._collect(np.frombuffer(resampled.data, np.int16))

    def close(self) -> None:
        self._closed = True
        self._came.set()

    def _collect(self, pcm: Pcm) -> None:
        self._out = np.concatenate([self._out, pcm])
        while self._out.size >= _FRAME_SAMPLES:
            self._frames.append(_frame(self._out[:_FRAME_SAMPLES], SPEECH_RATE_HZ))
            self._out = self._out[_FRAME_SAMPLES:]
            self._came.set()

    async def __anext__(self) -> rtc.AudioFrame:
        while not self._frames:
            if self._closed:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        return self._frames.popleft()


def _steps(held: Pcm, pcm: Pcm) -> tuple[Pcm, list[Pcm]]:
    """What is left over, and the whole steps of 10 ms."""
    held = np.concatenate([held, pcm])
    whole = held.size - held.size % _STEP
    return held[whole:], [held[at : at + _STEP] for at in range(0, whole, _STEP)]


def _frame(pcm: Pcm, rate_hz: int) -> rtc.AudioFrame:
    return rtc.AudioFrame(bytearray(pcm.tobytes()), rate_hz, 1, pcm.size)
