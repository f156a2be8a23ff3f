"""A face from the first moment: a still picture until the real renderer stands, and again when that one is lost.

In: the face that was chosen. Out: a `Renderer` that never changes for the playout, and behind it one that does; and the
face's still picture, which is painted once (it takes seconds) and then kept on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import time
from pathlib import Path

import cv2
import numpy as np

from agent.face import Face
from avatar.frames import Pcm, Picture
from avatar.renderer import Expression, Renderer, Shot
from avatar.static import StaticRenderer

log = logging.getLogger(__name__)

CACHE = Path("~/.cache/mien/stills").expanduser()
KEPT = 8
PARTIAL_S = 3600.0
_SOURCES = [Path(__file__).resolve().parent.parent / "avatar" / painter for painter in ("puppet", "photo")]
_DUSK = (52, 134, 124)
"""Y, U, V of the plain picture that stands in for a face that was never painted: a muted blue-green."""


class LateFace:
    """Stands in front of a renderer that can be exchanged. One event loop; nothing blocks.

    Args:
        first: what is shown until `show` brings a real renderer.
    """

    def __init__(self, first: Picture) -> None:
        self._now: Renderer = StaticRenderer(first)
        self._expression: tuple[Expression, int] | None = None

    def show(self, renderer: Renderer) -> Renderer:
        """From now on draw with this one; returns the one before, which the caller closes.

        An utterance that is under way goes on without lips: the new renderer has not heard its beginning.
        """
        before, self._now = self._now, renderer
        if self._expression is not None:
            renderer.express(*self._expression)
        return before

    @property
    def name(self) -> str:
        return self._now.name

    @property
    def width(self) -> int:
        return self._now.width

    @property
    def height(self) -> int:
        return self._now.height

    @property
    def lookahead_ms(self) -> float:
        return self._now.lookahead_ms

    @property
    def lead_ticks(self) -> int:
        return self._now.lead_ticks

    @property
    def start_ticks(self) -> int:
        return self._now.start_ticks

    @property
    def start_grace_ms(self) -> int:
        return self._now.start_grace_ms

    @property
    def still(self) -> Picture:
        return self._now.still

    def push(self, segment: int, pcm: Pcm) -> None:
        self._now.push(segment, pcm)

    def end(self, segment: int) -> None:
        self._now.end(segment)

    def clear(self, generation: int) -> None:
        self._now.clear(generation)

    def express(self, expression: Expression, tick: int) -> None:
        self._expression = (expression, tick)
        self._now.express(expression, tick)

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        return self._now.request(shot)

    async def aclose(self) -> None:
        await self._now.aclose()


def kept_still(face: Face, cache: Path = CACHE) -> Picture | None:
    """The face's still, if it was painted before; blocks for some milliseconds."""
    try:
        file = _file(face, cache)
    except OSError:  # of the portrait; whoever paints it will say so
        return None
    if not file.is_file():
        return None
    planes = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    if planes is None or planes.shape[0] % 3 or planes.shape[1] % 2:
        log.warning("%s is damaged and is not used", file)
        return None
    return Picture(np.asarray(planes, np.uint8))


def keep_still(face: Face, picture: Picture, cache: Path = CACHE) -> None:
    """Keep the face's still for the next start; where that is not possible, it is painted again. Blocks."""
    file = cache
    try:
        file = _file(face, cache)
        cache.mkdir(parents=True, exist_ok=True)
        # A PNG of the I420 planes as they are: lossless, and nothing that could be executed.
        _, content = cv2.imencode(".png", picture.planes)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(content.tobytes())
        partial.replace(file)
        for old in sorted(cache.glob("*.png"), key=lambda each: each.stat().st_mtime)[:-KEPT]:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
        for rest in cache.glob("*.partial"):  # of a process that was killed while it wrote
            with contextlib.suppress(FileNotFoundError):
                if time.time() - rest.stat().st_mtime > PARTIAL_S:
                    rest.unlink()
    except OSError as error:
        log.info("the still picture is not kept (%s): %s", file, error.strerror)


def plain(size_px: int) -> Picture:
    """What is shown for the first seconds of a face that was never painted on this machine."""
    planes = np.empty((size_px * 3 // 2, size_px), np.uint8)
    planes[:size_px] = _DUSK[0]
    planes[size_px : size_px * 5 // 4] = _DUSK[1]
    planes[size_px * 5 // 4 :] = _DUSK[2]
    return Picture(planes)


def _file(face: Face, cache: Path) -> Path:
    """Named by everything that the painting depends on: the look or the portrait, the size, and the painter itself."""
    painted = [face.backend, face.persona.look, face.settings.size_px]
    digest = hashlib.sha256(json.dumps(painted, sort_keys=True).encode())
    for folder in _SOURCES:
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
    if face.portrait is not None:
        for part in sorted(face.portrait.iterdir()):
            state = part.stat()
            digest.update(f"{part.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return cache / f"{digest.hexdigest()[:32]}.png"
