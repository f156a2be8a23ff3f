"""Visitors that count and do not decode: many conversations' clients in one process, at the least cost.

In: an address, and lines on stdin (``join N``: so many more; ``ask TEXT``: everyone writes this whenever their avatar
has nothing more to say; ``stop``). Out: JSON lines, once a second, with what each has received so far: packets, packets
lost, frames (different RTP time stamps: pictures, of the video), and how late they came against their own time line.

A client is a peer put together from aiortc's transports (ICE, DTLS, SRTP, SCTP) without its `RTCRtpReceiver`, whose
decoders would cost many times what is measured here. Like a browser it sends its microphone all the time (the noise of
a quiet room, encoded once), so that the server decodes, cancels echo and detects voices; and it tells the sender how
much it may send (REMB), or the server's encoder would stay at its lowest rate.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCRtpCodecParameters,
    RTCSctpTransport,
)
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, RtpPacket, pack_remb_fci
from aiortc.sdp import SessionDescription, candidate_to_sdp

from benchmarks.child import emit, told
from rooms.peer import offer_media_on

AUDIO, VIDEO = 111, 96
SAMPLE_RATE_HZ = 48_000
ALLOWED_BITS_PER_S = 3_000_000
"""More than the encoder's own most (1.5 Mb/s): nothing holds it back, as on a loopback or a home network."""
PACKET_SAMPLES = SAMPLE_RATE_HZ // 50
NOISE_RMS = 30
"""Of int16: a quiet room at -60 dB."""
REPORT_EVERY_S = 1.0

_OFFER = """v=0
o=- {number} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
{transport}
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
{transport}
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:2
a=sctp-port:5000
a=max-message-size:65536
{transport}
"""


@dataclass
class Counts:
    """What one kind of stream brought; only grows."""

    packets: int = 0
    lost: int = 0
    frames: int = 0
    """Different RTP time stamps: of the video, pictures."""
    late_ms_max: float = 0.0
    """The most by which a packet came later than its time stamp, against the earliest one; since it was last asked."""
    ssrc: int = 0
    _sequence: int = -1
    _timestamp: int = -1
    _earliest: float = field(default=float("inf"))
    _first: int = -1

    def count(self, packet: RtpPacket, clock_hz: int) -> None:
        self.packets += 1
        self.ssrc = packet.ssrc
        if self._sequence >= 0:
            self.lost += (packet.sequence_number - self._sequence - 1) % 65536
        self._sequence = packet.sequence_number
        if packet.timestamp == self._timestamp:
            return
        self.frames += 1
        self._timestamp = packet.timestamp
        self._first = packet.timestamp if self._first < 0 else self._first
        delay = time.monotonic() - ((packet.timestamp - self._first) % 2**32) / clock_hz
        self._earliest = min(self._earliest, delay)
        self.late_ms_max = max(self.late_ms_max, (delay - self._earliest) * 1000)


class CountingReceiver:
    """What aiortc's transport hands packets to, in place of a receiver with a decoder."""

    def __init__(self, clock_hz: int) -> None:
        self.counts = Counts()
        self._clock_hz = clock_hz

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        self.counts.count(packet, self._clock_hz)

    async def _handle_rtcp_packet(self, packet: object) -> None:
        pass

    def _handle_disconnect(self) -> None:
        pass


