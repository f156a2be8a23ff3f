"""A portrait that MuseTalk speaks for: whether it was prepared for that, and its renderer on the process's one engine.

In: a portrait's folder, the weights' folder. Out: a renderer, or why there is none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avatar.musetalk.config import MUSETALK_V15
from avatar.musetalk.engine import Engine
from avatar.musetalk.portrait_frames import has_musetalk, latents_of, load_frames
from avatar.musetalk.renderer import MuseTalkRenderer, Person

Engines = Callable[[Path, Person], Engine]
"""Gives the engine for the weights of a folder; blocks until it is ready."""


def unfit(portrait: Path | None) -> str | None:
    """Why MuseTalk cannot speak for this portrait anywhere, as the rest of a sentence; None if it can.

    Raises:
        PortraitError: it is no portrait.
    """
    if portrait is None:
        return "it takes a portrait: `mien prepare SOURCE -o FOLDER --for musetalk`, then --portrait FOLDER"
    if not has_musetalk(portrait):
        return f"{portrait} was prepared without it: prepare it again with --for musetalk"
    if (model := latents_of(portrait)) != MUSETALK_V15.name:
        made = f"latents of {model}" if model else "no latents"
        return f"{portrait} has {made}: prepare it again, now with the weights"
    return None


@functools.lru_cache(maxsize=4)
def person(portrait: Path) -> Person:
    """A portrait's pictures, read once for all conversations of this process.

    Raises:
        PortraitError, AvatarError: it cannot be used; the reason is told.
    """
    frames = load_frames(portrait, MUSETALK_V15)
    return Person(frames.avatar_frames(MUSETALK_V15), frames.cycle)


@dataclass(frozen=True, slots=True)
class Speaks:
    """A person, and the engine that moves their lips."""

    engine: Engine
    person: Person

    @classmethod
    def begun(cls, portrait: Path, weights: Path, engines: Engines) -> Speaks:
        """The first call of a process waits until the engine is ready.

        Raises:
            Unavailable: the engine could not be begun.
            PortraitError, AvatarError: the portrait cannot be used.
        """
        shown = person(portrait)
        return cls(engines(weights, shown), shown)

    def renderer(self, *, patient: bool) -> MuseTalkRenderer:
        """One conversation's.

        Raises:
            Refused: the GPU has no room for another conversation.
        """
        return MuseTalkRenderer(self.engine, self.person, patient=patient)
