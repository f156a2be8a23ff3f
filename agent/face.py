"""Which renderer gives a conversation its face, and why."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from agent.persona import Persona
from agent.settings import AvatarSettings
from avatar.frames import MienError, Picture
from avatar.puppet.renderer import PuppetRenderer
from avatar.renderer import Renderer


@dataclass(frozen=True, slots=True)
class Face:
    """What `choose_face` decided: the backend's name, the reason, and how to make one for a conversation."""

    backend: str
    why: str
    settings: AvatarSettings
    persona: Persona

    def make(self, seed: int = 0) -> Renderer:
        """A renderer of its own for one conversation; blocks while its static layers are drawn."""
        puppet = PuppetRenderer(self.persona.look, size_px=self.settings.size_px, seed=seed)
        if self.backend == "static":
            from avatar.static import StaticRenderer

            return StaticRenderer(puppet.still)
        return puppet


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


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture.planes, cv2.COLOR_YUV2BGR_I420))
    return data.tobytes()
