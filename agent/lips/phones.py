"""What lips do for each sound of speech, as one table, and the alphabets in which synthesizers name sounds.

In: the name of a phone as a synthesizer gives it. Out: the one or two `Sound`s that it is made of. The table is what
lips are judged by and what the puppet's ear is trained on; it was written down before any of that and follows
articulatory phonetics (vowel height gives the opening, vowel backness and lip rounding the shape), not any synthesizer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from avatar.frames import MienError


class PhoneError(MienError):
    """A name that is no phone of its alphabet."""


@dataclass(frozen=True, slots=True)
class Phone:
    """One sound of an utterance: an IPA string (empty in a pause) and when it is heard."""

    ipa: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class Sound:
    """What the mouth does for one sound.

    Args:
        opening: between the lips, 0 to 1 (a loud open vowel).
        width: corners apart (1) or together (-1).
        rounding: lips pushed forward, 0 to 1.
        dominance: how much this sound insists, where its neighbours want something else.
        bilabial, labiodental: lips on each other; lower lip at the upper teeth.
        tongue: its tip is seen behind the teeth, 0 to 1.
        vowel: it carries a syllable.
        stop: it has a silent closure and a release.
    """

    opening: float
    width: float = 0.0
    rounding: float = 0.0
    dominance: float = 1.0
    bilabial: bool = False
    labiodental: bool = False
    tongue: float = 0.0
    vowel: bool = False
    stop: bool = False


def _vowel(opening: float, width: float, rounding: float = 0.0) -> Sound:
    return Sound(opening, width, rounding, dominance=1.0, vowel=True)


PAUSE = Sound(0.0, dominance=0.8)

SOUNDS: Mapping[str, Sound] = {
    # vowels: opening, width, rounding
    "i": _vowel(0.22, 0.9), "ɪ": _vowel(0.32, 0.6), "e": _vowel(0.42, 0.65), "ɛ": _vowel(0.58, 0.45),
    "æ": _vowel(0.78, 0.45), "a": _vowel(0.92, 0.15), "ɑ": _vowel(0.95, 0.0), "ɒ": _vowel(0.78, -0.3, 0.35),
    "ɔ": _vowel(0.62, -0.45, 0.5), "o": _vowel(0.42, -0.6, 0.75), "ʊ": _vowel(0.30, -0.5, 0.65),
    "u": _vowel(0.22, -0.8, 0.95), "ʌ": _vowel(0.65, 0.05), "ɐ": _vowel(0.62, 0.1), "ə": _vowel(0.35, 0.05),
    "ɘ": _vowel(0.35, 0.1), "ɚ": _vowel(0.36, -0.15, 0.3), "ɜ": _vowel(0.44, 0.0, 0.1), "ɝ": _vowel(0.40, -0.15, 0.3),
    "y": _vowel(0.20, -0.6, 0.9), "ʏ": _vowel(0.28, -0.45, 0.7), "ø": _vowel(0.38, -0.45, 0.7),
    "œ": _vowel(0.52, -0.3, 0.55), "ɵ": _vowel(0.35, -0.4, 0.6), "ʉ": _vowel(0.24, -0.6, 0.8),
    "ɨ": _vowel(0.26, 0.45), "ɯ": _vowel(0.26, 0.3), "ɤ": _vowel(0.42, 0.1), "ɞ": _vowel(0.5, -0.2, 0.4),
    "ɶ": _vowel(0.8, -0.1, 0.3), "ᵻ": _vowel(0.30, 0.4),
    # lips
    "p": Sound(0.0, dominance=1.5, bilabial=True, stop=True), "b": Sound(0.0, dominance=1.5, bilabial=True, stop=True),
    "m": Sound(0.0, dominance=1.5, bilabial=True), "ɓ": Sound(0.0, dominance=1.5, bilabial=True, stop=True),
    "f": Sound(0.08, 0.1, dominance=1.5, labiodental=True), "v": Sound(0.08, 0.1, dominance=1.5, labiodental=True),
    "ɱ": Sound(0.08, 0.1, dominance=1.5, labiodental=True), "ʋ": Sound(0.12, 0.0, dominance=1.2, labiodental=True),
    "β": Sound(0.14, dominance=1.2), "ɸ": Sound(0.14, dominance=1.2),
    "w": Sound(0.15, -0.85, 0.95, dominance=1.3), "ʍ": Sound(0.15, -0.85, 0.95, dominance=1.3),
    "ɥ": Sound(0.15, -0.7, 0.9, dominance=1.2),
    # tongue and teeth
    "θ": Sound(0.20, 0.1, tongue=1.0, dominance=0.9), "ð": Sound(0.20, 0.1, tongue=1.0, dominance=0.8),
    "t": Sound(0.20, 0.1, tongue=0.6, dominance=0.5, stop=True),
    "d": Sound(0.20, 0.1, tongue=0.6, dominance=0.5, stop=True),
    "n": Sound(0.22, 0.1, tongue=0.7, dominance=0.5), "l": Sound(0.30, 0.05, tongue=0.9, dominance=0.5),
    "ɫ": Sound(0.30, -0.05, tongue=0.9, dominance=0.5), "ɾ": Sound(0.26, 0.1, tongue=0.7, dominance=0.4),
    "s": Sound(0.14, 0.35, dominance=0.9), "z": Sound(0.14, 0.35, dominance=0.9),
    "ʃ": Sound(0.18, -0.4, 0.6, dominance=1.0), "ʒ": Sound(0.18, -0.4, 0.6, dominance=1.0),
    "ɕ": Sound(0.16, 0.0, 0.25, dominance=0.9), "ʑ": Sound(0.16, 0.0, 0.25, dominance=0.9),
    "ʂ": Sound(0.18, -0.3, 0.5, dominance=0.9), "ʐ": Sound(0.18, -0.3, 0.5, dominance=0.9),
    "ɬ": Sound(0.2, 0.2, tongue=0.9, dominance=0.7), "ɮ": Sound(0.2, 0.2, tongue=0.9, dominance=0.7),
    "r": Sound(0.26, 0.0, 0.1, tongue=0.6, dominance=0.5), "ɹ": Sound(0.22, -0.3, 0.45, dominance=0.7),
    "ɻ": Sound(0.22, -0.3, 0.45, dominance=0.7), "ɽ": Sound(0.26, 0.0, tongue=0.5, dominance=0.5),
    "ʈ": Sound(0.22, 0.0, tongue=0.4, dominance=0.5, stop=True),
    "ɖ": Sound(0.22, 0.0, tongue=0.4, dominance=0.5, stop=True),
    "ɳ": Sound(0.24, 0.0, tongue=0.4, dominance=0.5), "ɭ": Sound(0.28, 0.0, tongue=0.5, dominance=0.5),
    # behind
    "k": Sound(0.26, dominance=0.35, stop=True), "g": Sound(0.26, dominance=0.35, stop=True),
    "ŋ": Sound(0.26, dominance=0.4), "x": Sound(0.32, dominance=0.4), "ɣ": Sound(0.30, dominance=0.4),
    "χ": Sound(0.34, dominance=0.4), "ʁ": Sound(0.32, dominance=0.4), "ʀ": Sound(0.32, dominance=0.4),
    "q": Sound(0.30, dominance=0.4, stop=True), "ɢ": Sound(0.30, dominance=0.4, stop=True),
    "ħ": Sound(0.40, dominance=0.2), "ʕ": Sound(0.45, dominance=0.2), "h": Sound(0.40, dominance=0.08),
    "ɦ": Sound(0.40, dominance=0.08), "ʔ": Sound(0.25, dominance=0.08, stop=True),
    "j": Sound(0.22, 0.6, dominance=0.7), "ç": Sound(0.22, 0.4, dominance=0.7), "ʝ": Sound(0.22, 0.5, dominance=0.7),
    "c": Sound(0.22, 0.4, dominance=0.5, stop=True), "ɟ": Sound(0.22, 0.4, dominance=0.5, stop=True),
    "ɲ": Sound(0.22, 0.35, dominance=0.6), "ʎ": Sound(0.24, 0.35, dominance=0.6), "ʟ": Sound(0.28, dominance=0.4),
}  # fmt: skip
"""By IPA letter."""

OPEN_VOWEL = 0.55
"""A vowel from this opening on must not be seen with its lips closed."""

FIRST_OF_DIPHTHONG = 0.55
"""Its share of a diphthong's time."""

