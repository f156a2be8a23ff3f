"""Made-up identities and speech, for measuring and for tests: no real face, no real voice, the same for the same
seed."""

from __future__ import annotations

import numpy as np

from avatar.frames import SPEECH_RATE_HZ, Pcm
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.config import MuseTalkConfig


def synthetic_frames(config: MuseTalkConfig, count: int, width: int, height: int, seed: int = 0) -> list[AvatarFrame]:
    """An idle cycle: smooth random pictures with a moving face box, a feathered mask over its lower half, and latents.

    The face box is about 0.4 of the height, as in a head-and-shoulders picture.
    """
    random = np.random.default_rng(seed)
    frames = []
    rows, columns = np.mgrid[0:height, 0:width]
    for n in range(count):
        y = 120 + 50 * np.sin(columns / 23 + n / 5) * np.cos(rows / 31) + random.normal(0, 3, (height, width))
        chroma = [128 + 30 * np.sin(columns[::2, ::2] / 40 + phase + n / 7) for phase in (0.0, 2.0)]
        body = np.concatenate([y.ravel(), *(plane.ravel() for plane in chroma)]).clip(16, 235).astype(np.uint8)
        side = int(0.4 * height)
        left = (width - side) // 2 + round(4 * np.sin(n / 3))
        top = int(0.2 * height) + round(3 * np.cos(n / 4))
        latents = random.standard_normal((config.unet.in_channels, config.latent_px, config.latent_px))
        frames.append(
            AvatarFrame(
                body=body.reshape(height * 3 // 2, width),
                box=(left, top, left + side, top + side + side // 8),
                mask=_mask(side, side + side // 8),
                latents=(0.9 * latents).astype(np.float32),
            )
        )
    return frames


def _mask(width: int, height: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The lower half, feathered over a twelfth of the width."""
    feather = max(2, width // 12)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    inside = np.minimum(np.minimum(columns, width - 1 - columns), np.minimum(rows - height * 0.46, height - 1 - rows))
    return (np.clip(inside / feather, 0, 1) * 255).round().astype(np.uint8)


def synthetic_speech(seconds: float, seed: int = 0) -> Pcm:
    """A buzz with moving formants, syllables and pauses: int16 at 16 kHz."""
    random = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    pitch_hz = 120 + 25 * np.sin(2 * np.pi * 0.4 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SPEECH_RATE_HZ
    tone = np.zeros_like(time_s)
    for harmonic in range(1, 25):
        formant_hz = 600 + 300 * np.sin(2 * np.pi * 2.3 * time_s)
        tone += np.exp(-(((harmonic * pitch_hz - formant_hz) / 400) ** 2)) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * time_s) + 0.4, 0, 1) * (np.sin(2 * np.pi * 0.31 * time_s + 1) > -0.7)
    noise = 0.003 * random.standard_normal(len(time_s))
    return np.asarray((0.12 * tone * syllables + noise).clip(-1, 1) * 32767, dtype=np.int16)
