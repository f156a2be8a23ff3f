"""The sound of an audio message: an encoded recording in memory in, 48 kHz mono samples out, a piece at a time.

The demuxer is the one that the message names, never one that FFmpeg guesses: some of those open other files and URLs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import av.error
import numpy as np

from agent.inbox.messages import AudioFormat, AudioMessage, InvalidMessage
from avatar.frames import SAMPLE_RATE_HZ, Pcm

MAX_AUDIO_S = 600


def decode(data: bytes, audio_format: AudioFormat) -> Iterator[Pcm]:
    """Yield the recording, mixed to mono: int16 [any length] at 48 kHz. It blocks while it decodes.

    Raises:
        InvalidMessage: it is not of this format, damaged, or longer than MAX_AUDIO_S.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    made = 0
    try:
        with av.open(io.BytesIO(data), mode="r", format=audio_format) as container:
            if not container.streams.audio:
                raise InvalidMessage(f"data is {audio_format} without sound: give a recording of speech")
            for decoded in container.decode(container.streams.audio[0]):
                decoded.pts = None  # only the order of the samples counts; gaps between time stamps are not filled
                for resampled in resampler.resample(decoded):
                    made += resampled.samples
                    if made > MAX_AUDIO_S * SAMPLE_RATE_HZ:
                        raise InvalidMessage(f"data is longer than {MAX_AUDIO_S} s: cut the recording into several")
                    yield np.ascontiguousarray(resampled.to_ndarray()[0], np.int16)
            for resampled in resampler.resample(None):
                yield np.ascontiguousarray(resampled.to_ndarray()[0], np.int16)
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidMessage(f"data cannot be read as {audio_format}: {reason}") from None


def check(message: AudioMessage) -> float:
    """How long it lasts, in seconds, by decoding all of it. It blocks: some 1 ms for each second of sound.

    Raises:
        InvalidMessage: it cannot be played to its end, or holds nothing.
    """
    samples = sum(pcm.size for pcm in decode(message.data, message.format))
    if not samples:
        raise InvalidMessage(f"data is {message.format} without a single sample: give a recording of speech")
    return samples / SAMPLE_RATE_HZ