_SAME = {"ɡ": "g", "ɩ": "ɪ", "ɷ": "ʊ", "ɿ": "ɨ", "ɼ": "r", "ⱱ": "v", "ʙ": "b", "ɺ": "ɾ", "ɰ": "ɣ"}


def sounds(ipa: str) -> tuple[Sound, ...]:
    """The sounds of a phone in order; a pause for the empty string. Stress, length and diacritics are passed over.

    Raises:
        PhoneError: not one of its letters is known.
    """
    if not ipa:
        return (PAUSE,)
    letters = [_SAME.get(letter, letter) for letter in unicodedata.normalize("NFD", ipa)]
    found = tuple(SOUNDS[letter] for letter in letters if letter in SOUNDS)
    if not found:
        raise PhoneError(f"{ipa!r} holds no letter of the phone table: give IPA")
    return found


ARPABET: Mapping[str, str] = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b", "ch": "tʃ",
    "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "əl", "em": "əm", "en": "ən", "er": "ɝ", "ey": "eɪ", "f": "f",
    "g": "g", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n", "nx": "n",
    "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ",
    "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ", "pau": "", "h#": "", "brth": "", "sil": "", "#": "",
    "ssil": "",
}  # fmt: skip
"""American English as flite, festival and pocketsphinx name it."""


def from_arpabet(name: str) -> str:
    """IPA of a phone.

    Raises:
        PhoneError: there is none of this name.
    """
    try:
        return ARPABET[name.lower().rstrip("012")]
    except KeyError:
        raise PhoneError(f"{name!r} is no phone of the American English set") from None


def merged(phones: Iterable[Phone]) -> list[Phone]:
    """The same phones without those of no length, neighbouring pauses joined."""
    out: list[Phone] = []
    for phone in phones:
        if phone.end_ms <= phone.start_ms:
            continue
        if out and not phone.ipa and not out[-1].ipa:
            out[-1] = Phone("", out[-1].start_ms, phone.end_ms)
        else:
            out.append(phone)
    return out
