"""Where speech leaves livekit-agents and enters the playout.

In: the session's audio frames, one segment an utterance. Out: the same samples in the playout; and back to the session,
when the first of them was released and, exactly once a segment, how much of sound and text was really heard.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from agent.transcript import Captions
from avatar.frames import SAMPLE_RATE_HZ, MienError, Pcm
from avatar.playout import Finished, Playout, Started

SETTLE_S = 0.005
"""How long after an interruption the session is told what was heard."""
AHEAD_S = 6.0
"""How far synthesis may run ahead of what is heard."""


class PlayoutOutput(io.AudioOutput):
    """The end of the session's audio chain. Make it, then the playout, then `bind` the two; whoever listens to the
    playout passes its events on to `on_started` and `on_finished`. It begins held, until
    somebody is there (`hold`).

    Args:
        captions: asked at the end of a segment for the text that was heard.
    """

    def __init__(self, captions: Captions) -> None:
        super().__init__(
            label="mien playout", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=SAMPLE_RATE_HZ
        )
        self.held = True
        """Nobody is there to hear: speech waits. The session's own pause comes on top of it."""
        self._captions = captions
        self._paused = False
        self._playout: Playout | None = None

    def bind(self, playout: Playout) -> None:
        self._playout = playout
        self.hold(self.held)

    @property
    def playout(self) -> Playout:
        assert self._playout is not None, "bind() comes first"
        return self._playout

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        playout = self.playout
        if frame.sample_rate != SAMPLE_RATE_HZ:
            raise MienError(f"the playout takes {SAMPLE_RATE_HZ} Hz, not {frame.sample_rate}: resample before")
        generation = playout.generation
        await playout.room(AHEAD_S)
        if playout.generation != generation:
            return  # interrupted while it waited: this frame belongs to what was cleared
        # From here on nothing awaits: the session and the wrappers above count a segment and the playout has it.
        await super().capture_frame(frame)
        playout.push(_mono(frame))

    def flush(self) -> None:
        super().flush()
        self.playout.end()

    def clear_buffer(self) -> None:
        super().flush()
        self.playout.clear()

    def pause(self) -> None:
        super().pause()
        self._paused = True
        self.playout.pause()

    def resume(self) -> None:
        super().resume()
        self._paused = False
        self.hold(self.held)

    def hold(self, held: bool) -> None:
        self.held = held
        if held or self._paused:
            self.playout.pause()
        else:
            self.playout.resume()

    # -- the playout's listener

    def on_started(self, event: Started) -> None:
        self.on_playback_started(created_at=time.time())

    def on_finished(self, event: Finished) -> None:
        # Not inside `clear_buffer`: the session's other tasks of this utterance are being cancelled in the same breath,
        # and its transcript must be complete before it hears of the end.
        asyncio.get_running_loop().call_later(SETTLE_S if event.interrupted else 0, self._tell_finished, event)

    def _tell_finished(self, event: Finished) -> None:
        heard = self._captions.finished(event.position_s, interrupted=event.interrupted)
        self.on_playback_finished(
            playback_position=event.position_s, interrupted=event.interrupted, synchronized_transcript=heard
        )


def _mono(frame: rtc.AudioFrame) -> Pcm:
    pcm: Pcm = np.frombuffer(frame.data, np.int16).copy()
    if frame.num_channels > 1:
        pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
    return pcm
