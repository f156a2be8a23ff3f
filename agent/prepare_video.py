"""Any video in, its pictures at 25 a second out: I420, upright, on disk while they are worked on.

The pictures lie in a file of their own, mapped into memory: a minute of 720p would take 2 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace

from avatar.frames import TICK_MS, MienError, Planes

Bytes = npt.NDArray[np.uint8]

LONGEST_S = 3600.0


class VideoError(MienError):
    """The file cannot be used as a video: which, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A video's pictures.

    Args:
        bodies: I420, uint8 [frames, height * 3 // 2, width], read from disk as it is used.
        whole: whether these are all pictures of the video.
    """

    bodies: npt.NDArray[np.uint8]
    whole: bool

    def __len__(self) -> int:
        return int(self.bodies.shape[0])

    @property
    def width(self) -> int:
        return int(self.bodies.shape[2])

    @property
    def height(self) -> int:
        return int(self.bodies.shape[1]) * 2 // 3

    def picture(self, n: int) -> Bytes:
        """Picture n as BGR."""
        return np.asarray(cv2.cvtColor(np.asarray(self.bodies[n]), cv2.COLOR_YUV2BGR_I420), np.uint8)


def read_clip(
    file: Path,
    scratch: Path,
    *,
    most_frames: int,
    largest_px: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Clip:
    """Decode a video's pictures into a file in ``scratch``. Blocking.

    Args:
        most_frames: later ones are left out.
        largest_px: a longer side is scaled down to this.
        progress: told how many are there.

    Raises:
        VideoError: it is no video, is damaged, or holds no pictures.
    """
    count, size, whole = 0, (0, 0), True
    place = scratch / "bodies.i420"
    with place.open("wb") as out:
        for body in _at_25(file, largest_px):
            if count == most_frames:
                whole = False
                break
            if count == 0:
                size = body.shape
            elif body.shape != size:
                raise VideoError(f"{file} changes its size in the middle: convert it to one of a single size")
            out.write(np.ascontiguousarray(body).data)
            count += 1
            progress(count)
    if count == 0:
        raise VideoError(f"{file} holds no pictures: give a video")
    return Clip(np.memmap(place, np.uint8, "r", shape=(count, *size)), whole)


def stated_frames(file: Path) -> int | None:
    """How many pictures at 25 a second the file says it has.

    Raises:
        VideoError: it is no video.
    """
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise VideoError(f"{file} holds no pictures: give a video, PNG or JPEG")
            stream = container.streams.video[0]
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                duration_s = container.duration / av.time_base
            else:
                return None
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(file, error) from None
    return round(duration_s * 1000 / TICK_MS)


def _at_25(file: Path, largest_px: int | None) -> Iterator[Planes]:
    """For each tick the picture that a player shows at its middle."""
    tick, end_ms = 0, 0.0
    held: Planes | None = None
    for time_ms, lasts_ms, body in _upright(file, largest_px):
        while held is not None and (tick + 0.5) * TICK_MS < time_ms:
            yield held
            tick += 1
        held, end_ms = body, time_ms + lasts_ms
        if time_ms > LONGEST_S * 1000:
            raise VideoError(f"{file} is longer than {LONGEST_S / 3600:g} h: cut it")
    while held is not None and (tick == 0 or (tick + 0.5) * TICK_MS < end_ms):
        yield held
        tick += 1


def _upright(file: Path, largest_px: int | None) -> Iterator[tuple[float, float, Planes]]:
    """(ms since the first, ms that it stays, picture) of each picture as it is stored."""
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise VideoError(f"{file} holds no pictures: give a video, PNG or JPEG")
            container.streams.video[0].thread_type = "AUTO"
            first: float | None = None
            for image in container.decode(video=0):
                unit_ms = 1000 * float(image.time_base or 0)
                time_ms = (image.pts or 0) * unit_ms
                first = time_ms if first is None else first
                yield time_ms - first, (image.duration or 0) * unit_ms or TICK_MS, _planes(image, largest_px)
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(file, error) from None


def _planes(image: av.VideoFrame, largest_px: int | None) -> Planes:
    scale = min(1.0, largest_px / max(image.width, image.height)) if largest_px is not None else 1.0
    width, height = (max(2, round(side * scale / 2) * 2) for side in (image.width, image.height))
    planes = np.asarray(
        image.reformat(
            width, height, "yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
        ).to_ndarray(),
        np.uint8,
    )
    turns = round(image.rotation / 90) % 4
    if not turns:
        return planes
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    parts = [np.rot90(plane, turns) for plane in (planes[:height], *chroma)]
    rows, columns = parts[0].shape
    return np.concatenate([part.ravel() for part in parts]).reshape(rows * 3 // 2, columns)


def _unreadable(file: Path, error: Exception) -> VideoError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return VideoError(f"cannot read {file} as a video: {reason}")
