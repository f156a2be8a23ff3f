"""One still picture for every moment: the renderer that needs nothing, while the voice goes on.

In: a picture, or an image file. Out: that picture, whenever the contract lets a renderer answer.
`AVATAR_BACKEND=static` chooses it, and a conversation whose renderer fails falls back on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from avatar.frames import Pcm, Picture
from avatar.portrait_image import ImageError, read_image
from avatar.puppet.look import Look
from avatar.puppet.motion import AT_REST
from avatar.puppet.mouth import REST
from avatar.puppet.rig import Rig
from avatar.renderer import Expression, RendererError, Shot
from avatar.waiting import Answer, Waiting


def still_from_puppet(look: Mapping[str, Any], size_px: int) -> Picture:
    """The puppet at rest. It is painted first, which takes about a second: call it off the event loop.

    Raises:
        LookError: the look has a field or value that is not accepted.
        RendererError: the size is not accepted.
    """
    return Picture(Rig(Look.parse(look), size_px).draw(AT_REST, REST))


def still_from_image(file: Path, size_px: int) -> Picture:
    """The middle square of a PNG or JPEG, scaled to ``size_px``. Blocking: call it off the event loop.

    Raises:
        RendererError: the file is missing, too large, or no image of these kinds.
    """
    try:
        image = read_image(file)
    except ImageError as error:
        raise RendererError(str(error)) from None
    height, width = image.shape[:2]
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    smooth = cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC
    scaled = cv2.resize(square, (size_px, size_px), interpolation=smooth)
    return Picture(np.asarray(cv2.cvtColor(scaled, cv2.COLOR_BGR2YUV_I420), np.uint8))


class StaticRenderer:
    """Shows one picture. It keeps the contract of pictures that wait for their audio, though it never hears it."""

    name = "static"
    lookahead_ms = 0.0
    lead_ticks = 1
    start_ticks = 0
    start_grace_ms = 120

    def __init__(self, picture: Picture) -> None:
        self.still = picture
        self.width, self.height = picture.width, picture.height
        self._waiting = Waiting(self.lookahead_ms)

    def push(self, segment: int, pcm: Pcm) -> None:
        if self._waiting.push(segment, len(pcm)):
            self._waiting.serve()

    def end(self, segment: int) -> None:
        if self._waiting.end(segment):
            self._waiting.serve()

    def clear(self, generation: int) -> None:
        self._waiting.clear()

    def express(self, expression: Expression, tick: int) -> None:
        """A still has one expression."""

    def request(self, shot: Shot) -> Answer:
        return self._waiting.request(shot, lambda answer: answer.set_result(self.still))

    async def aclose(self) -> None:
        self._waiting.close()
