"""One WebRTC peer: an offer in, an answer out, then its tracks, its microphone and its data channel.

It does not know what a conversation is. What goes wrong inside aiortc becomes `PeerError` here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from aioice import ice
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.codecs.base import Encoder

from avatar.frames import MienError, Pcm
from rooms.decoding import decode_here
from rooms.reports import MediaClock, report_media_time
from rooms.room import Message
from rooms.tracks import PeerSink
from rooms.vp8 import PictureEncoder

logger = logging.getLogger(__name__)

CLOSE_S = 1.5
ANSWER_S = 8.0
MESSAGE_LIMIT = 64 * 1024
BUFFERED_LIMIT = 1 << 20

_machine_addresses = ice.get_host_addresses


class PeerError(MienError):
    """The offer cannot be answered: what is wrong with it."""


def offer_media_on(addresses: Sequence[str]) -> None:
    """Choose the addresses on which media is offered; all of this machine's and loopback when empty.

    aioice leaves loopback out and has no option for it, and a laptop without a network has no other address; so its
    one function that lists addresses is replaced, for the whole process.
    """

    def chosen(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return list(addresses) or ["127.0.0.1", *_machine_addresses(use_ipv4, use_ipv6)]

    ice.get_host_addresses = chosen


class Peer:
    """Callbacks run on the event loop: ``on_connected`` once, ``on_closed`` once, ``on_message`` and ``on_hear``."""

    def __init__(
        self,
        *,
        ice_servers: Sequence[dict[str, Any]],
        on_connected: Callable[[Peer], None],
        on_closed: Callable[[Peer], None],
        on_channel: Callable[[], None],
        on_message: Callable[[Message], None],
        on_hear: Callable[[Pcm], None],
    ) -> None:
        self.sink = PeerSink(self._hush)
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._on_channel = on_channel
        self._on_message = on_message
        self._on_hear = on_hear
        servers = [RTCIceServer(**server) for server in ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._connection.on("connectionstatechange", self._state_changed)
        self._connection.on("datachannel", self._channel_came)
        self._sound: RTCRtpSender | None = None
        self._channel: RTCDataChannel | None = None
        self._connected = False
        self._closed = False

    async def answer(self, sdp: str) -> str:
        """Answer an offer (SDP) with ours, all candidates gathered.

        Raises:
            PeerError: the offer is not SDP, or asks for what cannot be had.
        """
        connection = self._connection
        self._sound = connection.addTrack(self.sink.sound)
        picture = connection.addTrack(self.sink.picture)
        _encode_with(picture, PictureEncoder())
        media_clock = MediaClock()
        report_media_time(self._sound, media_clock, lambda: self.sink.sound.handed_ms)
        report_media_time(picture, media_clock, lambda: self.sink.picture.handed_ms)
        video = next(t for t in connection.getTransceivers() if t.kind == "video")
        # Before the offer is applied, or the preference is ignored. VP8 costs a CPU a fifth of what H.264 does here.
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([codec for codec in capabilities if codec.mimeType in ("video/VP8", "video/rtx")])
        for transceiver in connection.getTransceivers():
            if transceiver.kind == "audio":
                decode_here(transceiver.receiver, self._hear)
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
                await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:  # aiortc's parsers raise whatever the malformed line leads to
            await self.aclose()
            raise PeerError(f"the offer cannot be answered: {error or type(error).__name__}") from error
        answer: str = connection.localDescription.sdp
        return answer

    def send(self, message: Message) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount > BUFFERED_LIMIT:
            logger.warning("the page does not take its messages; %s is dropped", message.get("type"))
            return
        channel.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def aclose(self) -> None:
        """Close within a bounded time: an open peer would hold a thread, and the interpreter with it."""
        if self._closed:
            return
        self._closed = True
        await self.sink.aclose()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            logger.warning("a peer connection did not close within %.1f s", CLOSE_S)
        self._on_closed(self)

    # -- what aiortc tells

    async def _state_changed(self) -> None:
        state = self._connection.connectionState
        if state == "connected" and not self._connected:
            self._connected = True
            self._on_connected(self)
        elif state in ("failed", "closed"):
            await self.aclose()

    def _hear(self, pcm: Pcm) -> None:
        if not self._closed:
            self._on_hear(pcm)

    def _channel_came(self, channel: RTCDataChannel) -> None:
        if channel.label != "mien":
            return
        self._channel = channel
        channel.on("message", self._message_came)
        self._on_channel()

    def _message_came(self, text: str | bytes) -> None:
        try:
            message = json.loads(text) if len(text) <= MESSAGE_LIMIT else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            logger.warning("the page sent something that is no message (%d bytes); it is ignored", len(text))
            return
        if message["type"] == "buffer":
            self._buffered(message.get("sound_ms"))
        else:
            self._on_message(message)

    # -- what the page holds of the sound

    def _buffered(self, sound_ms: object) -> None:
        if isinstance(sound_ms, (int, float)) and math.isfinite(sound_ms):
            self.sink.buffered(sound_ms)

    def _hush(self, until: int) -> None:
        """Tell the page at which RTP timestamp of the sound it may be heard again."""
        if self._sound is not None:
            origin = _sent_timestamp(self._sound) - self.sink.sound.handed
            self.send({"type": "hush", "until_rtp": (origin + until) % (1 << 32)})


def _sent_timestamp(sender: RTCRtpSender) -> int:
    """The RTP timestamp of the packet sent last. aiortc begins at a random one, and says it to the receiver alone."""
    timestamp: int = sender._RTCRtpSender__rtp_timestamp  # type: ignore[attr-defined]
    return timestamp


def _encode_with(sender: RTCRtpSender, encoder: Encoder) -> None:
    """Give a sender its encoder, which aiortc would make by the codec's name alone."""
    sender._RTCRtpSender__encoder = encoder  # type: ignore[attr-defined]
