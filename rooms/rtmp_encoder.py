"""H.264 and AAC of a stream, encoded once for everybody who takes it. Ticks in, packets out, in the order of their
times.

It blocks and is used by one thread. A keyframe every 2 s, closed groups of pictures, no B-frames: every packet is
decoded when it is shown.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import av.error
import numpy as np
from av.codec.context import Flags

from avatar.frames import FPS, SAMPLE_RATE_HZ, TICK_SAMPLES, MienError, Pcm

log = logging.getLogger(__name__)

KEYFRAME_S = 2
AUDIO_BIT_RATE = 128_000
AUDIO_FRAME_SAMPLES = 1024
CHANNELS = 2
"""Platforms expect stereo; both channels are the same, which costs nothing worth mentioning."""

# Numbers of ITU-T H.273; see rooms/mp4.py.
_BT601 = 6
_LIMITED_RANGE = 1

Choice = Literal["auto", "x264", "nvenc"]


class EncoderError(MienError):
    """There is no encoder as it was asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """What a receiver must know before the first packet.

    Args:
        avcc: AVCDecoderConfigurationRecord of the H.264 stream (ISO 14496-15).
        aac: AudioSpecificConfig.
    """

    width: int
    height: int
    fps: int
    video_bit_rate: int
    avcc: bytes
    aac: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """One coded picture or 1024 samples of sound.

    Args:
        time: of media; picture k in units of 1/fps, sound in samples.
        data: H.264 with lengths in front of its units (not start codes), or raw AAC.
    """

    video: bool
    keyframe: bool
    time: int
    data: bytes
    format: Format

    @property
    def time_ms(self) -> float:
        return self.time * 1000 / (self.format.fps if self.video else SAMPLE_RATE_HZ)


