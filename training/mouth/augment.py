"""Rooms, lines, microphones and throats: one clean utterance in, many ways to have heard it out. All of it seeded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avatar.frames import SPEECH_RATE_HZ

Wave = npt.NDArray[np.float64]


def resampled(sound: Wave, rate_hz: float) -> Wave:
    """Band-limited to 16 kHz; a ``rate_hz`` other than the true one changes pitch, formants and speed together."""
    count = _fast(len(sound))
    spectrum = np.fft.rfft(sound, count)
    target = round(count * SPEECH_RATE_HZ / rate_hz / 2) * 2
    bins = target // 2 + 1
    moved = spectrum[:bins] if bins <= len(spectrum) else np.pad(spectrum, (0, bins - len(spectrum)))
    out = np.fft.irfft(moved, target) * (target / count)
    return np.asarray(out[: round(len(sound) * SPEECH_RATE_HZ / rate_hz)])


def heard(sound: Wave, random: np.random.Generator, crowd: list[Wave]) -> Wave:
    """16 kHz sound (any scale) as it might arrive: int16 scale, clipped, rounded."""
    sound = sound / (np.sqrt(np.mean(sound**2)) + 1e-9)
    spectrum = np.fft.rfft(sound, _fast(len(sound) + SPEECH_RATE_HZ // 2))
    hz = np.fft.rfftfreq(_fast(len(sound) + SPEECH_RATE_HZ // 2), 1 / SPEECH_RATE_HZ)
    if random.random() < 0.7:
        spectrum *= _equaliser(hz, random)
    if random.random() < 0.2:
        low = random.uniform(3000, 7500)
        spectrum /= 1.0 + (hz / low) ** random.choice([8, 16, 32])
    if random.random() < 0.2:
        high = random.uniform(80, 350)
        spectrum *= (hz / high) ** 4 / (1.0 + (hz / high) ** 4)
    if random.random() < 0.4:
        spectrum *= np.fft.rfft(_room(random), _fast(len(sound) + SPEECH_RATE_HZ // 2))
    sound = np.fft.irfft(spectrum)[: len(sound)]
    sound = sound / (np.sqrt(np.mean(sound**2)) + 1e-9)
    if random.random() < 0.2:
        drive = random.uniform(0.3, 1.5)
        sound = np.tanh(drive * sound) / drive
    if random.random() < 0.6:
        snr_db = random.uniform(6, 40)
        noise = _noise(len(sound), random, crowd if snr_db > 14 else [])
        sound = sound + noise * 10 ** (-snr_db / 20)
    level_db = random.uniform(-50, -40) if random.random() < 0.12 else random.uniform(-40, -12)
    return scaled(sound, level_db)


def scaled(sound: Wave, level_db: float) -> Wave:
    """To an RMS level (dBFS), as int16 would hold it."""
    rms = np.sqrt(np.mean(sound**2)) + 1e-9
    return np.asarray(np.clip(np.rint(sound / rms * 32768 * 10 ** (level_db / 20)), -32768, 32767))


def no_speech(random: np.random.Generator) -> Wave:
    """Some seconds in which nobody speaks: silence, noise, hum, knocks, music."""
    count = int(random.uniform(2, 5) * SPEECH_RATE_HZ)
    match int(random.integers(6)):
        case 0:
            return np.zeros(count)
        case 1 | 2:
            return scaled(_noise(count, random, []), random.uniform(-70, -15))
        case 3:
            knocks = np.zeros(count)
            for start in random.integers(0, count - 2000, random.integers(2, 14)):
                length = int(random.uniform(60, 1800))
                ring = np.sin(2 * np.pi * random.uniform(100, 3000) * np.arange(length) / SPEECH_RATE_HZ)
                burst = (ring * random.random() + random.normal(size=length)) * np.exp(-np.arange(length) / length * 5)
                knocks[start : start + length] += burst
            return scaled(knocks + 0.001 * random.normal(size=count), random.uniform(-50, -20))
        case _:
            return scaled(music(count, random), random.uniform(-40, -14))


def music(count: int, random: np.random.Generator) -> Wave:
    """Chords, a melody and drums, from numbers."""
    out = np.zeros(count)
    beat = int(SPEECH_RATE_HZ * 10 ** random.uniform(-0.7, 0.2))
    scale = random.choice([0, 2, 3, 5, 7, 9, 10, 12], 5, replace=False)
    root_hz = random.uniform(80, 330)
    slope = random.uniform(0.6, 2.0)
    decay_s = 10 ** random.uniform(-1.0, 0.8)
    attack = int(random.uniform(20, 1200))
    wobble = random.uniform(0, 0.01) * (random.random() < 0.4)
    for start in range(0, count, beat):
        notes = [random.choice(scale) + 12 * random.integers(0, 3) for _ in range(random.integers(1, 5))]
        length = min(count - start, int(beat * random.uniform(0.8, 3)))
        time = np.arange(length) / SPEECH_RATE_HZ
        swell = np.exp(-time / decay_s) * np.minimum(1.0, np.arange(length) / attack)
        for note in notes:
            hz = root_hz * 2 ** (note / 12)
            phase = hz * time + wobble * hz / 5.5 * np.sin(2 * np.pi * 5.5 * time)
            for partial in range(1, int(min(24, 7000 / hz)) + 1):
                out[start : start + length] += swell * np.sin(2 * np.pi * partial * phase + partial) / partial**slope
        if random.random() < 0.5:
            hit = min(length, 3000)
            thump = np.sin(2 * np.pi * random.uniform(50, 120) * time[:hit]) if random.random() < 0.5 else 0.0
            out[start : start + hit] += (
                3 * (thump + 0.6 * random.normal(size=hit)) * np.exp(-np.arange(hit) / random.uniform(200, 900))
            )
    return out


def _equaliser(hz: npt.NDArray[np.floating], random: np.random.Generator) -> Wave:
    """A smooth random response of some dB, with a tilt."""
    octave = np.log2(np.maximum(hz, 40.0) / 40.0)
    points = random.normal(0.0, 3.0, 9)
    tilt = random.normal(0.0, 1.2)
    gain_db = np.interp(octave, np.arange(9), points) + tilt * (octave - 4.5)
    return np.asarray(10 ** (np.clip(gain_db, -24, 18) / 20))


def _room(random: np.random.Generator) -> Wave:
    """An impulse response: the direct sound and a tail that decays by 60 dB in 0.1 to 0.6 s."""
    rt60 = random.uniform(0.1, 0.6)
    count = int(min(rt60, 0.45) * SPEECH_RATE_HZ)
    tail = random.normal(size=count) * 10 ** (-3 * np.arange(count) / SPEECH_RATE_HZ / rt60)
    tail[: int(random.uniform(0.001, 0.01) * SPEECH_RATE_HZ)] = 0.0
    tail *= 10 ** (-random.uniform(0, 15) / 20) / np.sqrt(np.sum(tail**2) + 1e-9)
    tail[0] = 1.0
    return np.asarray(tail)


def _noise(count: int, random: np.random.Generator, crowd: list[Wave]) -> Wave:
    """RMS 1: coloured noise, hum, music, or other people's voices."""
    kind = random.random()
    if kind < 0.15 and crowd:
        out = np.zeros(count)
        for _ in range(random.integers(3, 7)):
            voice = crowd[random.integers(len(crowd))]
            voice = np.tile(voice, 2 + count // len(voice))
            start = random.integers(0, len(voice) - count)
            part = voice[start : start + count]
            out += part / (np.sqrt(np.mean(part**2)) + 1e-9)
    elif kind < 0.3:
        out = music(count, random)
    else:
        size = _fast(count)
        hz = np.fft.rfftfreq(size, 1 / SPEECH_RATE_HZ)
        spectrum = np.fft.rfft(random.normal(size=size)) / np.maximum(hz, 30.0) ** random.uniform(0, 1)
        out = np.fft.irfft(spectrum * _equaliser(hz, random), size)[:count]
        if random.random() < 0.2:
            time = np.arange(count) / SPEECH_RATE_HZ
            hum = sum(np.sin(2 * np.pi * random.choice([50, 60]) * k * time) / k for k in range(1, 6))
            out = out / (np.std(out) + 1e-9) + random.uniform(0.5, 3) * hum
        if random.random() < 0.3:  # it comes and goes
            out = out * np.interp(np.arange(count), np.linspace(0, count, 9), random.uniform(0.1, 1.5, 9))
    return np.asarray(out / (np.sqrt(np.mean(out**2)) + 1e-9))


def _fast(count: int) -> int:
    """The next length that an FFT is fast for: a multiple of a power of two."""
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step
