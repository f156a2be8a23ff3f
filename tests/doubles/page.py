"""A page without a browser: the other end of the embedded room, with aiortc, on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from avatar.frames import SAMPLE_RATE_HZ, Pcm

PACKET = SAMPLE_RATE_HZ // 50


class Voice(MediaStreamTrack):
    """A microphone: 20 ms packets in real time, silence when nothing was queued."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._pending: Pcm = np.zeros(0, np.int16)
        self._sent = 0
        self._began: float | None = None

    def say(self, pcm: Pcm) -> None:
        self._pending = np.concatenate([self._pending, pcm])

    async def recv(self) -> av.AudioFrame:
        now = asyncio.get_running_loop().time()
        self._began = self._began if self._began is not None else now
        await asyncio.sleep(max(0.0, self._began + self._sent / SAMPLE_RATE_HZ - now))
        packet = np.zeros(PACKET, np.int16)
        said = self._pending[:PACKET]
        packet[: said.size] = said
        self._pending = self._pending[PACKET:]
        frame = av.AudioFrame.from_ndarray(packet.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = self._sent
        self._sent += PACKET
        return frame


class Page:
    """Offers, connects, keeps what it gets. ``sound`` is 48 kHz mono; ``pictures`` are the decoded frames."""

    def __init__(self) -> None:
        self.voice = Voice()
        self.sound: list[Pcm] = []
        self.pictures: list[av.VideoFrame] = []
        self.messages: list[dict[str, Any]] = []
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, answer: Callable[[str], Awaitable[str]]) -> None:
        """Connect through a function that answers an SDP offer; returns when the data channel is open."""
        connection = self._connection
        connection.addTrack(self.voice)
        connection.addTransceiver("video", "recvonly")
        connection.on("track", self._track)
        channel = connection.createDataChannel("mien")
        opened = asyncio.Event()
        channel.on("open", opened.set)
        channel.on("message", lambda text: self.messages.append(json.loads(text)))
        self._channel = channel
        await connection.setLocalDescription(await connection.createOffer())
        sdp = await answer(connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        async with asyncio.timeout(10):
            await opened.wait()

    def send(self, message: dict[str, Any]) -> None:
        self.send_text(json.dumps(message))

    def send_text(self, text: str) -> None:
        """Whatever it says, on the data channel."""
        self._channel.send(text)

    def heard(self) -> Pcm:
        return np.concatenate([np.zeros(0, np.int16), *self.sound])

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._connection.close()

    def _track(self, track: MediaStreamTrack) -> None:
        keep = self._listen(track) if track.kind == "audio" else self._watch(track)
        self._tasks.append(asyncio.get_running_loop().create_task(keep))

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                self.sound += [part.to_ndarray().reshape(-1).astype(np.int16) for part in resampler.resample(frame)]
        except MediaStreamError:
            pass

    async def _watch(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.VideoFrame)
                self.pictures.append(frame)
        except MediaStreamError:
            pass


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Wait for something to become true; real time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}") from None
