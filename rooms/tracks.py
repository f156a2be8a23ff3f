"""The sink of a WebRTC peer: frames in as the playout releases them, aiortc tracks out.

Sound is cut into 20 ms packets: the first of a tick is sent at once, the second 20 ms later. Pictures are sent at once;
when the encoder is behind, only the newest waits. Sound is encoded here, pictures by aiortc in a thread of its own.

What was sent is not heard yet: it waits in the receiver's jitter buffer, 40 to 300 ms. How long, the receiver tells
(`PeerSink.buffered`); that much counts as unsent, and is what a `Hush` asks the receiver to drop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, Frame, Pcm, SinkClosed
from rooms.opus import OpusEncoder
from rooms.packets import SoundPackets

PACKET_MS: Literal[20] = 20
_PACKET_SAMPLES = SAMPLE_RATE_HZ * PACKET_MS // 1000
_CAPACITY_TICKS = 5
_VIDEO_CLOCK_HZ = 90_000
_VIDEO_BASE = Fraction(1, _VIDEO_CLOCK_HZ)
_EARLY_S = 0.0005
"""Timers of libuv count whole milliseconds, and may come so much early. Waiting for the rest would be a busy loop."""
BUFFERED_MAX_MS = 900.0
"""More than this a receiver does not hold of a voice; whoever says so is not believed."""

Hush = Callable[[int], None]
"""Asks the receiver to fall silent now, until it comes to this sample of the sound's time line (48 kHz)."""


class SoundTrack(MediaStreamTrack):
    """48 kHz mono, 20 ms a packet, each when it is due."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.on_sent: Callable[[int, float], None] | None = None
        self.on_played: Callable[[Pcm], None] | None = None
        self._packets = SoundPackets(PACKET_MS, _CAPACITY_TICKS)
        self._encoder = OpusEncoder()
        self._due: deque[float] = deque()
        self._came = asyncio.Event()
        self._sending: int | None = None
        self._origin_ms: int | None = None
        self._clock = asyncio.get_running_loop().time
        self.handed = 0
        """Where on the time line the packet handed over last begins, in samples."""
        self.handed_ms = 0.0
        """The media time of its first sample."""
        self._loud: int | None = None
        """Where the last packet began that held any sound."""

    def put(self, frame: Frame) -> None:
        now = self._clock()
        dropped = self._packets.push(frame)
        for _ in range(dropped * 1000 // SAMPLE_RATE_HZ // PACKET_MS):
            self._due.popleft()
        self._due.extend(now + at / 1000 for at in range(0, TICK_MS, PACKET_MS))
        self._came.set()

    def clear(self, generation: int) -> int:
        return self._packets.clear(generation)

    def unsent(self) -> int:
        return self._packets.unsent()

    @property
    def next(self) -> int:
        """Where the next packet will begin, in samples of the time line."""
        return self.handed + _PACKET_SAMPLES

    def loud_within(self, samples: int) -> bool:
        """Whether anything but silence was handed over in the last so many samples."""
        return self._loud is not None and self.next - self._loud <= samples + _PACKET_SAMPLES

    async def recv(self) -> av.Packet[Any]:
        """The next packet, encoded. aiortc asks again only when the last one has been sent."""
        if self._sending is not None and self.on_sent is not None:
            self.on_sent(self._sending, self._clock())
        self._sending = None
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            if not self._due:
                self._came.clear()
                await self._came.wait()
            elif (wait_s := self._due[0] - self._clock()) > _EARLY_S:
                await asyncio.sleep(wait_s)
            else:
                break
        self._due.popleft()
        packet = self._packets.pop()
        assert packet is not None, "a due time was kept for a packet that is gone"
        self._sending = packet.tick
        if self.on_played is not None:
            self.on_played(packet.pcm)
        if self._origin_ms is None:
            self._origin_ms = packet.media_time_ms
        self.handed_ms = packet.media_time_ms
        self.handed = (packet.media_time_ms - self._origin_ms) * SAMPLE_RATE_HZ // 1000
        if packet.pcm.any():
            self._loud = self.handed
        return self._encoder.encode(packet.pcm, self.handed)

    def stop(self) -> None:
        super().stop()
        self._came.set()


class PictureTrack(MediaStreamTrack):
    """25 pictures a second; a slow encoder gets the newest."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.handed_ms = 0.0
        """The media time of the picture handed over last."""
        self._next: Frame | None = None
        self._came = asyncio.Event()
        self._origin_ms: int | None = None

    def put(self, frame: Frame) -> None:
        if self._next is not None:
            self.dropped += 1
        self._next = frame
        self._came.set()

    async def recv(self) -> av.VideoFrame:
        while self._next is None:
            if self.readyState != "live":
                raise MediaStreamError
            self._came.clear()
            await self._came.wait()
        frame, self._next = self._next, None
        self.handed_ms = frame.media_time_ms
        if self._origin_ms is None:
            self._origin_ms = frame.media_time_ms
        # Not a copy: a picture's planes are never written to again.
        picture = av.VideoFrame.from_numpy_buffer(frame.picture.planes, format="yuv420p")
        picture.time_base = _VIDEO_BASE
        picture.pts = (frame.media_time_ms - self._origin_ms) * _VIDEO_CLOCK_HZ // 1000
        return picture

    def stop(self) -> None:
        super().stop()
        self._came.set()


class PeerSink:
    """Feeds the two tracks of one peer; a `Sink`.

    Args:
        hush: called where sound is cut that the receiver may still hold.
    """

    name = "webrtc"
    delay_ms = 0

    def __init__(self, hush: Hush | None = None) -> None:
        self.sound = SoundTrack()
        self.picture = PictureTrack()
        self._hush = hush
        self._buffered = 0
        self._closed = False

    def buffered(self, ms: float) -> None:
        """The receiver says how long sound waits there between its coming and its being heard."""
        self._buffered = round(min(max(ms, 0.0), BUFFERED_MAX_MS) * SAMPLE_RATE_HZ / 1000)

    def put(self, frame: Frame) -> None:
        if self._closed:
            raise SinkClosed("the peer connection is closed")
        self.sound.put(frame)
        self.picture.put(frame)

    def clear(self, generation: int) -> int:
        unsent = self.sound.clear(generation) + self._buffered
        if self._hush is not None and self.sound.loud_within(unsent):
            # The next packet begins with the end of a fade, of which the beginning will not be heard.
            self._hush(self.sound.next + _PACKET_SAMPLES)
        return unsent

    def unsent(self) -> int:
        return self.sound.unsent() + self._buffered

    async def aclose(self) -> None:
        self._closed = True
        self.sound.stop()
        self.picture.stop()
