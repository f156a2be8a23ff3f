"""A page's microphone, decoded where its packets come in: Opus (or what else was agreed) in, 16 kHz mono out.

aiortc has a thread for it, and passes every 20 ms to it and back through two queues and a task of their own. All of
that costs more than decoding does, which takes some 50 µs, and wakes two threads fifty times a second each.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc import RTCRtpReceiver
from aiortc.codecs import get_decoder
from aiortc.codecs.base import Decoder
from aiortc.codecs.opus import OpusDecoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from avatar.frames import SPEECH_RATE_HZ, Pcm

logger = logging.getLogger(__name__)

Coded = tuple[RTCRtpCodecParameters, JitterFrame]


class DecodedHere:
    """Stands where the queue to a receiver's decoder thread is; the thread sleeps until the end.

    Args:
        on_hear: called with int16 [n] at 16 kHz, on the event loop.
    """

    def __init__(self, on_hear: Callable[[Pcm], None]) -> None:
        self._on_hear = on_hear
        self._ended = threading.Event()
        self._codec: str | None = None
        # Made for each codec, with the first of its packets.
        self._decoder: Decoder
        self._resampler: av.AudioResampler

    def put(self, coded: Coded | None) -> None:
        """The receiver has a packet, or no more."""
        if coded is None:
            self._ended.set()
            return
        codec, packet = coded
        if codec.name != self._codec:
            self._codec, self._decoder = codec.name, _decoder(codec)
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SPEECH_RATE_HZ)
        try:
            decoded: list[Any] = self._decoder.decode(packet)
        except av.FFmpegError as error:  # what a page sends may be anything; the next packet is decoded again
            logger.warning("a packet of the microphone cannot be decoded as %s: %s", codec.name, error)
            return
        for sound in decoded:
            for frame in self._resampler.resample(sound):
                self._on_hear(np.frombuffer(memoryview(frame.planes[0]), np.int16, frame.samples))

    def get(self) -> None:
        """What the thread waits for: the end."""
        self._ended.wait()


def _decoder(codec: RTCRtpCodecParameters) -> Decoder:
    decoder = get_decoder(codec)
    if isinstance(decoder, OpusDecoder):
        decoder.codec.layout = "mono"  # which Opus itself makes of two channels, for less than both cost
    return decoder


def decode_here(receiver: RTCRtpReceiver, on_hear: Callable[[Pcm], None]) -> None:
    """Hear an audio receiver, which has not begun, without its thread and its track.

    Each packet is passed on as it comes, still in order. aiortc holds back four, which makes every answer and every
    interruption 65 ms later (measured), and protects against nothing: a lost packet stalls its buffer either way. It
    has no option for either; the version is pinned and a test looks.
    """
    receiver._RTCRtpReceiver__jitter_buffer._prefetch = 0  # type: ignore[attr-defined]
    receiver._RTCRtpReceiver__decoder_queue = DecodedHere(on_hear)  # type: ignore[attr-defined]
