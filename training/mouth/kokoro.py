"""Kokoro's voices: an English text in, sound and the times of its phones out.

Kokoro-82M (Apache 2.0, weights and voices) is a neural synthesizer with many natural English speakers, which are what
the other engines lack. Before it makes any sound it decides how many frames each letter of IPA lasts; that number is
inside its graph, and `LENGTHS` asks for it as a second output.

The folder holds `MODEL` and `VOICES`/NAME.bin; training/mouth/README.md says where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.lips.phones import Phone, PhoneError, merged, sounds
from training.mouth.espeak_child import JOINT
from training.mouth.speakers import EspeakSpeaker, SpeakerError, Spoken, rhotic

MODEL, VOICES = "kokoro-v1.0.int8.onnx", "voices"
LENGTHS = "/encoder/Clip_output_0"
RATE_HZ = 24_000
FRAME_MS = 25.0
AHEAD_MS = 60.0
"""Sounds are heard so much before their letter's frames."""
STYLE = 256
LONGEST_TOKENS = 500

ACCENTS: Mapping[str, str] = {"a": "gmw/en-US", "b": "gmw/en-GB-x-rp"}
"""By the first letter of a voice: the voice of espeak-ng that reads for it."""
NAMES = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
)  # fmt: skip
"""Its English voices: American (a) and British (b) women (f) and men (m)."""

TOKENS: Mapping[str, int] = {
    ",": 3, ".": 4, "!": 5, "?": 6, " ": 16, "A": 24, "I": 25, "O": 31, "Q": 33, "T": 36, "W": 39, "Y": 41, "ᵊ": 42,
    "a": 43, "b": 44, "d": 46, "e": 47, "f": 48, "h": 50, "i": 51, "j": 52, "k": 53, "l": 54, "m": 55, "n": 56,
    "p": 58, "s": 61, "t": 62, "u": 63, "v": 64, "w": 65, "z": 68, "ɑ": 69, "ɐ": 70, "ɒ": 71, "æ": 72, "ɔ": 76,
    "ð": 81, "ʤ": 82, "ə": 83, "ɛ": 86, "ɜ": 87, "ɡ": 92, "ɪ": 102, "ŋ": 112, "θ": 119, "ɹ": 123, "ʃ": 131, "ʧ": 133,
    "ʊ": 135, "ʌ": 138, "ʒ": 147, "ˈ": 156, "ˌ": 157, "ː": 158, "ᵻ": 177,
}  # fmt: skip
"""Its alphabet, as far as English needs it."""
_BOTH = {
    "eɪ": "A", "aɪ": "I", "aʊ": "W", "ɔɪ": "Y", "dʒ": "ʤ", "tʃ": "ʧ", "əl": "ᵊl", "n̩": "ᵊn", "ɚ": "əɹ", "ɾ": "T",
    "ʔ": "t", "g": "ɡ", "r": "ɹ", "iə": "ɪə",
}  # fmt: skip
SPELT: Mapping[str, Mapping[str, str]] = {
    "a": {**_BOTH, "oʊ": "O", "oː": "ɔ", "ɜː": "ɜɹ", "ː": ""},
    "b": {**_BOTH, "əʊ": "Q", "oʊ": "Q", "eə": "ɛː"},
}
"""How an accent spells espeak-ng's sounds in that alphabet, in order."""

QUIET_DB, SHORTEST_SILENCE_MS, CLOSURE_MS = -42.0, 130.0, 70.0
"""A silence this far below the loudest and this long is a pause, but for the end of it before a stop."""
_STEP_MS = 5.0


