"""What a mouth does, and the seam behind which it is heard: 16 kHz speech in, one `Mouth` for each picture out.

Nothing here knows how a mouth is drawn or how sound is analysed. `ear.py` is the trained listener; `loudness.py`, which
needs no training, is what it is measured against. Others take their place by keeping `MouthTracker`'s two promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

from avatar.frames import Pcm


@dataclass(frozen=True, slots=True)
class Mouth:
    """The pose of a mouth during one picture. All values run from 0 to 1 except ``spread``.

    Args:
        jaw: how far the jaw is dropped: 0.1 for /i/, 0.6 for /e/, 1 for a loud /a/.
        spread: lip corners apart (1, as in /i/), at rest (0), or drawn together (-1, as in /o/).
        rounding: lips pushed forward into a ring, as in /u/ and /w/.
        closure: lips pressed together, as in /p b m/; at 1 the jaw does not part them.
        lip_teeth: lower lip raised to the upper teeth, as in /f v/.
        tongue: tip raised behind the upper teeth, as in /l n th/.
        effort: how strongly the voice speaks around this picture; head and brows move with it, lips do not.
    """

    jaw: float = 0.0
    spread: float = 0.0
    rounding: float = 0.0
    closure: float = 0.0
    lip_teeth: float = 0.0
    tongue: float = 0.0
    effort: float = 0.0


REST = Mouth()
"""Lips together, nothing pressed."""

OPENING_PICTURES = 3
"""A mouth opens from rest over this many speech pictures (120 ms)."""
SHUTTING = (0.5, 0.1, 0.0)
"""What is left of a mouth in the first idle pictures after speech: as good as shut after 80 ms. Lips fall together
quickly, and an interruption is seen by them."""

CALMING_PICTURES = 14
"""Head and brows come to rest over this many idle pictures."""


def blend(from_mouth: Mouth, to_mouth: Mouth, share: float) -> Mouth:
    """The mouth between two: ``from_mouth`` at share 0, ``to_mouth`` at share 1."""
    if share <= 0.0:
        return from_mouth
    if share >= 1.0:
        return to_mouth
    pairs = zip(astuple(from_mouth), astuple(to_mouth), strict=True)
    return Mouth(*(a + (b - a) * share for a, b in pairs))


def opening(mouth: Mouth, since: int) -> Mouth:
    """The mouth of a speech picture that follows ``since`` others."""
    return blend(REST, mouth, (since + 1) / OPENING_PICTURES)


def shutting(mouth: Mouth, since: int) -> Mouth:
    """The mouth of an idle picture that follows ``since`` others, where ``mouth`` was the last that spoke."""
    return blend(REST, mouth, SHUTTING[since]) if since < len(SHUTTING) else REST


def calming(mouth: Mouth, since: int) -> float:
    """What is left of a voice's effort in an idle picture after ``since`` others: head and brows settle slowly."""
    return mouth.effort * max(0.0, 1.0 - (since + 1) / CALMING_PICTURES) ** 2


def share(value: float, nothing: float, all_of_it: float) -> float:
    """How far ``value`` has come from ``nothing`` to ``all_of_it``, 0 to 1."""
    return min(1.0, max(0.0, (value - nothing) / (all_of_it - nothing)))


@dataclass(frozen=True, slots=True)
class Steps:
    """The most that a mouth's parameters move from one picture to the next, so that nothing pops.

    Args:
        lips: of rounding and lip_teeth, and of the tongue.
    """

    jaw: float
    spread: float
    lips: float
    effort: float

    def towards(self, last: Mouth, goal: Mouth) -> Mouth:
        """``goal``, or as near to it as one picture may move. Lips may meet at once and part no faster than a jaw
        falls."""

        def step(old: float, new: float, most: float) -> float:
            return min(old + most, max(old - most, new))

        jaw = step(last.jaw, goal.jaw, self.jaw)
        parted = last.jaw * (1.0 - last.closure) + self.jaw
        if jaw * (1.0 - goal.closure) > parted:
            jaw = parted / (1.0 - goal.closure)
        return Mouth(
            jaw=jaw,
            spread=step(last.spread, goal.spread, self.spread),
            rounding=step(last.rounding, goal.rounding, self.lips),
            closure=goal.closure,
            lip_teeth=step(last.lip_teeth, goal.lip_teeth, self.lips),
            tongue=step(last.tongue, goal.tongue, self.lips),
            effort=step(last.effort, goal.effort, self.effort),
        )


class MouthTracker(Protocol):
    """Hears one segment of speech, from its first sample on, and says what the mouth does.

    Mouth n describes the audio from 40 * n to 40 * (n + 1) ms. Two promises: mouth n is returned as soon as the audio
    up to 40 * (n + 1) + ``lookahead_ms`` has been pushed, and never before; and how the audio was cut into pushes
    changes no bit of it. A segment that has ended is followed by pushed silence for as long as mouths are wanted.
    """

    @property
    def lookahead_ms(self) -> int:
        """How much audio past a picture's own end its mouth waits for."""

    def push(self, pcm: Pcm) -> Sequence[Mouth]:
        """Hear more: int16 [any length] at 16 kHz. Returns the mouths that this audio completed, in order."""
