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
from avatar.puppet.look import Look
from avatar.puppet.motion import AT_REST
from avatar.puppet.mouth import REST
from avatar.puppet.rig import Rig
from avatar.renderer import Expression, RendererError, Shot
from avatar.waiting import Answer, Waiting

LARGEST_FILE_BYTES = 20 * 1024 * 1024
LARGEST_SIDE_PX = 8192


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
        length = file.stat().st_size
        if length > LARGEST_FILE_BYTES:
            raise RendererError(f"{file} is {length / 2**20:.1f} MiB: save it below {LARGEST_FILE_BYTES >> 20} MiB")
        content = file.read_bytes()
    except OSError as error:
        raise RendererError(f"{file} cannot be read ({error.strerror}): give the path of a PNG or JPEG") from None
    width, height = _stated_size(content)
    if not (0 < width <= LARGEST_SIDE_PX and 0 < height <= LARGEST_SIDE_PX):
        raise RendererError(
            f"{file} is no PNG or JPEG of at most {LARGEST_SIDE_PX} px a side ({width} x {height}): convert it"
        )
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise RendererError(f"{file} cannot be decoded: it is damaged, save it again as PNG or JPEG")
    height, width = image.shape[:2]
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    smooth = cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC
    scaled = cv2.resize(square, (size_px, size_px), interpolation=smooth)
    return Picture(np.asarray(cv2.cvtColor(scaled, cv2.COLOR_BGR2YUV_I420), np.uint8))


def _stated_size(content: bytes) -> tuple[int, int]:
    """Width and height as a PNG's or JPEG's header states them, read before anything is decoded; (0, 0) for others."""
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if content[:2] != b"\xff\xd8":
        return 0, 0
    place = 2
    while place + 9 < len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[place + 7 : place + 9]), int.from_bytes(content[place + 5 : place + 7])
        standalone = marker == 0xFF or 0xD0 <= marker <= 0xD8
        place += 1 if marker == 0xFF else 2 if standalone else 2 + int.from_bytes(content[place + 2 : place + 4])
    return 0, 0


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