class KokoroSpeaker:
    """Loads in some seconds. Speaks about as fast as it is heard, on one core."""

    def __init__(self, folder: Path, espeak: EspeakSpeaker, threads: int = 1) -> None:
        """
        Raises:
            SpeakerError: a file is missing or is no such model, or onnxruntime is not installed.
        """
        require(folder)
        try:
            import onnxruntime
        except ImportError:
            raise SpeakerError("Kokoro needs onnxruntime: `pip install onnxruntime`") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                telling((folder / MODEL).read_bytes(), LENGTHS), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # whatever onnxruntime has to say of a file that is none of its own
            raise SpeakerError(f"Kokoro: {folder / MODEL} cannot be used: {error}") from error
        self._styles = {
            name: np.fromfile(_voice(folder, name), "<f4").reshape(-1, STYLE).astype(np.float32) for name in NAMES
        }
        self._espeak = espeak

    def speak(self, text: str, voice: str, speed: float = 1.0, other: str = "", share: float = 0.0) -> Spoken:
        """Say it.

        Args:
            voice: one of `NAMES`; it sets the accent.
            speed: 1 is the voice's own.
            other, share: a voice to blend in, and how much of it; a blend is a speaker of its own.

        Raises:
            SpeakerError: there is no such voice, or the text is too long.
        """
        for name in (voice, other or voice):
            if name not in self._styles:
                raise SpeakerError(f"Kokoro has no voice {name!r}: {', '.join(NAMES)}")
        accent = voice[0]
        units = spelt(self._espeak.read(text, ACCENTS[accent]), accent, text.rstrip()[-1:])
        tokens = [TOKENS[letter] for _, letters in units for letter in letters]
        if len(tokens) > LONGEST_TOKENS:
            raise SpeakerError(f"Kokoro says at most {LONGEST_TOKENS} letters at once, not {len(tokens)}: {text!r}")
        style = self._styles[voice][len(tokens) - 1]
        if other:
            style = (1 - share) * style + share * self._styles[other][len(tokens) - 1]
        sound, lengths = self._session.run(
            ["audio", LENGTHS],
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style[None].astype(np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        pcm = np.clip(np.rint(32767 * np.asarray(sound).ravel()), -32768, 32767).astype(np.int16)
        return Spoken(pcm, RATE_HZ, placed(units, np.asarray(lengths).ravel(), pcm))


def spelt(clauses: Sequence[str], accent: str, end: str = ".") -> list[tuple[str, str]]:
    """(IPA, its letters in Kokoro's alphabet) of each sound in order; the IPA of what stands between words is empty."""
    out: list[tuple[str, str]] = []
    for k, clause in enumerate(clauses):
        if k:
            out += [("", ","), ("", " ")]
        for n, word in enumerate(clause.split()):
            if n:
                out.append(("", " "))
            for unit in word.split(JOINT):
                letters = unit
                for ipa, letter in SPELT[accent].items():
                    letters = letters.replace(ipa, letter)
                letters = "".join(letter for letter in letters if letter in TOKENS)
                if letters.strip("ˈˌː"):
                    out.append((rhotic(unit) if accent == "a" else unit, letters))
    out.append(("", end if end in {".", "!", "?"} else "."))
    return out


def placed(
    units: Sequence[tuple[str, str]], lengths: npt.NDArray[np.floating[Any]], pcm: npt.NDArray[np.int16]
) -> list[Phone]:
    """Phones of an utterance.

    Args:
        lengths: frames of each letter, with one before the first and one after the last.
        pcm: its sound; where it is silent for long, nobody speaks.

    Raises:
        SpeakerError: there are more or fewer lengths than letters.
    """
    if len(lengths) != 2 + sum(len(letters) for _, letters in units):
        raise SpeakerError(f"Kokoro told {len(lengths)} lengths of {sum(len(letters) for _, letters in units)} letters")
    ends_ms = np.cumsum(lengths) * FRAME_MS - AHEAD_MS
    edges: list[tuple[str, float, float]] = []
    at = 0
    for ipa, letters in units:
        edges.append((ipa, float(ends_ms[at]), float(ends_ms[at + len(letters)])))
        at += len(letters)
    spoken = [k for k, (ipa, _, _) in enumerate(edges) if ipa]
    phones: list[Phone] = []
    for k, following in zip(spoken, [*spoken[1:], None], strict=True):
        ipa, start_ms, end_ms = edges[k]
        if phones:
            start_ms = phones[-1].end_ms
        if following is not None:  # what is between two words belongs half to each of them
            end_ms = (end_ms + edges[following][1]) / 2
        phones.append(Phone(ipa, max(0.0, start_ms), max(0.0, start_ms, end_ms)))
    duration_ms = 1000.0 * len(pcm) / RATE_HZ
    return _with_pauses(phones, _silences(pcm), duration_ms)


def _silences(pcm: npt.NDArray[np.int16]) -> list[tuple[float, float]]:
    """(start_ms, end_ms) of each long silence, those at the ends however short."""
    size = int(RATE_HZ * _STEP_MS / 1000)
    blocks = pcm[: len(pcm) // size * size].astype(np.float64).reshape(-1, size)
    level = np.sqrt((blocks**2).mean(axis=1)) + 1e-3
    quiet = np.concatenate([[False], 20 * np.log10(level / level.max(initial=1e-3)) < QUIET_DB, [False]])
    turns = np.flatnonzero(quiet[1:] != quiet[:-1])
    out = []
    for first, last in zip(turns[::2], turns[1::2], strict=True):
        at_end = first == 0 or last == len(blocks)
        if at_end or (last - first) * _STEP_MS >= SHORTEST_SILENCE_MS:
            out.append((float(first * _STEP_MS), float(last * _STEP_MS)))
    return out


def _with_pauses(phones: Sequence[Phone], silences: Sequence[tuple[float, float]], duration_ms: float) -> list[Phone]:
    """Phones cut where it is silent; a stop after a silence has its end for its closure."""
    out: list[Phone] = []
    for phone in phones:
        start_ms, end_ms = phone.start_ms, phone.end_ms
        for first, last in silences:
            middle = (start_ms + end_ms) / 2
            if first <= start_ms < last:
                start_ms = max(start_ms, last - CLOSURE_MS) if _stop(phone.ipa) else last
            if start_ms < first < end_ms:
                end_ms = first if middle < last else end_ms
        if end_ms - start_ms < _STEP_MS:  # all of it in a silence: too weak to be heard
            continue
        if out and start_ms > out[-1].end_ms:
            out.append(Phone("", out[-1].end_ms, start_ms))
        elif not out and start_ms > 0:
            out.append(Phone("", 0.0, start_ms))
        out.append(Phone(phone.ipa, start_ms, end_ms))
    if out and out[-1].end_ms < duration_ms:
        out.append(Phone("", out[-1].end_ms, duration_ms))
    return merged(out)


def _stop(ipa: str) -> bool:
    try:
        return sounds(ipa)[0].stop
    except PhoneError:
        return False


def require(folder: Path) -> None:
    """See that all files are there.

    Raises:
        SpeakerError: one of them is missing.
    """
    for path in (folder / MODEL, *(_voice(folder, name) for name in NAMES)):
        if not path.is_file():
            raise SpeakerError(f"Kokoro: {path} is missing: training/mouth/README.md says how to get it")


def _voice(folder: Path, name: str) -> Path:
    return folder / VOICES / f"{name}.bin"


def telling(model: bytes, name: str) -> bytes:
    """An ONNX model that also gives out a value of its inside.

    Two messages of protobuf, one after the other, are one of both: here the model, and a graph (field 7) of nothing but
    an output (12) of this name (1).
    """
    value = field(1, name.encode())
    return model + field(7, field(12, value))


def field(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    size, left = b"", len(content)
    while left > 127:
        size, left = size + bytes([left & 127 | 128]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + content
