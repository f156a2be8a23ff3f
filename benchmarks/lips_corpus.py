"""Who lips are measured with: speakers that were never trained on, with their own phone times.

flite's awb and rms, festival's ked and its Italian, Czech and Finnish speakers, and espeak-ng voices that the training
leaves out. The sentences are none of the training's. What is spoken is the same in every run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.lips.phones import Phone, PhoneError, from_arpabet, merged
from training.mouth.speakers import EspeakSpeaker, SpeakerError, Spoken, flite, read_wave

ENGLISH = (
    "Papa bought a big blue map for my mother's birthday",
    "People complain when the bus from Memphis is never on time",
    "Five brave women have moved the heavy safe off the van",
    "The bishop put both hands above the empty cup and prayed",
    "Maybe tomorrow we will build a better bridge for everybody",
    "Her uncle always arrives after the opera is over",
    "A purple moth landed on the warm lamp by my bed",
    "He put some butter and pepper upon the baked potatoes",
    "Would you rather swim in the lake or walk through the woods",
    "The chief of the village shook his fist at the thief",
    "My umbrella was upside down in the mud",
    "We hope to be home before the film begins",
    "Barbara's cabin is made of bamboo and maple",
    "Several visitors have left very few footprints",
    "Our boat bumped into a buoy near the pier",
    "I have no idea how far it is from here to there",
    "Simple computers can be programmed to jump and tumble",
    "They arrived at half past eleven with nothing but a suitcase",
    "Father found four elephants in the cave behind the fort",
    "Bring me a pair of pliers, a pump and some bubble wrap",
    "The moon was above the mountain and the air was calm",
    "Good answers are often shorter than the question",
    "Jump up and clap when the piper stops",
    "Please remember to pick up the package by noon",
)
ITALIAN = (
    "la mamma prepara un bel pranzo per la famiglia di Beppe", "questa sera vorremmo ballare sopra il ponte",
    "il mio amico ha comprato una bambola per la bambina", "non abbiamo mai visto un tempo migliore",
    "il vapore parte presto dal porto di Palermo", "dove vuoi mettere i fiori che ho portato",
)  # fmt: skip
CZECH = (
    "maminka nam pripravila bramborovou polevku", "pojedeme vlakem do Prahy za babickou",
    "muj pes byva v patek velmi smutny", "pan farmar koupil pet novych oblouku", "dobre vino a pivo pijeme pomalu",
    "kamo by ses chtel podivat tento vecer",
)  # fmt: skip
FINNISH = (
    "mummo pani puuron pienelle lapselle poytaan", "minun kaveri ampui pallon pimeaan metsaan",
    "huomenna me menemme papan luo Tampereelle", "vanha mies soitti pianoa iltapaivalla",
    "pappi puhui hyvin vahan mutta lampimasti", "oven vieressa oli upea kompassi",
)  # fmt: skip

SAMPA: Mapping[str, str] = {
    "#": "", "_": "", "E": "ɛ", "O": "ɔ", "S": "ʃ", "J": "ɲ", "L": "ʎ", "N": "ŋ", "dZ": "dʒ", "tS": "tʃ",
    "ts": "ts", "dz": "dz",
    "SS": "ʃ", "ch": "x", "n*": "ŋ", "c~": "tʃ", "s~": "ʃ", "z~": "ʒ", "r~": "r", "n~": "ɲ", "t~": "c", "d~": "ɟ",
    "dz~": "dʒ", "d3": "dʒ", "y": "y", "2": "ø", "{": "æ", "@": "ə", "v": "v", "h": "h", "A": "ɑ", "a:": "a", "o:": "o",
    "e:": "e", "i:": "i", "u:": "u", "y:": "y", "2:": "ø", "{:": "æ", "l:": "l", "ae": "æ", "oe": "ø",
}  # fmt: skip
"""Of festival's Italian, Czech and Finnish phones those whose IPA letter is another."""

ESPEAK = (
    ("gmw/en-US+f5", 165, 55), ("gmw/en+m8", 190, 40), ("gmw/en-GB-x-rp+Andrea", 150, 60),
    ("gmw/en-US+Michael", 215, 35),
    ("gmw/en-US+steph2", 175, 65), ("gmw/en-GB-scotland+adam", 140, 45),
)  # fmt: skip
"""Voice, words a minute, pitch."""


