"""A voice detector that detects nothing and keeps what the session hears."""

from __future__ import annotations

import numpy as np
from livekit import rtc
from livekit.agents import vad

from avatar.frames import Pcm


class Ears(vad.VAD):
    """Give it to an `AgentSession` as its ``vad``."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.02))
        self.heard: list[Pcm] = []
        """The microphone's frames, 16 kHz mono."""

    @property
    def sound(self) -> Pcm:
        return np.concatenate([np.zeros(0, np.int16), *self.heard])

    def stream(self) -> vad.VADStream:
        return _Stream(self)


class _Stream(vad.VADStream):
    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        super().__init__(ears)

    async def _main_task(self) -> None:
        async for frame in self._input_ch:
            if isinstance(frame, rtc.AudioFrame):
                assert (frame.sample_rate, frame.num_channels) == (16_000, 1)
                self._ears.heard.append(np.frombuffer(frame.data, np.int16))
