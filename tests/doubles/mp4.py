"""Reads back what an MP4 file plays: its pictures' brightness and its sound, each at its time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from avatar.frames import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Played:
    """What a player would show and sound.

    Args:
        luma: the mean of each picture's Y plane, shown at ``picture_times_ms``.
        sound: in -1..1 at 48 kHz, from time 0 on, which is where the file says its presentation begins.
    """

    picture_times_ms: npt.NDArray[np.float64]
    luma: npt.NDArray[np.float64]
    sound: npt.NDArray[np.float32]


def play(path: Path) -> Played:
    """Decode the whole file, as a player would: edit lists are obeyed."""
    times, luma = [], []
    with av.open(str(path), format="mp4") as container:
        for image in container.decode(video=0):
            assert image.pts is not None
            assert image.time_base is not None
            times.append(float(image.pts * image.time_base * 1000))
            luma.append(float(image.to_ndarray()[: image.height].mean()))
    pieces: list[npt.NDArray[np.float32]] = []
    length = 0
    with av.open(str(path), format="mp4") as container:
        for samples in container.decode(audio=0):
            assert samples.pts is not None
            assert samples.time_base is not None
            assert samples.sample_rate == SAMPLE_RATE_HZ
            at = round(samples.pts * samples.time_base * SAMPLE_RATE_HZ)
            assert at == length, f"sound of sample {at} comes after {length} samples"
            pieces.append(samples.to_ndarray()[0])
            length += samples.samples
    return Played(np.array(times), np.array(luma), np.concatenate(pieces))
