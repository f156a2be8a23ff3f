"""Synthetic speakers: a text in, sound and the times of its phones out.

espeak-ng comes with the package; flite is a program that must be installed. Every speaker gives `Spoken`.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from agent.lips.phones import Phone, PhoneError, from_arpabet, merged, sounds
from avatar.frames import MienError

SILENT_DB = -45.0
"""Below the utterance's peak: the closure of a stop is this quiet."""
LONGEST_CLOSURE_MS = 120
SHORTEST_PAUSE_MS = 60
TIMEOUT_S = 60
VARIANTS = Path("voices") / "!v"
AMERICAN = "gmw/en-US"


class SpeakerError(MienError):
    """A speaker is missing or could not speak."""


@dataclass(frozen=True, eq=False, slots=True)
class Spoken:
    """An utterance: int16 [n] at rate_hz, and its phones in order."""

    pcm: npt.NDArray[np.int16]
    rate_hz: int
    phones: Sequence[Phone]

    @property
    def duration_ms(self) -> float:
        return 1000.0 * len(self.pcm) / self.rate_hz


class EspeakSpeaker:
    """All voices of espeak-ng, in a child process. Use as a context."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "training.mouth.espeak_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()

    def speak(self, text: str, voice: str, rate_wpm: int = 175, pitch: int = 50, pitch_range: int = 50) -> Spoken:
        """Say it.

        Args:
            voice: as ``gmw/en-US+f3``. espeak-ng takes an unknown variant for none, so variants are checked here.

        Raises:
            SpeakerError: there is no such voice or variant, or the child died.
        """
        variant = voice.partition("+")[2]
        if variant and variant not in espeak_variants():
            raise SpeakerError(f"espeak-ng has no variant {variant!r}: `espeak-ng --voices=variant` lists them")
        job = {"text": text, "voice": voice, "rate_wpm": rate_wpm, "pitch": pitch, "pitch_range": pitch_range}
        head = self._asked(job)
        assert self._child.stdout is not None
        pcm = np.frombuffer(self._child.stdout.read(2 * head["samples"]), "<i2")
        events = head["phones"]
        if voice.partition("+")[0] == AMERICAN:
            events = [(ms, rhotic(name)) for ms, name in events]
        return Spoken(pcm, head["rate_hz"], _espeak_phones(events, pcm, head["rate_hz"]))

    def read(self, text: str, voice: str) -> list[str]:
        """IPA of each clause, as espeak_child.py gives it, without any sound.

        Raises:
            SpeakerError: there is no such voice, or the child died.
        """
        return list(self._asked({"text": text, "voice": voice})["clauses"])

    def _asked(self, job: Mapping[str, object]) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(job).encode() + b"\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise SpeakerError(f"espeak-ng's process ended while it spoke {job['text']!r} as {job['voice']}")
        head: dict[str, Any] = json.loads(line)
        if "error" in head:
            raise SpeakerError(head["error"])
        return head


def espeak_variants() -> set[str]:
    """The names that may follow ``+``."""
    import espeakng_loader

    return {path.name for path in (Path(espeakng_loader.get_data_path()) / VARIANTS).iterdir()}


def rhotic(ipa: str) -> str:
    """The vowel of an American "nurse": espeak-ng writes it as the British one, which is said with other lips."""
    return ipa.replace("ɜː", "ɝ")


def _espeak_phones(events: Sequence[tuple[int, str]], pcm: npt.NDArray[np.int16], rate_hz: int) -> list[Phone]:
    """Events to phones: pauses named, stops moved back over the silence that is their closure."""
    end_ms = 1000.0 * len(pcm) / rate_hz
    starts = [float(ms) for ms, _ in events] + [end_ms]
    names = [_ipa(name) for _, name in events]
    level = _levels(pcm, rate_hz)
    for k, name in enumerate(names):
        if name and sounds(name)[0].stop and k > 0:
            first = int(starts[k] / 5)
            last = max(0, math.ceil(starts[k - 1] / 5) + (4 if names[k - 1] else 0), first - LONGEST_CLOSURE_MS // 5)
            while first > last and level[min(first - 1, len(level) - 1)] < SILENT_DB:
                first -= 1
            starts[k] = min(starts[k], 5.0 * first)
    phones = [
        Phone(name, start, max(start, stop)) for name, start, stop in zip(names, starts, starts[1:], strict=False)
    ]
    lead = [Phone("", 0.0, starts[0])] if starts[0] > 0 else []
    return _without_gaps(merged(lead + phones), end_ms)


def _without_gaps(phones: Sequence[Phone], end_ms: float) -> list[Phone]:
    """Give what is too short for a pause to the sound before it: no mouth shuts for it."""
    out: list[Phone] = []
    for phone in phones:
        inside = not phone.ipa and out and phone.end_ms < end_ms - 1
        if inside and phone.end_ms - phone.start_ms < SHORTEST_PAUSE_MS:
            out[-1] = Phone(out[-1].ipa, out[-1].start_ms, phone.end_ms)
        else:
            out.append(phone)
    return out


def _ipa(name: str) -> str:
    """IPA of an espeak event; empty for pauses and for what is no sound."""
    try:
        sounds(name)
    except PhoneError:
        return ""
    return name


def _levels(pcm: npt.NDArray[np.int16], rate_hz: int) -> npt.NDArray[np.float64]:
    """Peak of each 5 ms, dB below the loudest."""
    size = rate_hz // 200
    blocks = np.abs(pcm[: len(pcm) // size * size].astype(np.float64)).reshape(-1, size).max(axis=1)
    return np.asarray(20 * np.log10((blocks + 1e-3) / (blocks.max(initial=1.0) + 1e-3)))


def flite(text: str, voice: str, stretch: float = 1.0, pitch_hz: float | None = None) -> Spoken:
    """flite says it.

    Args:
        voice: kal16, slt, awb, rms, ...
        stretch: of all durations.
        pitch_hz: mean of the pitch; the voice's own if None.

    Raises:
        SpeakerError: flite is not installed, has no such voice, or failed.
    """
    program = shutil.which("flite")
    if program is None:
        raise SpeakerError("flite is not installed: `apt-get install flite` (Debian, Ubuntu) gives it and its voices")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.wav"
        command = [program, "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}"]
        if pitch_hz is not None:
            command += ["--setf", f"int_f0_target_mean={pitch_hz:.1f}"]
        command += ["-psdur", "-t", text, "-o", str(out)]
        done = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode != 0 or not out.exists() or "VOICE" in done.stderr.upper():
            raise SpeakerError(f"flite could not speak as {voice}: {done.stderr.strip() or done.stdout.strip()}")
        pcm, rate_hz = read_wave(out)
    return Spoken(pcm, rate_hz, end_times(done.stdout))


def end_times(line: str) -> list[Phone]:
    """Phones of ``name:end_s name:end_s ...`` in American English: flite's -psdur, which gives ends, not durations."""
    phones: list[Phone] = []
    start_ms = 0.0
    for name, end_s in re.findall(r"(\S+):(\d+(?:\.\d+)?)", line):
        end_ms = 1000.0 * float(end_s)
        if end_ms < start_ms:  # the next sentence of the text: its times begin at 0 again
            raise SpeakerError("flite spoke more than one sentence: its times cannot be told; give it one at a time")
        phones.append(Phone(from_arpabet(name), start_ms, end_ms))
        start_ms = end_ms
    return merged(phones)


def read_wave(path: Path) -> tuple[npt.NDArray[np.int16], int]:
    """(int16 [n], rate in Hz) of a mono WAV."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
