"""Which renderer gives a conversation its face, and why."""

from __future__ import annotations

import functools
import logging
import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from agent.persona import Persona
from agent.settings import AvatarSettings
from avatar.frames import Picture
from avatar.musetalk.jobs import Unavailable
from avatar.photo.renderer import PhotoRenderer, still_of
from avatar.photo.rig import Prepared, prepared
from avatar.portrait import load_portrait, read_manifest
from avatar.puppet.renderer import PuppetRenderer
from avatar.renderer import Renderer
from avatar.static import StaticRenderer, still_from_puppet

if TYPE_CHECKING:
    from agent.face_musetalk import Engines, Speaks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Face:
    """What `choose_face` decided: the backend's name, the reason, and how to make one for a conversation.

    Args:
        backend: `puppet`, `portrait`, `musetalk` or `static`.
        portrait: the folder of a prepared picture; None: the persona is drawn.
        engines: gives MuseTalk's engine; None: the process's one, on the GPU.
    """

    backend: str
    why: str
    settings: AvatarSettings
    persona: Persona
    portrait: Path | None = None
    engines: Engines | None = None

    def make(self, seed: int = 0, *, patient: bool = False) -> Renderer:
        """A renderer of its own for one conversation; blocks while its static layers are drawn.

        Args:
            patient: for a file: no picture has to be there in time.

        Raises:
            Refused: the GPU has no room for another conversation.
        """
        if self.backend == "static":
            return StaticRenderer(self.still())
        if self.backend == "musetalk":
            try:
                return self._engine().renderer(patient=patient)
            except Unavailable as error:
                logger.error("%s; the portrait is drawn instead", error)
        if self.portrait is not None:
            return PhotoRenderer(_readied(self.portrait, self.settings.size_px), seed=seed)
        return PuppetRenderer(self.persona.look, size_px=self.settings.size_px, seed=seed)

    def warm(self) -> Face:
        """Load what all conversations share; blocks, for minutes where a GPU's code is compiled for the first time.

        Returns the face that conversations get: this one, or where MuseTalk could not be begun the drawn portrait.
        """
        self.still()
        if self.backend == "musetalk":
            try:
                self._engine()
            except Unavailable as error:
                logger.error("%s; the portrait is drawn instead", error)
                return replace(self, backend="portrait", why=f"drawn on the CPU, not musetalk: {error}")
        return self

    def device(self) -> dict[str, Any]:
        """What draws it, as `/health` tells."""
        if self.backend == "musetalk":
            from avatar.musetalk.live import card  # on demand: it imports torch

            if (name := card()) is not None:
                return {"type": "cuda", "name": name}
        return {"type": "cpu", "name": platform.processor() or platform.machine(), "cores": os.cpu_count()}

    def _engine(self) -> Speaks:
        """MuseTalk, ready to speak for the portrait.

        Raises:
            Unavailable: it could not be begun.
        """
        from agent.face_musetalk import Speaks  # on demand: it may import torch
        from avatar.musetalk.live import shared_engine

        assert self.portrait is not None, "MuseTalk's face is a portrait"
        return Speaks.begun(self.portrait, self.settings.weights, self.engines or shared_engine)

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


def choose_face(
    settings: AvatarSettings, persona: Persona, *, unavailable: Callable[[Path], str | None] | None = None
) -> Face:
    """Which face this is. A portrait of the settings wins over the persona's, and that over the drawn character; where
    it was prepared for MuseTalk and card and weights are there, MuseTalk moves it.

    Args:
        unavailable: says why MuseTalk cannot run on this machine with the weights of a folder; None: it is looked.

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
            reason = _lacking(settings.weights, unavailable) or _unfit(portrait)
            if reason is None:
                return Face("musetalk", "AVATAR_BACKEND asks for it", settings, persona, portrait)
            why = f"not musetalk, as AVATAR_BACKEND asks: {reason}"
            return Face("puppet" if portrait is None else "portrait", why, settings, persona, portrait)
        case "auto" if portrait is not None:
            reason = _unfit(portrait) or _lacking(settings.weights, unavailable)  # torch is imported only if need be
            if reason is None:
                return Face("musetalk", f"{whose}; card and weights are there", settings, persona, portrait)
            return Face("portrait", f"{whose}; drawn on the CPU, not musetalk: {reason}", settings, persona, portrait)
        case "puppet" if portrait is not None:
            return Face("portrait", whose, settings, persona, portrait)
        case "auto":
            return Face("puppet", "drawn on the CPU, not musetalk: that takes a portrait", settings, persona)
        case "puppet" | "static":
            return Face(settings.backend, "AVATAR_BACKEND asks for it", settings, persona, portrait)


def _unfit(portrait: Path | None) -> str | None:
    """Why MuseTalk cannot move this portrait."""
    from agent.face_musetalk import unfit  # on demand: nobody else needs it

    return unfit(portrait)


def _lacking(weights: Path, unavailable: Callable[[Path], str | None] | None) -> str | None:
    """Why MuseTalk cannot run on this machine."""
    if unavailable is not None:
        return unavailable(weights)
    from avatar.musetalk import live  # on demand: it imports torch where that is installed

    return live.unavailable(weights)


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
