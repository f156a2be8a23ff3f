"""Pictures from strangers: a PNG or JPEG in, pixels out, with everything bounded before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from avatar.frames import MienError

Bytes = npt.NDArray[np.uint8]

LARGEST_FILE_BYTES = 40 * 1024 * 1024
LARGEST_PIXELS = 64_000_000
"""What a decoder may be asked to unfold: a telephone's 48 megapixels pass, a bomb does not."""
LARGEST_SIDE_PX = 16_384
PAPER = 205
"""The grey that shows through a transparent picture."""


class ImageError(MienError):
    """The file is no picture that can be used; says which, and what to do."""


def read_image(file: Path) -> Bytes:
    """The pixels of a PNG or JPEG as BGR, turned upright as its EXIF says. Blocking.

    Raises:
        ImageError: the file is missing, too large, damaged or of another kind.
    """
    return decode_image(read_bounded(file, LARGEST_FILE_BYTES), str(file))


def read_bounded(file: Path, most_bytes: int) -> bytes:
    """A regular file's content.

    Raises:
        ImageError: it cannot be read, or is longer than ``most_bytes``.
    """
    try:
        if not file.is_file():
            raise ImageError(f"{file} is not a file: give the path of one")
        with file.open("rb") as opened:
            content = opened.read(most_bytes + 1)
    except OSError as error:
        raise ImageError(f"{file} cannot be read ({error.strerror})") from None
    if len(content) > most_bytes:
        raise ImageError(f"{file} is larger than {most_bytes / 2**20:g} MiB: save it smaller")
    return content


def decode_image(content: bytes, name: str) -> Bytes:
    """BGR pixels, uint8 [height, width, 3].

    Raises:
        ImageError: it is no PNG or JPEG, states a size beyond the bounds, or is damaged.
    """
    width, height = stated_size(content)
    if not (0 < width <= LARGEST_SIDE_PX and 0 < height <= LARGEST_SIDE_PX):
        raise ImageError(f"{name} is no PNG or JPEG of at most {LARGEST_SIDE_PX} px a side: convert it to one")
    if width * height > LARGEST_PIXELS:
        raise ImageError(f"{name} has {width} x {height} px: save it with at most {LARGEST_PIXELS // 10**6} megapixels")
    transparent = content[:4] == b"\x89PNG" and content[25:26] in (b"\x04", b"\x06")
    how = cv2.IMREAD_UNCHANGED if transparent else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    if image is None:
        raise ImageError(f"{name} cannot be decoded: it is damaged, save it again as PNG or JPEG")
    return _on_paper(np.asarray(image)) if transparent else np.asarray(image, np.uint8)


def _on_paper(image: npt.NDArray[np.integer]) -> Bytes:
    """A picture with transparency, BGRA of 8 or 16 bits, laid on `PAPER`."""
    depth = np.float32(np.iinfo(image.dtype).max)
    shares = image.astype(np.float32) / depth
    if shares.ndim != 3 or shares.shape[2] != 4:
        return np.asarray(cv2.cvtColor((shares * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR), np.uint8)
    cover = shares[..., 3:]
    laid = np.rint(255 * (shares[..., :3] * cover + PAPER / 255 * (1 - cover)))
    return np.asarray(laid, np.uint8)


def stated_size(content: bytes) -> tuple[int, int]:
    """Width and height as a PNG's or JPEG's header states them; (0, 0) for other kinds of files."""
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if content[:2] != b"\xff\xd8":
        return 0, 0
    place = 2
    while place + 9 < len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            return int.from_bytes(content[place + 7 : place + 9]), int.from_bytes(content[place + 5 : place + 7])
        filler, alone = marker == 0xFF, 0xD0 <= marker <= 0xD8
        place += 1 if filler else 2 if alone else 2 + int.from_bytes(content[place + 2 : place + 4])
    return 0, 0