@dataclass(frozen=True, eq=False, slots=True)
class Speaker:
    """One voice's utterances. ``core``: of those that bounds are stated for by name."""

    name: str
    language: str
    core: bool
    utterances: Sequence[Spoken]


def speakers(sentences: int = len(ENGLISH), names: Sequence[str] = ()) -> Iterator[Speaker]:
    """Everybody (or those of these names), each with up to so many sentences.

    Raises:
        SpeakerError: flite, festival or a voice is not installed; says which package has it.
    """

    def wanted(name: str) -> bool:
        return not names or name in names

    for voice in ("awb", "rms"):
        if wanted(f"flite {voice}"):
            yield Speaker(f"flite {voice}", "en", True, [flite(text, voice) for text in ENGLISH[:sentences]])
    for voice, language, texts in (
        ("ked_diphone", "en", ENGLISH), ("lp_diphone", "it", ITALIAN), ("pc_diphone", "it", ITALIAN),
        ("czech_ph", "cs", CZECH), ("czech_machac", "cs", CZECH), ("suo_fi_lj_diphone", "fi", FINNISH),
        ("hy_fi_mv_diphone", "fi", FINNISH),
    ):  # fmt: skip
        name = f"festival {voice.removesuffix('_diphone').removeprefix('suo_').removeprefix('hy_')}"
        if wanted(name):
            yield Speaker(name, language, language == "en", festival(texts[:sentences], voice, language))
    with EspeakSpeaker() as espeak:
        for voice, rate_wpm, pitch in ESPEAK:
            name = f"espeak {voice.split('/')[1]}"
            if wanted(name):
                yield Speaker(
                    name, "en", False, [espeak.speak(text, voice, rate_wpm, pitch) for text in ENGLISH[:sentences]]
                )


def festival(texts: Sequence[str], voice: str, language: str) -> list[Spoken]:
    """festival says some texts.

    Raises:
        SpeakerError: it or the voice is not installed.
    """
    program = shutil.which("festival")
    if program is None:
        raise SpeakerError("festival is not installed: `apt-get install festival` (Debian, Ubuntu)")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "say.scm"
        lines = [f"(voice_{voice})"]
        for k, text in enumerate(texts):
            lines += [
                f"(set! utt (utt.synth (eval (list 'Utterance 'Text \"{text}\"))))",
                f'(utt.save.wave utt "{folder}/{k}.wav" \'riff)',
                '(mapcar (lambda (s) (format t "%s:%f " (item.name s) (item.feat s \'end)))'
                " (utt.relation.items utt 'Segment))",
                '(format t "\\n")',
            ]
        script.write_text("\n".join(lines), encoding="latin-1")
        done = subprocess.run([program, "-b", str(script)], capture_output=True, text=True, timeout=300, check=False)
        said = [line for line in done.stdout.splitlines() if ":" in line]
        if done.returncode != 0 or len(said) != len(texts):
            raise SpeakerError(
                f"festival could not speak as {voice}: {done.stderr.strip()[-300:]} (Debian: festvox-kdlpc16k, "
                "festvox-italp16k, festvox-itapc16k, festvox-czech-ph, festvox-czech-machac, festvox-suopuhe-lj, -mv)"
            )
        out = []
        for k, line in enumerate(said):
            pcm, rate_hz = read_wave(Path(folder) / f"{k}.wav")
            out.append(Spoken(pcm, rate_hz, _phones(line, from_arpabet if language == "en" else _from_sampa)))
    return out


def _phones(line: str, ipa_of: object) -> list[Phone]:
    phones: list[Phone] = []
    start_ms = 0.0
    for name, end_s in re.findall(r"(\S+?):(\d+\.\d+)", line):
        end_ms = 1000.0 * float(end_s)
        phones.append(Phone(ipa_of(name), start_ms, end_ms))  # type: ignore[operator]
        start_ms = end_ms
    return merged(phones)


def _from_sampa(name: str) -> str:
    """IPA; stressed vowels end in a digit."""
    from agent.lips.phones import sounds

    plain = name if name in SAMPA else name.rstrip("1")
    ipa = SAMPA.get(plain, plain)
    try:
        sounds(ipa)
    except PhoneError:
        raise PhoneError(f"{name!r} is no phone of festival's Italian, Czech or Finnish that is known here") from None
    return ipa
