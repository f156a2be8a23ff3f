"""Which renderer gives a conversation its face, and why."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import cv2

from agent.persona import Persona
from agent.settings import AvatarSettings
from avatar.frames import Picture
from avatar.photo.renderer import PhotoRenderer, still_of
from avatar.photo.rig import Prepared, prepared
from avatar.portrait import load_portrait, read_manifest
from avatar.puppet.renderer import PuppetRenderer
from avatar.renderer import Renderer
from avatar.static import StaticRenderer, still_from_puppet


@dataclass(frozen=True, slots=True)
class Face:
    """What `choose_face` decided: the backend's name, the reason, and how to make one for a conversation.

    Args:
        backend: `puppet`, `portrait` or `static`.
        portrait: the folder of a prepared picture; None: the persona is drawn.
    """

    backend: str
    why: str
    settings: AvatarSettings
    persona: Persona
    portrait: Path | None = None

    def make(self, seed: int = 0) -> Renderer:
        """A renderer of its own for one conversation; blocks while its static layers are drawn."""
        if self.backend == "static":
            return StaticRenderer(self.still())
        if self.portrait is not None:
            return PhotoRenderer(_readied(self.portrait, self.settings.size_px), seed=seed)
        return PuppetRenderer(self.persona.look, size_px=self.settings.size_px, seed=seed)

    def still(self) -> Picture:
        """The face at rest. The first call paints, which takes seconds; what it painted is shared by all renderers."""
        if self.portrait is not None:
            return still_of(_readied(self.portrait, self.settings.size_px))
        return still_from_puppet(self.persona.look, self.settings.size_px)


@functools.lru_cache(maxsize=4)
def _readied(portrait: Path, size_px: int) -> Prepared:
    """A portrait, read once for all conversations of this process."""
    loaded = load_portrait(portrait)
    return prepared(loaded.picture, loaded.mesh, loaded.curves, size_px)


def choose_face(settings: AvatarSettings, persona: Persona) -> Face:
    """Which face this is. A portrait of the settings wins over the persona's, and that over the drawn character.

    Raises:
        MienError: a renderer was asked for by name that cannot be had, or the portrait cannot be used.
    """
    portrait, whose = settings.portrait, "MIEN_PORTRAIT or --portrait names it"
    if portrait is None and "portrait" in persona.look:
        portrait, whose = persona.folder / str(persona.look["portrait"]), f"{persona.name}'s look is a portrait"
    if portrait is not None:
        read_manifest(portrait)
    match settings.backend:
        case "musetalk":
            why = f"not musetalk, as AVATAR_BACKEND asks: {_not_musetalk()}"
            return Face("puppet" if portrait is None else "portrait", why, settings, persona, portrait)
        case "auto" | "puppet" if portrait is not None:
            return Face("portrait", whose, settings, persona, portrait)
        case "auto":
            return Face("puppet", "drawn on the CPU; this version has no other moving face", settings, persona)
        case "puppet" | "static":
            return Face(settings.backend, "AVATAR_BACKEND asks for it", settings, persona, portrait)


def _not_musetalk() -> str:
    """Why a conversation has no lips of MuseTalk's."""
    from avatar.musetalk.live import unavailable  # on demand: it may import torch

    return unavailable() or "its portraits cannot be loaded in this version yet"


def paint_ahead(face: Face) -> Future[Picture]:
    """Begin to paint on a thread, mostly outside the interpreter lock: the imports that follow take as long."""
    painted: Future[Picture] = Future()

    def paint() -> None:
        try:
            painted.set_result(face.still())
        except Exception as error:  # it belongs to whoever waits for the picture
            painted.set_exception(error)

    threading.Thread(target=paint, name="paint", daemon=True).start()
    return painted


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture.planes, cv2.COLOR_YUV2BGR_I420))
    return data.tobytes()
