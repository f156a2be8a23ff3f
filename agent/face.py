"""Which renderer gives a conversation its face, and why."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass

import cv2

from agent.persona import Persona
from agent.settings import AvatarSettings
from avatar.frames import MienError, Picture
from avatar.puppet.renderer import PuppetRenderer
from avatar.renderer import Renderer
from avatar.static import StaticRenderer, still_from_puppet


@dataclass(frozen=True, slots=True)
class Face:
    """What `choose_face` decided: the backend's name, the reason, and how to make one for a conversation."""

    backend: str
    why: str
    settings: AvatarSettings
    persona: Persona

    def make(self, seed: int = 0) -> Renderer:
        """A renderer of its own for one conversation; blocks while its static layers are drawn."""
        if self.backend == "static":
            return StaticRenderer(self.still())
        return PuppetRenderer(self.persona.look, size_px=self.settings.size_px, seed=seed)

    def still(self) -> Picture:
        """The face at rest. The first call paints, which takes seconds; what it painted is shared by all renderers."""
        return still_from_puppet(self.persona.look, self.settings.size_px)


def choose_face(settings: AvatarSettings, persona: Persona) -> Face:
    """Raises:
    MienError: a renderer was asked for by name that cannot be had.
    """
    match settings.backend:
        case "musetalk":
            raise MienError(
                "AVATAR_BACKEND=musetalk: this version has no MuseTalk renderer yet; use puppet, static or auto"
            )
        case "auto":
            return Face("puppet", "drawn on the CPU; this version has no other moving face", settings, persona)
        case "puppet" | "static":
            return Face(settings.backend, "AVATAR_BACKEND asks for it", settings, persona)


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
