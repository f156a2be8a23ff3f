"""Who lips are measured with: speakers that were never trained on, with their own phone times.

flite's awb and rms and festival's ked are who is measured. A Czech and a Finnish speaker of festival and espeak-ng
voices that the training leaves out are the development set. The sentences are none of the training's. What is spoken is
the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.mouth.festival import Line, festival
from training.mouth.speakers import EspeakSpeaker, Spoken, flite

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

ESPEAK = (
    ("gmw/en-US+f5", 165, 55), ("gmw/en+m8", 190, 40), ("gmw/en-GB-x-rp+Andrea", 150, 60),
    ("gmw/en-US+Michael", 215, 35),
    ("gmw/en-US+steph2", 175, 65), ("gmw/en-GB-scotland+adam", 140, 45),
)  # fmt: skip
"""Voice, words a minute, pitch."""


FESTIVAL = (
    ("ked", "ked_diphone", "en", ENGLISH),
    ("czech_ph", "czech_ph", "cs", CZECH),
    ("fi_mv", "hy_fi_mv_diphone", "fi", FINNISH),
)
"""Name, voice, language, sentences."""


@dataclass(frozen=True, eq=False, slots=True)
class Speaker:
    """One voice's utterances. ``core``: the named speakers, who bounds are stated for; by the others recipes and
    thresholds are chosen, so they are measured but prove nothing."""

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
    for name, voice, language, texts in FESTIVAL:
        if wanted(f"festival {name}"):
            lines = [Line(text) for text in texts[:sentences]]
            yield Speaker(f"festival {name}", language, language == "en", festival(lines, voice, language))
    with EspeakSpeaker() as espeak:
        for voice, rate_wpm, pitch in ESPEAK:
            name = f"espeak {voice.split('/')[1]}"
            if wanted(name):
                yield Speaker(
                    name, "en", False, [espeak.speak(text, voice, rate_wpm, pitch) for text in ENGLISH[:sentences]]
                )
