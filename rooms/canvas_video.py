"""A video file as moving background or idle clip: its picture for each moment, scaled to the canvas, looped.

It blocks (decoding) and is used by one thread. A file that breaks while it plays leaves its last picture standing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from avatar.frames import MienError, Planes

log = logging.getLogger(__name__)

LONGEST_STEP_MS = 1000.0


class ClipError(MienError):
    """The file cannot be played: which, and why."""


class Clip:
    """Covers the canvas with the video's middle.

    Args:
        loop: begin again at the end; else ``ended`` tells when it is over.

    Raises:
        ClipError: it is not there, or no video.
    """

    def __init__(self, file: Path, width: int, height: int, *, loop: bool) -> None:
        self._file = file
        self._size = (width, height)
        self._loop = loop
        self._container = None
        self.ended = False
        self._began_ms = 0.0
        self._asked_ms: float | None = None
        self._next: tuple[float, Planes] | None = None
        try:
            self._container = av.open(str(file))
            if not self._container.streams.video:
                raise ClipError(f"{file} holds no video: give a film such as mp4, mov or webm")
            self._container.streams.video[0].thread_type = "SLICE"
            self._pictures = self._decoded()
            self._advance()
        except (av.error.FFmpegError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ClipError(f"cannot play {file}: {reason}") from None
        if self._next is None:
            raise ClipError(f"{file} holds no picture")
        self._current: Planes = self._next[1]

    def restart(self, now_ms: float) -> None:
        """Begin at its first picture."""
        self.ended = False
        self._began_ms = now_ms
        self._asked_ms = None
        self._rewind()

    def at(self, now_ms: float) -> Planes:
        """The picture for this moment: I420 [height * 3 // 2, width]. Moments only grow; it is not to be written to."""
        if self._asked_ms is not None and now_ms - self._asked_ms > LONGEST_STEP_MS:
            # It was not on show for a while: go on from here, rather than decode all that nobody saw.
            self._began_ms += now_ms - self._asked_ms
        self._asked_ms = now_ms
        while not self.ended and self._next is not None and self._began_ms + self._next[0] <= now_ms:
            time_ms, self._current = self._next
            try:
                self._advance()
            except (av.error.FFmpegError, OSError) as error:
                log.error("%s broke off (%s); its last picture stays", self._file, error)
                self._next = None
                self.ended = not self._loop
                break
            if self._next is None and self._loop:
                # The last picture lasts as long as the one before it would have; 40 ms is near enough to all rates.
                self._began_ms += time_ms + 40.0
                self._rewind()
            elif self._next is None:
                self.ended = True
        return self._current

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def _rewind(self) -> None:
        assert self._container is not None
        try:
            self._container.seek(0)
            self._pictures = self._decoded()
            self._advance()
        except (av.error.FFmpegError, OSError) as error:
            log.error("%s cannot be played again (%s); its last picture stays", self._file, error)
            self._next = None

    def _advance(self) -> None:
        self._next = next(self._pictures, None)

    def _decoded(self) -> Iterator[tuple[float, Planes]]:
        assert self._container is not None
        first: float | None = None
        for image in self._container.decode(video=0):
            time_ms = float((image.pts or 0) * (image.time_base or 0)) * 1000
            first = time_ms if first is None else first
            yield time_ms - first, self._covering(image)

    def _covering(self, image: av.VideoFrame) -> Planes:
        width, height = self._size
        scale = max(width / image.width, height / image.height)
        wide, high = (
            max(side, round(of * scale / 2) * 2) for side, of in ((width, image.width), (height, image.height))
        )
        scaled = image.reformat(
            wide, high, "yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
        ).to_ndarray()
        if (wide, high) == (width, height):
            return np.asarray(scaled, np.uint8)
        left, top = (wide - width) // 4 * 2, (high - height) // 4 * 2
        luma = scaled[:high][top : top + height, left : left + width]
        chroma = scaled[high:].reshape(2, high // 2, wide // 2)[
            :, top // 2 : (top + height) // 2, left // 2 : (left + width) // 2
        ]
        return np.concatenate([luma.reshape(-1), chroma.reshape(-1)]).reshape(height * 3 // 2, width)
