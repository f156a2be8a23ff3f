"""The training set: who says what, how it was heard, and what the mouth should have done. Seeded; two processes.

`make` writes ``shard*.npz`` into a folder. Of each utterance: log-mel frames (100 a second) of several hearings, and
targets 50 times a second, where target m belongs to a picture with its middle at 20 * m ms.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.lips.reference import Floats as Curve
from agent.lips.reference import at, curves
from avatar.frames import SPEECH_RATE_HZ
from avatar.puppet.spectrum import HOP, WINDOW, log_mel, mel_filters
from training.mouth import augment, texts
from training.mouth.festival import Line, festival
from training.mouth.kokoro import NAMES as KOKORO
from training.mouth.kokoro import KokoroSpeaker, require
from training.mouth.speakers import EspeakSpeaker, SpeakerError, Spoken, espeak_variants, flite

OUTPUTS = ("opening", "width", "rounding", "closure", "teeth", "tongue", "speech", "effort")
TARGET_MS = 20
FLITE_KIND, FESTIVAL_KIND, KOKORO_KIND = "flite:", "festival:", "kokoro:"
COPIES = {FLITE_KIND: 3, KOKORO_KIND: 8}
OTHER_COPIES = 2
"""Hearings of each utterance: what is rare is heard more often. Of the others the first is at its own speed."""
SPEED = 0.12
"""How much faster or slower, and so higher or lower, a hearing may be."""
SHORTEST_TRACT, LONGEST_TRACT = 1.17, 0.86
"""Formants may be so much higher or lower, the change of speed included. Much more, and /s/ is heard as /sh/."""
CLOSURE_REACH_MS = 15
"""A picture counts as closed if lips meet this near its middle."""

ENGLISH = (
    "gmw/en-US", "gmw/en-US", "gmw/en", "gmw/en-GB-x-rp", "gmw/en-GB-scotland", "gmw/en-GB-x-gbclan", "gmw/en-029",
    "gmw/en-GB-x-gbcwmd", "gmw/en-US-nyc",
)  # fmt: skip
HELD_OUT_VARIANTS = {"f5", "m8", "Andrea", "Michael", "steph2", "adam"}
"""espeak-ng voices that are measured with."""
ODD_VARIANTS = {"fast", "Demonic", "whisper", "whisperf", "croak", "Tweaky", "AnxiousAndy"}
"""Voices no person has, or that change more than the voice."""
FLITE = {"slt": 175.0, "kal16": 105.0}
"""The voices of flite that are trained on, and the mean of their pitch. awb and rms are measured with."""
FESTIVAL = {
    "lp_diphone": "it", "pc_diphone": "it", "czech_dita": "cs", "czech_krb": "cs", "czech_machac": "cs",
    "suo_fi_lj_diphone": "fi", "upc_ca_ona_hts": "ca",
}  # fmt: skip
"""The voices of festival that are trained on (a child and a tall man among them), and what they speak. Its ked is
measured with; czech_ph and hy_fi_mv are those by which a recipe is chosen."""
LINES_AT_ONCE = 40
KOKORO_SEED = 1
"""Of what Kokoro says, whatever the others say: the first sentences of a larger set are those of a smaller one."""
BLENDED = 0.5
"""How many of Kokoro's utterances are said by a blend of two voices, a speaker of its own."""


@dataclass(frozen=True, slots=True)
class Amounts:
    english: int = 1200
    foreign: int = 700
    flite_each: int = 560
    festival_each: int = 110
    kokoro_each: int = 0
    no_speech: int = 300


