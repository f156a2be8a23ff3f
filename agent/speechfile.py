"""Speech from a sound file of any common format: a path in, 48 kHz mono samples out, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np

from avatar.frames import SAMPLE_RATE_HZ, MienError, Pcm


class SpeechFileError(MienError):
    """The file cannot be read as sound: which file, and why."""


def speech_duration_s(path: Path) -> float | None:
    """How long the file says it is; None if it does not say.

    Raises:
        SpeechFileError: it is not there or holds no sound.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise SpeechFileError(
                    f"{path} holds no sound: give a recording of speech (wav, flac, mp3, ogg, m4a, ...)"
                )
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration is not None else None
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def read_speech(path: Path) -> Iterator[Pcm]:
    """Yield the file's first sound stream, mixed to mono: int16 [any length] at 48 kHz. It blocks while it decodes.

    Raises:
        SpeechFileError: it is not there, holds no sound, or is damaged.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise SpeechFileError(
                    f"{path} holds no sound: give a recording of speech (wav, flac, mp3, ogg, m4a, ...)"
                )
            for decoded in container.decode(container.streams.audio[0]):
                # Only the order of the samples counts here; a gap between time stamps is not filled.
                decoded.pts = None
                for resampled in resampler.resample(decoded):
                    yield _samples(resampled)
            for resampled in resampler.resample(None):
                yield _samples(resampled)
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def _samples(frame: av.AudioFrame) -> Pcm:
    return np.ascontiguousarray(frame.to_ndarray()[0], np.int16)


def _silent(path: Path) -> SpeechFileError:
    return SpeechFileError(f"{path} holds no sound: give a recording of speech (wav, flac, mp3, ogg, m4a, ...)")


def _unreadable(path: Path, error: Exception) -> SpeechFileError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SpeechFileError(f"cannot read {path} as sound: {reason}")