def room_noise(seconds: float = 2.0) -> list[bytes]:
    """Opus packets of 20 ms with the noise of a quiet room."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE_HZ, "mono", "s16"
    encoder.bit_rate = 32_000
    noise = np.random.default_rng(1).normal(0, NOISE_RMS, round(seconds * SAMPLE_RATE_HZ)).astype(np.int16)
    packets = []
    for start in range(0, noise.size, PACKET_SAMPLES):
        frame = av.AudioFrame.from_ndarray(noise[start : start + PACKET_SAMPLES].reshape(1, -1), "s16", "mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


class Client:
    """One visitor. ``ask`` is what it writes whenever the avatar falls silent."""

    def __init__(self) -> None:
        self.ask = ""
        self.state = ""
        self.asked = 0
        self.audio = CountingReceiver(SAMPLE_RATE_HZ)
        self.video = CountingReceiver(90_000)
        self._gatherer = RTCIceGatherer(iceServers=[])
        self._ice = RTCIceTransport(self._gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._sctp = RTCSctpTransport(self._dtls)
        self._channel: RTCDataChannel | None = None
        self._microphone = RtpPacket(payload_type=AUDIO, ssrc=secrets.randbits(32))

    async def join(self, http: aiohttp.ClientSession, url: str) -> None:
        """Connect; returns when the media's path is up."""
        self._ice._connection.ice_controlling = True  # the offering side's part; aiortc has no public word for it
        await self._gatherer.gather()
        async with http.post(f"{url}api/offer", json={"type": "offer", "sdp": self._offer()}) as response:
            body = await response.json()
        if response.status != 200:
            raise RuntimeError(f"the server refused: {body['error']['message']}")
        answer = SessionDescription.parse(body["sdp"]).media
        for candidate in answer[0].ice_candidates:
            await self._ice.addRemoteCandidate(candidate)
        await self._ice.addRemoteCandidate(None)
        for receiver, payload, media in ((self.audio, AUDIO, answer[0]), (self.video, VIDEO, answer[1])):
            codec = RTCRtpCodecParameters(mimeType=media.rtp.codecs[0].mimeType, clockRate=0, payloadType=payload)
            parameters = RTCRtpReceiveParameters(codecs=[codec], muxId=media.rtp.muxId)
            self._dtls._register_rtp_receiver(receiver, parameters)
        ice, dtls, sctp_port = answer[0].ice, answer[0].dtls, answer[2].sctp_port
        assert ice is not None
        assert dtls is not None
        assert sctp_port is not None
        async with asyncio.timeout(15):
            await self._ice.start(ice)
            await self._dtls.start(dtls)
            await self._sctp.start(answer[2].sctpCapabilities, sctp_port)
        self._channel = RTCDataChannel(self._sctp, RTCDataChannelParameters(label="mien"))
        self._channel.on("message", self._told)

    def _offer(self) -> str:
        ice, dtls = self._gatherer.getLocalParameters(), self._dtls.getLocalParameters()
        fingerprint = next(f for f in dtls.fingerprints if f.algorithm == "sha-256")
        lines = [
            *(f"a=candidate:{candidate_to_sdp(candidate)}" for candidate in self._gatherer.getLocalCandidates()),
            "a=end-of-candidates",
            f"a=ice-ufrag:{ice.usernameFragment}",
            f"a=ice-pwd:{ice.password}",
            f"a=fingerprint:sha-256 {fingerprint.value}",
            "a=setup:actpass",
        ]
        offer = _OFFER.format(number=secrets.randbits(62), transport="\n".join(lines))
        return offer.replace("\n", "\r\n")

    def _told(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "state":
            self.state = message["state"]
            self.talk()

    def talk(self) -> None:
        """Have the avatar speak on, if it does not."""
        if self.ask and self.state == "listening" and self._channel is not None:
            self.asked += 1
            self._channel.send(json.dumps({"type": "chat", "id": f"{self.asked}", "text": self.ask}))

    async def send_sound(self, opus: bytes) -> None:
        """The next 20 ms of the microphone."""
        packet = self._microphone
        packet.payload = opus
        packet.sequence_number = (packet.sequence_number + 1) % 65536
        packet.timestamp = (packet.timestamp + PACKET_SAMPLES) % 2**32
        await self._dtls._send_rtp(packet.serialize())

    async def permit(self) -> None:
        """Tell the encoder how much it may send."""
        ssrc = self.video.counts.ssrc
        if ssrc:
            fci = pack_remb_fci(ALLOWED_BITS_PER_S, [ssrc])
            packet = RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci)
            await self._dtls._send_rtp(bytes(packet))

    def report(self) -> dict[str, Any]:
        row: dict[str, Any] = {"asked": self.asked, "speaking": self.state == "speaking"}
        for name, receiver in (("audio", self.audio), ("video", self.video)):
            counts = receiver.counts
            row[name] = [counts.packets, counts.lost, counts.frames, round(counts.late_ms_max, 1)]
            counts.late_ms_max = 0.0
        return row

    async def aclose(self) -> None:
        if self._channel is not None:
            self._channel.send(json.dumps({"type": "leave"}))
            await asyncio.sleep(0.1)
        await self._sctp.stop()
        await self._dtls.stop()
        await self._ice.stop()


async def visit(url: str) -> None:
    """Obey stdin: ``join N`` (so many more), ``ask TEXT``, ``stop``; report once a second."""
    offer_media_on(["127.0.0.1"])
    reader = await told()
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    print("ready", flush=True)
    working = [loop.create_task(_report(clients)), loop.create_task(_microphones(clients))]
    async with aiohttp.ClientSession() as http:
        while (line := (await reader.readline()).decode().strip()) not in ("", "stop"):
            word, _, rest = line.partition(" ")
            if word == "join":
                for _ in range(int(rest)):
                    client = Client()
                    client.ask = clients[0].ask if clients else ""
                    await client.join(http, url)
                    clients.append(client)
                emit("joined", clients=len(clients))
            elif word == "ask":
                for client in clients:
                    client.ask = rest
                    client.talk()
    for task in working:
        task.cancel()
    await asyncio.gather(*(client.aclose() for client in clients))


async def _microphones(clients: list[Client]) -> None:
    packets = room_noise()
    began, sent = time.monotonic(), 0
    while True:
        for client in clients:
            await client.send_sound(packets[sent % len(packets)])
        sent += 1
        await asyncio.sleep(max(0.0, began + sent * 0.02 - time.monotonic()))


async def _report(clients: list[Client]) -> None:
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        for client in clients:
            await client.permit()
        used = resource.getrusage(resource.RUSAGE_SELF)
        rows = [client.report() for client in clients]
        emit("clients", cpu_s=round(used.ru_utime + used.ru_stime, 3), clients=rows)


if __name__ == "__main__":
    asyncio.run(visit(sys.argv[1]))
    os._exit(0)