REFINING = Amounts(english=500, foreign=200, flite_each=200, festival_each=40, kokoro_each=10, no_speech=100)
"""Of the second part of the training: Kokoro's many speakers, and enough of everybody to forget nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """One utterance. An empty text is a clip without speech."""

    text: str
    voice: str
    seed: int


def jobs(seed: int, amounts: Amounts) -> list[Job]:
    """All of them, in an order that mixes kinds."""
    random_ = random.Random(seed)  # noqa: S311 - seeded on purpose
    variants = sorted(espeak_variants() - HELD_OUT_VARIANTS - ODD_VARIANTS)
    out: list[Job] = []
    for _ in range(amounts.english):
        voice = random_.choice(ENGLISH) + random_.choice(["", *("+" + name for name in variants)])
        out.append(Job(texts.english(random_), voice, random_.randrange(2**31)))
    for _ in range(amounts.foreign):
        language = random_.choice(sorted(texts.OTHER_LANGUAGES))
        voice = f"{language}+{random_.choice(variants)}"
        out.append(Job(texts.foreign(language, random_), voice, random_.randrange(2**31)))
    for voice in FLITE:
        for _ in range(amounts.flite_each):
            out.append(Job(_sentence(random_), FLITE_KIND + voice, random_.randrange(2**31)))
    random_of_kokoro = random.Random(f"{KOKORO_SEED} {KOKORO_KIND}")  # noqa: S311
    for _ in range(amounts.kokoro_each):
        for voice in KOKORO:
            text = _sentence(random_of_kokoro)
            out.append(Job(text, KOKORO_KIND + voice, random_of_kokoro.randrange(2**31)))
    for voice, language in FESTIVAL.items():
        for _ in range(amounts.festival_each):
            text = texts.of_festival(language, random_)
            out.append(Job(text, FESTIVAL_KIND + voice, random_.randrange(2**31)))
    out += [Job("", "", random_.randrange(2**31)) for _ in range(amounts.no_speech)]
    random_.shuffle(out)
    return out


def _sentence(random_: random.Random) -> str:
    return texts.english(random_).split(". ")[0].split("! ")[0].split("? ")[0]


def make(folder: Path, seed: int, amounts: Amounts, kokoro: Path | None, workers: int = 2) -> None:
    """Speak, hear and write everything.

    Args:
        kokoro: the folder of its model and voices; None if ``amounts`` has nothing of it.

    Raises:
        SpeakerError: a voice is missing.
    """
    if amounts.kokoro_each:
        if kokoro is None:
            raise SpeakerError("Kokoro is to speak, but no folder of its model and voices was given")
        require(kokoro)
    folder.mkdir(parents=True, exist_ok=True)
    todo = jobs(seed, amounts)
    parts = [folder / f"part{k}.npz" for k in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:  # forked, onnxruntime and torch may hang
        pool.starmap(_shard, [(part, todo[k::workers], kokoro) for k, part in enumerate(parts)], chunksize=1)
    for k, part in enumerate(parts):  # only a set that is whole is taken for one
        part.rename(folder / f"shard{k}.npz")


def _shard(path: Path, todo: list[Job], kokoro: Path | None) -> None:
    frames: list[npt.NDArray[np.float16]] = []
    targets: list[npt.NDArray[np.float16]] = []
    crowd: list[augment.Wave] = []
    with EspeakSpeaker() as espeak:
        aside = _spoken_by_festival(todo) | _spoken_by_kokoro(todo, kokoro, espeak)
        for k, job in enumerate(todo):
            rng = np.random.default_rng(job.seed)
            if not job.text:
                hearing = augment.no_speech(rng)
                frames.append(features(hearing).astype(np.float16))
                targets.append(np.zeros((_target_count(len(hearing)), len(OUTPUTS)), np.float16))
                continue
            spoken = aside.pop(k, None) or _spoken(job, espeak, rng)
            copies = next((n for kind, n in COPIES.items() if job.voice.startswith(kind)), 0)
            speeds = list(rng.uniform(1 - SPEED, 1 + SPEED, copies or OTHER_COPIES))
            if not copies:
                speeds[0] = 1.0
            for speed in speeds:
                clean = augment.resampled(spoken.pcm.astype(float), spoken.rate_hz * speed)
                before, after = (int(seconds * SPEECH_RATE_HZ) for seconds in rng.uniform(0, 0.4, 2))
                clean = np.pad(clean, (before, after))
                crowd = [*crowd[-20:], clean[before : before + 4 * SPEECH_RATE_HZ]]
                hearing = augment.heard(clean, rng, crowd) if rng.random() < 0.9 else augment.scaled(clean, -20)
                warp = rng.uniform(LONGEST_TRACT, SHORTEST_TRACT) / speed if rng.random() < 0.6 else 1.0
                frames.append(features(hearing, warp).astype(np.float16))
                targets.append(wanted(spoken, clean, speed, 1000.0 * before / SPEECH_RATE_HZ).astype(np.float16))
    np.savez(
        path,
        frames=np.concatenate(frames),
        frame_counts=[len(x) for x in frames],
        targets=np.concatenate(targets),
        target_counts=[len(x) for x in targets],
    )


def _spoken(job: Job, espeak: EspeakSpeaker, rng: np.random.Generator) -> Spoken:
    if job.voice.startswith(FLITE_KIND):
        voice = job.voice.removeprefix(FLITE_KIND)
        return flite(job.text, voice, rng.uniform(0.75, 1.3), FLITE[voice] * rng.uniform(0.7, 1.4))
    return espeak.speak(
        job.text, job.voice, int(rng.uniform(110, 260)), int(rng.uniform(10, 90)), int(rng.uniform(20, 80))
    )


def _spoken_by_kokoro(todo: Sequence[Job], folder: Path | None, espeak: EspeakSpeaker) -> dict[int, Spoken]:
    """All that Kokoro says, by the job's place; its model is in memory only as long."""
    places = [k for k, job in enumerate(todo) if job.voice.startswith(KOKORO_KIND)]
    if folder is None or not places:
        return {}
    kokoro = KokoroSpeaker(folder, espeak)
    return {
        k: kokoro.speak(todo[k].text, **kokoro_draw(todo[k], np.random.default_rng([todo[k].seed, 2]))) for k in places
    }


