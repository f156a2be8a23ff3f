"""What the built-in persona understands of what is said: one turn as data, names in it, its language."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

_TELLTALES = {
    "de": "ich du bist nicht und wie geht dir heißt heiße mein dein guten tag danke bitte kannst spät uhr der das ist",
    "fr": "je tu es est pas comment vous bonjour merci appelle quel quelle heure suis avec pour mon ton peux il les ça",
    "es": "yo eres cómo como estás hola gracias qué hora me llamo por favor puedes tu nombre cuál buenos días soy",
    "it": "io sei come stai ciao grazie che ora chiamo puoi il tuo nome buongiorno sono per favore mi ore",
    "pt": "eu você é como está olá obrigado obrigada que horas chamo pode seu nome bom dia sou não são",
    "nl": "ik jij je bent hoe gaat het hallo dank wat is laat heet kan kun jouw naam goedemorgen mijn niet",
    "pl": "ja jesteś jak się masz cześć dziękuję która godzina nazywam mam imię możesz dzień dobry nie co to jest",
}
_DECISIVE = {
    "danke": "de",
    "bonjour": "fr",
    "merci": "fr",
    "hola": "es",
    "gracias": "es",
    "ciao": "it",
    "grazie": "it",
    "olá": "pt",
    "obrigado": "pt",
    "obrigada": "pt",
    "goedemorgen": "nl",
    "cześć": "pl",
    "dziękuję": "pl",
}
"""Words that settle it when hardly anything else is said."""
_ENGLISH = "i you the is are what how my name and to of it that can do me hello please thank a in"
_NOT_NAMES = (
    "a an the not very so just fine good well ok okay great tired sad happy bored sorry here back sure glad hungry "
    "busy ready done from in at your you afraid alone also still called lost new home all bad sick cold hot angry "
    "curious only really too excited confused interested"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """What an answer may depend on.

    Args:
        said: the user's words, as they were said.
        plain: the same in lower case without punctuation.
        before: earlier user messages, oldest first.
        own: earlier messages of the persona, oldest first.
        persona: its name.
        now: the time where the user is.
        dice: seeded by the conversation's seed and the place of this turn.
    """

    said: str
    plain: str
    before: tuple[str, ...]
    own: tuple[str, ...]
    persona: str
    now: datetime
    dice: random.Random

    def vary(self, lines: Sequence[str]) -> str:
        """One of the lines, not one that was said before while there are others."""
        heard = " ".join(self.own)
        fresh = [line for line in lines if line not in heard] or list(lines)
        return self.dice.choice(fresh)

    def has(self, pattern: str) -> bool:
        return re.search(rf"\b(?:{pattern})\b", self.plain) is not None


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s'+*/.-]", " ", text.lower().replace("’", "'")).split()).strip(" .")


def name_in(text: str) -> str | None:
    """The name by which somebody introduces themselves, or None."""
    match = re.search(
        r"\b(?:my name is|my name's|call me|i am called|(i am|i'm|this is))\s+([^\W\d_][\w'-]*)",
        text.replace("’", "'"),
        re.I,
    )
    if match is None or match[2].lower() in _NOT_NAMES.split() or match[2].lower().endswith("ing"):
        return None
    # "I'm hungry" is no name; "I'm Ada" has its capital letter, or ends there
    if match[1] and not match[2][0].isupper() and text[match.end() :].strip(" .!?"):
        return None
    if match[1] and not match[2][0].isupper() and match[1].lower() != "this is":
        return None
    return match[2][0].upper() + match[2][1:]


def language_of(text: str) -> str | None:
    """Which of the languages of ``FOREIGN`` a text is in, or None for English and for doubt."""
    words = set(plain(text).split())
    if len(words) <= 2 and (decided := [_DECISIVE[word] for word in words if word in _DECISIVE]):
        return decided[0]
    english = len(words & set(_ENGLISH.split()))
    counts = {code: len(words & set(telltales.split())) for code, telltales in _TELLTALES.items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] >= 2 and counts[best] > english else None
