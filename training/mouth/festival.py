"""festival's voices: a text in, sound and the times of its phones out, many utterances to a run of the program.

Its diphone voices are cut from recordings of people; each speaks one language. It is a program that must be installed,
and so is each voice (Debian: `PACKAGES`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.lips.phones import Phone, PhoneError, from_arpabet, merged, sounds
from training.mouth.speakers import SpeakerError, Spoken, read_wave

ENCODINGS: Mapping[str, str] = {
    "en": "ascii", "it": "latin-1", "fi": "latin-1", "ca": "latin-1", "cs": "iso-8859-2",
}  # fmt: skip
PACKAGES = (
    "festvox-kdlpc16k festvox-italp16k festvox-itapc16k festvox-czech-ph festvox-czech-machac festvox-czech-dita "
    "festvox-czech-krb festvox-suopuhe-lj festvox-suopuhe-mv festvox-ca-ona-hts"
)
TIMEOUT_S = 300

SAMPA: Mapping[str, str] = {
    "#": "", "_": "", "pau": "", "E": "ɛ", "O": "ɔ", "S": "ʃ", "Z": "ʒ", "J": "ɲ", "L": "ʎ", "N": "ŋ", "dZ": "dʒ",
    "tS": "tʃ", "ts": "ts", "dz": "dz", "ax": "ə", "rr": "r", "SS": "ʃ", "ch": "x", "n*": "ŋ", "c~": "tʃ", "s~": "ʃ",
    "z~": "ʒ", "r~": "r", "r~*": "ʃ", "n~": "ɲ", "t~": "c", "d~": "ɟ", "dz~": "dʒ", "d3": "dʒ", "A": "ɑ", "a:": "a",
    "o:": "o", "e:": "e", "i:": "i", "u:": "u", "y:": "y", "2": "ø", "2:": "ø", "7": "ø", "7:": "ø", "oe": "ø",
    "{": "æ", "{:": "æ", "@": "æ", "@:": "æ", "ae": "æ", "l:": "l",
}  # fmt: skip
"""Of festival's Italian, Czech, Finnish and Catalan phones those whose IPA letter is another."""

_HEAD = """(voice_{voice})
(define (mien_say text stretch pitch wave)
 (let ((utt (eval (list 'Utterance 'Text text))))
  (Parameter.set 'Duration_Stretch (if stretch stretch mien_own_stretch))
  (set! mien_pitch pitch)
  (utt.synth utt)
  (utt.save.wave utt wave 'riff)
  (mapcar (lambda (s) (format t "%s:%f " (item.name s) (item.feat s 'end))) (utt.relation.items utt 'Segment))
  (format t "\\n")))
(set! mien_own_stretch (Parameter.get 'Duration_Stretch))
(set! mien_pitch 1.0)
(define (mien_move utt)
 (if (member 'Target (utt.relationnames utt))
  (mapcar (lambda (one) (item.set_feat one 'f0 (* mien_pitch (item.feat one 'f0)))) (utt.relation.leafs utt 'Target)))
 utt)
(set! after_analysis_hooks (append after_analysis_hooks (list mien_move)))
"""
"""After festival has set its targets of pitch and before it makes the sound, they are moved."""


@dataclass(frozen=True, slots=True)
class Line:
    """A text to say.

    Args:
        stretch: of all durations, where 1 is festival's usual; None is the voice's own.
        pitch: how much higher than its own the voice is.
    """

    text: str
    stretch: float | None = None
    pitch: float = 1.0


def festival(lines: Sequence[Line], voice: str, language: str) -> list[Spoken]:
    """festival says some lines, all in one run of the program.

    Args:
        voice: as festival names it, such as ``ked_diphone``.
        language: of the voice, a key of `ENCODINGS`.

    Raises:
        SpeakerError: it or the voice is not installed, or it failed.
    """
    program = shutil.which("festival")
    if program is None:
        raise SpeakerError("festival is not installed: `apt-get install festival` (Debian, Ubuntu)")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "say.scm"
        say = [
            f'(mien_say "{line.text}" {_number(line.stretch)} {line.pitch:.3f} "{folder}/{k}.wav")\n'
            for k, line in enumerate(lines)
        ]
        script.write_text(_HEAD.format(voice=voice) + "".join(say), encoding=ENCODINGS[language])
        done = subprocess.run(  # noqa: S603 - our own command line
            [program, "-b", str(script)], capture_output=True, timeout=TIMEOUT_S, check=False
        )
        said = [line for line in done.stdout.decode("latin-1").splitlines() if ":" in line]
        if done.returncode != 0 or len(said) != len(lines):
            reason = done.stderr.decode("latin-1").strip()[-300:]
            raise SpeakerError(f"festival could not speak as {voice}: {reason} (Debian: {PACKAGES})")
        ipa_of = from_arpabet if language == "en" else from_sampa
        return [Spoken(*read_wave(Path(folder) / f"{k}.wav"), _phones(line, ipa_of)) for k, line in enumerate(said)]


def _number(value: float | None) -> str:
    return "nil" if value is None else f"{value:.3f}"


def _phones(line: str, ipa_of: Callable[[str], str]) -> list[Phone]:
    phones: list[Phone] = []
    start_ms = 0.0
    for name, end_s in re.findall(r"(\S+?):(\d+\.\d+)", line):
        end_ms = 1000.0 * float(end_s)
        phones.append(Phone(ipa_of(name), start_ms, end_ms))
        start_ms = end_ms
    return merged(phones)


def from_sampa(name: str) -> str:
    """IPA; stressed vowels end in a digit.

    Raises:
        PhoneError: there is none of this name.
    """
    plain = name if name in SAMPA else name.rstrip("1")
    ipa = SAMPA.get(plain, plain)
    try:
        sounds(ipa)
    except PhoneError:
        raise PhoneError(f"{name!r} is no phone of festival's voices that is known here") from None
    return ipa