def kokoro_draw(job: Job, rng: np.random.Generator) -> dict[str, Any]:
    """How a job of Kokoro's is said: what `KokoroSpeaker.speak` takes besides the text."""
    speed = float(rng.uniform(0.8, 1.25))
    other, share = str(rng.choice(KOKORO)), float(rng.uniform(0.25, 0.6))
    blended = bool(rng.random() < BLENDED)
    return {
        "voice": job.voice.removeprefix(KOKORO_KIND),
        "speed": speed,
        "other": other if blended else "",
        "share": share if blended else 0.0,
    }


def _spoken_by_festival(todo: Sequence[Job]) -> dict[int, Spoken]:
    """All that festival says, by the job's place: it takes many lines at once, for it is slow to start."""
    out: dict[int, Spoken] = {}
    for voice, language in FESTIVAL.items():
        places = [k for k, job in enumerate(todo) if job.voice == FESTIVAL_KIND + voice]
        for first in range(0, len(places), LINES_AT_ONCE):
            some = places[first : first + LINES_AT_ONCE]
            rngs = [np.random.default_rng([todo[k].seed, 1]) for k in some]
            lines = [
                Line(todo[k].text, rng.uniform(0.75, 1.3), rng.uniform(0.75, 1.35))
                for k, rng in zip(some, rngs, strict=True)
            ]
            out.update(zip(some, festival(lines, voice, language), strict=True))
    return out


def features(sound: augment.Wave, warp: float = 1.0) -> npt.NDArray[np.float32]:
    """Frames of int16-scaled sound, as the streaming ear computes them from its first sample on."""
    padded = np.concatenate([np.zeros(WINDOW - HOP), sound]).astype(np.float32)
    return log_mel(padded, mel_filters(warp))


def wanted(spoken: Spoken, clean: augment.Wave, speed: float = 1.0, before_ms: float = 0.0) -> Curve:
    """Targets [m, len(OUTPUTS)] of an utterance that was sped up and begins ``before_ms`` late."""
    curve = curves(spoken.phones, spoken.duration_ms)
    middles = np.arange(_target_count(len(clean))) * TARGET_MS
    near = np.arange(-10, 11, 5)
    reach = np.arange(-CLOSURE_REACH_MS, CLOSURE_REACH_MS + 1, 5)

    def around(values: Curve, offsets: npt.NDArray[np.int64]) -> Curve:
        return at(values, (middles[:, None] + offsets - before_ms) * speed)

    return np.stack(
        [around(getattr(curve, name), near).mean(axis=1) for name in ("opening", "width", "rounding")]
        + [around(getattr(curve, name), reach).max(axis=1) for name in ("closure", "teeth")]
        + [around(getattr(curve, name), near).mean(axis=1) for name in ("tongue", "speech")]
        + [effort(clean, len(middles))],
        axis=1,
    )


def effort(clean: augment.Wave, count: int) -> Curve:
    """How strongly the voice speaks, 0 to 1, every 20 ms: its level over 0.3 s below the utterance's loudest."""
    hops = np.sqrt(np.mean(clean[: len(clean) // HOP * HOP].reshape(-1, HOP) ** 2, axis=1) + 1e-9)
    level_db = 20 * np.log10(hops + 1e-6)
    above = np.clip((level_db - np.percentile(level_db, 95) + 26) / 26, 0.0, 1.0)
    window = np.hanning(33)[1:-1]
    smooth = np.sqrt(np.convolve(above, window / window.sum(), "same"))
    return np.interp(np.arange(count) * TARGET_MS, np.arange(len(smooth)) * 10 + 5, smooth)


def _target_count(samples: int) -> int:
    return 1000 * samples // SPEECH_RATE_HZ // TARGET_MS + 1