class Encoder:
    """One stream's encoder.

    Args:
        fps: 25, or 30: every fifth picture is then shown twice.
        choice: ``auto`` takes NVENC where a frame can really be encoded with it, else x264.

    Raises:
        EncoderError: NVENC was asked for and is not there.
    """

    def __init__(self, width: int, height: int, fps: int, video_bit_rate: int, choice: Choice = "auto") -> None:
        if fps not in (25, 30):
            raise EncoderError(f"a stream has 25 or 30 pictures a second, not {fps}: set RTMP_FPS to one of them")
        self._fps = fps
        self._size = (width, height)
        self._bit_rate = video_bit_rate
        self.name, self._video = self._choose(choice)
        self._audio = _aac()
        avcc = avc_config(self._video.extradata or b"")
        self.format = Format(width, height, fps, video_bit_rate, avcc, bytes(self._audio.extradata or b""))
        self._forced = True
        self._due: int | None = None
        """The tick whose sound comes next."""
        self._pictures: deque[Packet] = deque()
        """Waiting for the sound that comes before them."""
        self._sounds: deque[Packet] = deque()

    def force_keyframe(self) -> None:
        """Make the next picture one."""
        self._forced = True

    def encode(self, tick: int, picture: av.VideoFrame | None, sound: Pcm) -> list[Packet]:
        """The packets that this tick completes. Ticks that were left out are silent and show the picture before.

        Args:
            picture: yuv420p of the stream's size; its buffer may be written to afterwards. None: it was dropped.
            sound: int16 [TICK_SAMPLES] at 48 kHz.

        Raises:
            av.error.FFmpegError: the encoder failed; make another.
        """
        if self._due is None:
            self._due = tick
        for missing in range(self._due, tick):
            self._encode_sound(missing, np.zeros(TICK_SAMPLES, np.int16))
        self._due = tick + 1
        if picture is not None:
            for place in shown_at(tick, self._fps):
                self._encode_picture(place, picture)
        self._encode_sound(tick, sound)
        return self._in_order()

    def flush(self) -> list[Packet]:
        """What is left at the end; nothing may be encoded after it."""
        for packet in self._video.encode(None):
            self._coded(packet)
        self._heard(self._audio.encode(None))
        return self._in_order() + [self._pictures.popleft() for _ in range(len(self._pictures))]

    def _encode_picture(self, place: int, picture: av.VideoFrame) -> None:
        picture.pts, picture.time_base = place, Fraction(1, self._fps)
        forced, self._forced = self._forced, False
        picture.pict_type = av.video.frame.PictureType.I if forced else av.video.frame.PictureType.NONE
        for packet in self._video.encode(picture):
            self._coded(packet)

    def _coded(self, packet: av.Packet[Any]) -> None:
        assert packet.pts is not None
        self._pictures.append(Packet(True, packet.is_keyframe, packet.pts, with_lengths(bytes(packet)), self.format))

    def _encode_sound(self, tick: int, sound: Pcm) -> None:
        both = np.repeat(sound, CHANNELS)[np.newaxis]
        samples = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        samples.sample_rate = SAMPLE_RATE_HZ
        samples.pts, samples.time_base = tick * TICK_SAMPLES, Fraction(1, SAMPLE_RATE_HZ)
        self._heard(self._audio.encode(samples))

    def _heard(self, packets: Iterable[av.Packet[Any]]) -> None:
        for packet in packets:
            # The first packet only prepares the decoder, and lies before the first sample; nothing is lost without it.
            if packet.pts is not None and packet.pts >= 0:
                self._sounds.append(Packet(False, True, packet.pts, bytes(packet), self.format))

    def _in_order(self) -> list[Packet]:
        """What can be sent: no sound that is still to come belongs before it."""
        ready: list[Packet] = []
        while self._sounds:
            if self._pictures and self._pictures[0].time_ms <= self._sounds[0].time_ms:
                ready.append(self._pictures.popleft())
            else:
                ready.append(self._sounds.popleft())
        return ready

    # -- which encoder

    def _choose(self, choice: Choice) -> tuple[str, Any]:
        if choice in ("auto", "nvenc"):
            try:
                self._try_out(self._nvenc())
                return "nvenc", self._opened(self._nvenc())
            except (av.error.FFmpegError, ValueError) as error:
                if choice == "nvenc":
                    raise EncoderError(
                        f"NVENC was asked for and cannot encode here ({error}): use x264 or auto"
                    ) from None
                log.debug("NVENC cannot encode here: %s", error)
        return "x264", self._opened(self._x264())

    def _context(self, codec: str, options: dict[str, str]) -> Any:
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base, context.framerate = Fraction(1, self._fps), Fraction(self._fps, 1)
        context.bit_rate = self._bit_rate
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.flags |= Flags.global_header
        # Platforms want an even rate: never above it over a second.
        rate = {"maxrate": str(self._bit_rate), "bufsize": str(self._bit_rate)}
        context.options = {"g": str(KEYFRAME_S * self._fps), "bf": "0", "forced-idr": "1"} | rate | options
        return context

    def _x264(self) -> Any:
        # superfast without lookahead costs 5.4 ms a 720p picture on one core, veryfast 7.7 (measured with the puppet).
        # One thread: conversations and synthesis beside it keep their cores, and no frame waits in another thread.
        options = {"preset": "superfast", "tune": "zerolatency", "threads": "1", "sc_threshold": "0"}
        return self._context("libx264", options)

    def _nvenc(self) -> Any:
        return self._context("h264_nvenc", {"preset": "p4", "tune": "ll", "rc": "cbr", "zerolatency": "1"})

    def _opened(self, context: Any) -> Any:
        context.open()
        return context

    def _try_out(self, context: Any) -> None:
        """A card without an encoder, or a driver that is too old, shows only now."""
        width, height = self._size
        grey = av.VideoFrame.from_ndarray(np.full((height * 3 // 2, width), 128, np.uint8), format="yuv420p")
        grey.pts, grey.time_base = 0, Fraction(1, self._fps)
        context.encode(grey)
        context.encode(None)


def _aac() -> Any:
    context: Any = av.CodecContext.create("aac", "w")
    context.sample_rate, context.layout, context.format = SAMPLE_RATE_HZ, "stereo", "fltp"
    context.bit_rate = AUDIO_BIT_RATE
    context.time_base = Fraction(1, SAMPLE_RATE_HZ)
    context.flags |= Flags.global_header
    context.open()
    return context


def shown_at(tick: int, fps: int) -> range:
    """The pictures of the stream, counted from 0, that show this tick: one at 25 a second; at 30 those that are nearest
    to it, so that none is more than 20 ms from its sound."""
    if fps == FPS:
        return range(tick, tick + 1)
    # Picture k shows the tick nearest to 5 k / 6: of six pictures the third and the fourth show the same.
    return range((12 * tick - 6) // 10 + 1, (12 * tick + 6) // 10 + 1)


# -- H.264's two ways to separate its units


def nal_units(annex_b: bytes) -> list[bytes]:
    """The units of a stream with start codes."""
    units, start = [], annex_b.find(b"\x00\x00\x01")
    while start >= 0:
        end = annex_b.find(b"\x00\x00\x01", start + 3)
        units.append(annex_b[start + 3 : end if end >= 0 else len(annex_b)].rstrip(b"\x00"))
        start = end
    return [unit for unit in units if unit]


def with_lengths(annex_b: bytes) -> bytes:
    """A coded picture as FLV and MP4 hold it; parameter sets and delimiters are left out, they are in the header."""
    return b"".join(len(unit).to_bytes(4) + unit for unit in nal_units(annex_b) if unit[0] & 0x1F not in (7, 8, 9))


def avc_config(extradata: bytes) -> bytes:
    """AVCDecoderConfigurationRecord of an encoder's parameter sets.

    Raises:
        EncoderError: there are none.
    """
    units = nal_units(extradata)
    sps = [unit for unit in units if unit[0] & 0x1F == 7]
    pps = [unit for unit in units if unit[0] & 0x1F == 8]
    if not sps or not pps:
        raise EncoderError("the H.264 encoder gave no parameter sets: choose another with RTMP_ENCODER")
    record = bytes((1, sps[0][1], sps[0][2], sps[0][3], 0xFF, 0xE0 | len(sps)))
    record += b"".join(len(unit).to_bytes(2) + unit for unit in sps)
    record += bytes((len(pps),)) + b"".join(len(unit).to_bytes(2) + unit for unit in pps)
    if sps[0][1] in (100, 110, 122, 144):  # High profiles say 4:2:0, 8 bit once more
        record += b"\xfd\xf8\xf8\x00"
    return record
