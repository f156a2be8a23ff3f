"""Sound and pictures as they are encoded for WebRTC: delay, quality, rates, whole pictures when asked for."""

from __future__ import annotations

import queue
import threading
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from aiortc import RTCPeerConnection
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from rooms.decoding import DecodedHere, decode_here
from rooms.opus import OpusEncoder
from rooms.peer import _encode_with
from rooms.tracks import PictureTrack
from rooms.vp8 import BITS_PER_PIXEL, LEAST_BIT_RATE, PictureEncoder

pytestmark = pytest.mark.media

SIZE = 256
PACKET = 960


def decoded(packets: list[bytes]) -> npt.NDArray[np.int16]:
    decoder = av.AudioCodecContext.create("libopus", "r")
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    return np.concatenate([frame.to_ndarray().reshape(-1, 2)[:, 0] for frame in frames])


def test_sound_comes_out_whole_and_2_5_ms_late() -> None:
    noise = np.random.default_rng(1).normal(0, 4000, PACKET * 50).astype(np.int16)
    encoder = OpusEncoder()
    packets = [encoder.encode(noise[at : at + PACKET], at) for at in range(0, noise.size, PACKET)]
    assert [packet.pts for packet in packets] == list(range(0, noise.size, PACKET))
    heard = decoded([bytes(packet) for packet in packets])
    likeness = [np.dot(noise[:40_000].astype(np.float64), heard[late : 40_000 + late]) for late in range(600)]
    assert int(np.argmax(likeness)) == 120


def test_silence_costs_next_to_nothing() -> None:
    encoder = OpusEncoder()
    silent = np.zeros(PACKET, np.int16)
    sizes = [len(bytes(encoder.encode(silent, number * PACKET))) for number in range(20)]
    assert max(sizes[5:]) <= 10


