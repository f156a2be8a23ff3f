"""The sink of a LiveKit room: frames in as the playout releases them, a source of sound and one of pictures out.

livekit's sound source sends 10 ms every 10 ms from a queue of its own, and silence when that is empty. 20 ms of silence
lead the first frame: so much may a tick come late before anything is missing. A picture is handed on when the first
sample of its sound leaves the queue. livekit encodes both, on threads of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from livekit import rtc

from avatar.frames import FPS, SAMPLE_RATE_HZ, TICK_MS, TICK_SAMPLES, Frame, Pcm, SinkClosed
from rooms.livekit_queue import SoundQueue
from rooms.packets import faded

logger = logging.getLogger(__name__)

CUSHION_MS = 20
_CUSHION_SAMPLES = SAMPLE_RATE_HZ * CUSHION_MS // 1000
_SPARE_SAMPLES = SAMPLE_RATE_HZ // 500
"""The queue may hold so much more than its cushion: no clock's last digit is worth shortening a silence for."""
_QUEUE_MS = 70
"""livekit's queue tells of a frame when it holds no more than this, and takes twice as much. A cushion, its slack and a
tick: it tells at once unless it holds more than it should (`SoundQueue`)."""
_SLACK_S = 0.01
"""livekit's queue gets the next frame while it holds no more than the cushion and this."""
_CAPACITY_TICKS = 5
"""How many frames wait for livekit's queue; when one finds no room the oldest is dropped, picture and sound."""
_FLUSH_S = 0.3


class _Chunk(NamedTuple):
    sound: Pcm
    frame: Frame | None
    """Whose sound it is; None for silence that was put in."""


class LiveKitSink:
    """A `Sink`; the room publishes its sources ``sound`` and ``picture``.

    Args:
        width: of the pictures, px.
        height: px.
    """

    name = "livekit"
    delay_ms = CUSHION_MS

    def __init__(self, width: int, height: int) -> None:
        self.sound = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=_QUEUE_MS)
        self.picture = rtc.VideoSource(width, height)
        self.watched = True
        """Whether to hand all pictures on."""
        self.known = True
        """Whether the server knows the picture's track. It learns of it by its first packets, and only then lets
        anybody subscribe: until it does, one picture a second is handed on even though nobody watches."""
        self.on_sent: Callable[[int, float], None] | None = None
        self.dropped = 0
        """Frames: silent ones that were left out to catch up, and those for which there was no room."""
        self._clock = asyncio.get_running_loop().time
        self._waiting: deque[_Chunk] = deque()
        self._came = asyncio.Event()
        self._given: Pcm = np.zeros(0, np.int16)
        """The newest samples that livekit's queue got, at least as many as it holds."""
        self._queue = SoundQueue(_QUEUE_MS / 1000)
        self._generation = 0
        self._closed = False
        self._failure: Exception | None = None
        self._feeding = asyncio.get_running_loop().create_task(self._feed(), name="livekit sink")

    def put(self, frame: Frame) -> None:
        if self._closed:
            raise SinkClosed("the LiveKit room was left")
        if self._failure is not None:
            raise SinkClosed(f"LiveKit takes no more: {self._failure}") from self._failure
        # The queue grows when ticks that came late are caught up, or livekit's clock is slower than ours. A silent tick
        # that is shorter, or left out, and it is back; sound and picture stay together all the while.
        sound = frame.sound
        spare = self.unsent() - _CUSHION_SAMPLES
        if spare > _SPARE_SAMPLES and not sound.any():
            sound = sound[min(spare, TICK_SAMPLES) :]
            if not sound.size:
                self.dropped += 1
                return
        if sum(chunk.frame is not None for chunk in self._waiting) == _CAPACITY_TICKS:
            self._waiting.popleft()
            self.dropped += 1
        stale = frame.generation < self._generation
        self._waiting.append(_Chunk(np.zeros_like(sound) if stale else sound, frame))
        self._came.set()

    def clear(self, generation: int) -> int:
        self._generation = max(self._generation, generation)
        unsent, held = self.unsent(), self._held()
        waiting = list(self._waiting)
        self._waiting.clear()
        if held:
            self.sound.clear_queue()
            self._queue.clear(self._clock())
            self._waiting.append(_Chunk(faded(self._given[-held:]), None))
        for chunk in waiting:
            silenced = np.zeros_like(chunk.sound) if self._waiting else faded(chunk.sound)
            self._waiting.append(chunk._replace(sound=silenced))
        self._came.set()
        return unsent

    def unsent(self) -> int:
        return sum(chunk.sound.size for chunk in self._waiting) + self._held()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._failure is None:
            await asyncio.sleep(min(self.unsent() / SAMPLE_RATE_HZ, _FLUSH_S))
        self._waiting.clear()
        self._queue.forget()
        self._feeding.cancel()
        await self.sound.aclose()
        await self.picture.aclose()

    # -- livekit's queue

    def _held(self) -> int:
        """How many samples livekit's queue holds."""
        return max(0, round((self._queue.empty_at - self._clock()) * SAMPLE_RATE_HZ))

    async def _feed(self) -> None:
        try:
            while True:
                while not self._waiting:
                    self._came.clear()
                    await self._came.wait()
                lead_s = self._queue.empty_at - self._clock()
                if lead_s > CUSHION_MS / 1000 + _SLACK_S:
                    await asyncio.sleep(lead_s - CUSHION_MS / 1000)
                    continue
                if lead_s < -TICK_MS / 1000:
                    # It has been dry for a while, or is new. (After a tick that was a little late nothing is put in:
                    # the next ones come in time, and the cushion is back.)
                    await self._give(_Chunk(np.zeros(_CUSHION_SAMPLES, np.int16), None))
                if self._waiting:
                    await self._give(self._waiting.popleft())
        except Exception as error:  # livekit raises a bare Exception; the next frame tells the playout
            logger.warning("LiveKit takes no more sound: %s", error)
            self._failure = error

    async def _give(self, chunk: _Chunk) -> None:
        leaves_at = self._queue.give(self._clock(), chunk.sound.size / SAMPLE_RATE_HZ)
        self._given = np.concatenate([self._given, chunk.sound])[-SAMPLE_RATE_HZ // 5 :]
        if chunk.frame is not None:
            asyncio.get_running_loop().call_at(leaves_at, self._leaves, chunk.frame, leaves_at)
        # Its request goes out before it awaits for the first time, so that nothing comes between this and `clear`.
        await self.sound.capture_frame(rtc.AudioFrame(chunk.sound.tobytes(), SAMPLE_RATE_HZ, 1, chunk.sound.size))
        self._queue.taken(self._clock())

    def _leaves(self, frame: Frame, at_s: float) -> None:
        """The first sample of this frame is being sent, or was at this time if the loop is late."""
        if self._closed:
            return
        if self.watched or (not self.known and frame.tick % FPS == 0):
            picture = frame.picture
            flat = picture.planes.reshape(-1)
            # livekit copies within the call; it takes a buffer as it is only if that is flat and could be written to.
            planes = flat.data if flat.flags.writeable else flat.tobytes()
            image = rtc.VideoFrame(picture.width, picture.height, rtc.VideoBufferType.I420, planes)
            self.picture.capture_frame(image, timestamp_us=round(at_s * 1e6))
        if self.on_sent is not None:
            self.on_sent(frame.tick, at_s)
