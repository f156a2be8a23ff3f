"""Videos of a drawn face that moves a little, with cuts, strangers and empty pictures where they are wanted."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from avatar.static import still_from_puppet

Bytes = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480


@functools.cache
def drawing() -> Bytes:
    """Somebody who does not exist, BGR [480, 480, 3]."""
    look = {"hair": "#1d1512", "skin": "#b9815c", "hair_style": "bob"}
    planes = still_from_puppet(look, HEIGHT).planes
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


def moving(n: int) -> Bytes:
    """Picture n: the head sways by some pixels and degrees."""
    matrix = cv2.getRotationMatrix2D((240, 260), 2.0 * np.sin(n / 7), 1.0)
    matrix[0, 2] += 80 + 6 * np.sin(n / 9)
    image = cv2.warpAffine(drawing(), matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(image, np.uint8)


def empty() -> Bytes:
    """A wall."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.repeat((120 + 20 * np.sin(x / 40.0) * np.cos(y / 30.0))[..., None], 3, axis=2).astype(np.uint8)


def two() -> Bytes:
    """Two people side by side."""
    one = cv2.resize(drawing(), (WIDTH // 2, WIDTH // 2), interpolation=cv2.INTER_AREA)
    image = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    image[80 : 80 + WIDTH // 2] = np.hstack([one, one])
    return image


def write_video(file: Path, pictures: Iterable[Bytes], fps: int = 25) -> Path:
    """H.264 in MP4."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "14", "preset": "veryfast"})
        for n, image in enumerate(pictures):
            if n == 0:
                stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file