def picture(number: int, size: int = SIZE) -> av.VideoFrame:
    """A face's worth of change: a quarter of it is new every time, the rest stands still."""
    planes = np.full((size * 3 // 2, size), 128, np.uint8)
    part = slice(size // 4, size // 4 * 3)
    x, y = np.meshgrid(np.arange(size // 2), np.arange(size // 2))
    grain = np.random.default_rng(number).normal(0, 12, x.shape)
    planes[part, part] = np.sin((x + 3 * number) / 9) * np.sin((y + 2 * number) / 11) * 80 + 128 + grain
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = number * 3600, Fraction(1, 90_000)
    return frame


def unpacked(payloads: list[bytes]) -> bytes:
    return b"".join(VpxPayloadDescriptor.parse(payload)[1] for payload in payloads)


def is_whole(encoded: bytes) -> bool:
    return not encoded[0] & 1  # RFC 6386, 9.1


def kilobits_per_s(encoder: PictureEncoder, size: int, begin: int) -> float:
    sizes = [len(unpacked(encoder.encode(picture(begin + number, size))[0])) for number in range(60)]
    return sum(sizes[20:]) * 8 * 25 / 40 / 1000


def test_pictures_can_be_read_back_and_keep_their_time() -> None:
    encoder, decoder = PictureEncoder(), av.VideoCodecContext.create("libvpx", "r")
    for number in range(10):
        payloads, timestamp = encoder.encode(picture(number))
        assert timestamp == number * 3600
        (shown,) = decoder.decode(av.Packet(unpacked(payloads)))
        difference = shown.to_ndarray()[:SIZE].astype(float) - picture(number).to_ndarray()[:SIZE]
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 25


def test_a_whole_picture_comes_first_and_when_asked_for() -> None:
    encoder = PictureEncoder()
    asked = [number == 6 for number in range(10)]
    whole = [is_whole(unpacked(encoder.encode(picture(number), asks)[0])) for number, asks in enumerate(asked)]
    assert whole == [True, *asked[1:]]


def test_the_rate_follows_what_the_receiver_says_within_what_the_size_needs() -> None:
    encoder, size = PictureEncoder(), 512
    enough = size * size * BITS_PER_PIXEL * 25 / 1000
    assert kilobits_per_s(encoder, size, 0) == pytest.approx(enough, rel=0.2)
    encoder.target_bitrate = 400_000
    assert kilobits_per_s(encoder, size, 100) == pytest.approx(400, rel=0.2)
    encoder.target_bitrate = 5_000_000
    assert kilobits_per_s(encoder, size, 200) == pytest.approx(enough, rel=0.2)
    encoder.target_bitrate = 1
    assert encoder.target_bitrate == LEAST_BIT_RATE


def test_a_microphone_is_heard_where_its_packets_come_in_whatever_comes() -> None:
    at = np.arange(PACKET * 50)
    tone = (8000 * np.sin(2 * np.pi * 400 * at / 48_000)).astype(np.int16)
    encoder = OpusEncoder()
    heard: list[npt.NDArray[np.int16]] = []
    decoder = DecodedHere(lambda pcm: heard.append(pcm.copy()))
    opus = RTCRtpCodecParameters("audio/opus", 48_000, 2, 111)
    for number in range(50):
        packet = bytes(encoder.encode(tone[number * PACKET : (number + 1) * PACKET], number * PACKET))
        if number == 25:
            decoder.put((opus, JitterFrame(b"\xff" * 3, number * PACKET)))
        decoder.put((opus, JitterFrame(packet, number * PACKET)))
        assert len(heard) >= number  # the resampler keeps some samples back, and never a packet
    sound = np.concatenate(heard).astype(np.float64)
    assert abs(sound.size - 16_000) <= 2 * 320
    spectrum = np.abs(np.fft.rfft(sound[4000:12_000] * np.hanning(8000)))
    assert int(np.argmax(spectrum)) * 2 == 400
    assert spectrum[205:].max() < 0.01 * spectrum.max()

    telephone = RTCRtpCodecParameters("audio/PCMU", 8000, 1, 0)
    before = len(heard)
    for number in range(5):
        decoder.put((telephone, JitterFrame(b"\xff" * 160, number * 160)))
    assert len(heard) > before

    waiting = threading.Thread(target=decoder.get, daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    decoder.put(None)
    waiting.join(5)
    assert not waiting.is_alive()


def test_small_changes_of_the_rate_do_not_cost_a_whole_picture() -> None:
    encoder = PictureEncoder()
    encoder.target_bitrate = 400_000
    encoder.encode(picture(0, 512))
    for number, rate in enumerate((430_000, 470_000, 400_000, 370_000), 1):
        encoder.target_bitrate = rate
        assert not is_whole(unpacked(encoder.encode(picture(number, 512))[0]))
    encoder.target_bitrate = 300_000
    assert is_whole(unpacked(encoder.encode(picture(5, 512))[0]))


def test_a_change_of_size_is_taken() -> None:
    encoder, decoder = PictureEncoder(), av.VideoCodecContext.create("libvpx", "r")
    for number, size in enumerate((SIZE, 128, SIZE)):
        encoded = unpacked(encoder.encode(picture(number, size))[0])
        assert is_whole(encoded)
        (shown,) = decoder.decode(av.Packet(encoded))
        assert shown.width == size


async def test_what_is_reached_into_is_there() -> None:
    """aiortc has no option for these; were the names to change, they would silently do nothing."""
    connection = RTCPeerConnection()
    sender = connection.addTrack(PictureTrack())
    receiver = connection.addTransceiver("audio").receiver
    assert sender._RTCRtpSender__encoder is None  # type: ignore[attr-defined]
    assert receiver._RTCRtpReceiver__jitter_buffer._prefetch > 0  # type: ignore[attr-defined]
    encoder = PictureEncoder()
    _encode_with(sender, encoder)
    assert isinstance(receiver._RTCRtpReceiver__decoder_queue, queue.Queue)  # type: ignore[attr-defined]
    decode_here(receiver, lambda pcm: None)
    assert sender._RTCRtpSender__encoder is encoder  # type: ignore[attr-defined]
    assert receiver._RTCRtpReceiver__jitter_buffer._prefetch == 0
    assert isinstance(receiver._RTCRtpReceiver__decoder_queue, DecodedHere)
    await connection.close()
