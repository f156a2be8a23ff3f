"""How a voice moves the face beyond its mouth: beats of brows and head on stressed syllables, blinks where it pauses.

In: the speech heard so far and what is to be shown. Out: the `Pose` and the `Mouth` of that picture. All of it follows
from the audio up to the picture's lookahead, from the shot and from the expressions worn: gestures look back over a few
mouths and never remember anything of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from avatar.puppet import motion
from avatar.puppet.motion import BLINK, Mood, Pose, chance
from avatar.puppet.mouth import REST, Mouth, calming, opening, shutting
from avatar.puppet.speech import KEPT_PICTURES, Speech
from avatar.renderer import Shot

BEAT = (0.18, 0.55, 0.88, 1.0, 0.90, 0.66, 0.40, 0.18, 0.05)
"""What is left of a beat in the pictures from its syllable on."""
QUIET_PICTURES, VOICED_PICTURES = 3, 4
"""A pause has begun when a mouth is shut for so many pictures after it spoke in the ones before."""
HISTORY = len(BEAT) + VOICED_PICTURES + QUIET_PICTURES
SHUT, SPOKEN = 0.06, 0.16
"""Openings below the one count as a pause; above the other as speech."""
LEAST_RISE, FULL_RISE = 0.16, 0.50
"""How much further than just before a mouth opens for a syllable that is stressed a little, and fully."""
BLINK_CHANCE = 0.65
RAISED_BY_BITE = 0.17
"""What a lip at the teeth is raised and thinned by, in widest mouths."""
MOST_DROP, MOST_SPRING = 0.45, 0.68
"""The most that the lower lip sinks from one picture to the next, in widest mouths: 2% of the picture's height; and
when lips part that were pressed together."""
LOOKS_BACK = 3
BEATS_FROM = 5
"""Pictures into a run of speech from which beats are full."""


def parted(mouth: Mouth) -> float:
    """How far lips are apart, 0 to about 1."""
    return mouth.jaw * (1.0 - mouth.closure) * (1.0 - 0.28 * mouth.rounding)


def sunk(mouth: Mouth) -> tuple[float, float]:
    """How far the lower lip hangs: for each unit of jaw, and without any; 1 together for the widest mouth (lips.py)."""
    shut = min(1.0, mouth.closure)
    bite, ring = mouth.lip_teeth * (1.0 - shut), mouth.rounding * (1.0 - 0.6 * shut)
    by_jaw = (1.0 - 0.6 * shut) * (1.0 - shut) * (1.0 - 0.75 * bite) * (1.0 - 0.28 * ring)
    return by_jaw, -RAISED_BY_BITE * bite


def unhurried(mouths: Sequence[Mouth]) -> Mouth:
    """The last of the mouths shown in a row, its jaw held where the lip would drop faster than `MOST_DROP` a picture.

    The ear holds each parameter back by itself; a lip that leaves the teeth while the jaw drops adds up to more.
    """
    last, allowed, steps = mouths[-1], 1.0, 0.0
    for mouth in reversed(mouths[:-1]):
        steps += MOST_SPRING if mouth.closure > 0.0 else MOST_DROP
        by_jaw, otherwise = sunk(mouth)
        allowed = min(allowed, mouth.jaw * by_jaw + otherwise + steps)
    by_jaw, otherwise = sunk(last)
    if last.jaw * by_jaw + otherwise <= allowed:
        return last
    return replace(last, jaw=max(0.0, (allowed - otherwise) / by_jaw))


def stress(openings: Sequence[float], efforts: Sequence[float]) -> float:
    """The beat that the last of these mouths is in, 0 to 1. Up to `HISTORY` of them, oldest first."""
    strongest = 0.0
    for back, left in enumerate(BEAT):
        place = len(openings) - 1 - back
        if place < 1:
            break
        rise = openings[place] - min(openings[max(0, place - 3) : place])
        if rise > LEAST_RISE:
            amount = min(1.0, (rise - LEAST_RISE) / (FULL_RISE - LEAST_RISE))
            strongest = max(strongest, left * amount * (0.4 + 0.6 * efforts[place]))
    return strongest


def pause_blink(openings: Sequence[float], place: tuple[int, int], seed: int) -> float:
    """How far a blink at a pause has shut the lids in the last of these mouths.

    Args:
        place: segment and number of that mouth, counted on through the rest after it.
    """
    segment, number = place
    for back, shut in enumerate(BLINK):
        end = len(openings) - back
        begins = end - QUIET_PICTURES
        if begins < VOICED_PICTURES:
            break
        if max(openings[begins:end]) < SHUT <= openings[begins - 1]:
            voiced = max(openings[begins - VOICED_PICTURES : begins])
            blinks = voiced > SPOKEN and chance(seed, 51, segment, number - back) < BLINK_CHANCE
            return shut if blinks else 0.0
    return 0.0


class Actor:
    """Plays one conversation's figure. It belongs to the thread that owns the speech."""

    def __init__(self, speech: Speech, seed: int) -> None:
        self._speech, self._seed = speech, seed
        # Mouths that were heard, by segment and number: functions of the audio, kept for speed.
        self._played: OrderedDict[tuple[int, int], Mouth] = OrderedDict()

    def play(self, shot: Shot, mood: Mood) -> tuple[Pose, Mouth]:
        """Raises:
        RendererError: the shot's audio is not there.
        """
        if shot.segment is None:
            last = self._speech.last_mouth(shot.after)
            mouth, effort = shutting(last, shot.since), calming(last, shot.since)
            (segment, n), resting, beats = shot.after or (0, -1), shot.since + 1, 1.0
        else:
            self._hear(shot.segment, shot.n)
            segment, n, resting, beats = shot.segment, shot.n, 0, min(1.0, (shot.since + 1) / BEATS_FROM)
            mouth = self._eased(shot.segment, shot.n, shot.since)
            effort = mouth.effort
        if resting >= HISTORY:
            return motion.pose(shot.tick, self._seed, mood, effort), mouth
        known = [self._played.get((segment, k), REST) for k in range(max(0, n + resting - HISTORY + 1), n + 1)]
        known += [REST] * resting
        openings, efforts = [parted(each) for each in known], [each.effort for each in known]
        beat = beats * stress(openings, efforts)
        blink = pause_blink(openings, (segment, n + resting), self._seed)
        return motion.pose(shot.tick, self._seed, mood, effort, beat, blink), mouth

    def _eased(self, segment: int, n: int, since: int) -> Mouth:
        """The mouth of a speech picture, given those of its run that were to be shown before it."""
        shown = [
            opening(self._played[segment, n - back], since - back) for back in range(min(LOOKS_BACK, since, n), -1, -1)
        ]
        return unhurried([REST, *shown] if since < LOOKS_BACK else shown)

    def _hear(self, segment: int, n: int) -> None:
        """See that this mouth and those shortly before it are known, whether or not they were shown."""
        for k in (n, *range(max(0, n - HISTORY + 1), n)):
            if k == n or (segment, k) not in self._played:
                self._played[segment, k] = self._speech.mouth(segment, k)
        while len(self._played) > KEPT_PICTURES:
            self._played.popitem(last=False)
