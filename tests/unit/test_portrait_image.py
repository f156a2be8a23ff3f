"""Pictures from strangers are bounded before they are decoded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.portrait_image import LARGEST_FILE_BYTES, PAPER, ImageError, decode_image, read_image, stated_size

pytestmark = pytest.mark.unit


def encoded(kind: str, height: int = 30, width: int = 40) -> bytes:
    _, data = cv2.imencode(kind, np.full((height, width, 3), 90, np.uint8))
    return data.tobytes()


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_size_is_known_before_anything_is_decoded(kind: str) -> None:
    assert stated_size(encoded(kind)) == (40, 30)
    assert decode_image(encoded(kind), "x").shape == (30, 40, 3)


def test_a_jpeg_is_turned_upright_as_its_exif_says() -> None:
    jpeg = encoded(".jpg")
    # One APP1 segment: a TIFF header with orientation 6 (turn clockwise).
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body + jpeg[2:]
    assert stated_size(turned) == (40, 30)
    assert decode_image(turned, "x").shape == (40, 30, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_transparent_lies_on_grey_paper(dtype: type[np.uint8] | type[np.uint16]) -> None:
    most = int(np.iinfo(dtype).max)
    image = np.zeros((10, 12, 4), dtype)
    image[:5] = (0, 0, most, most)
    _, data = cv2.imencode(".png", image)
    seen = decode_image(data.tobytes(), "x")
    assert seen.shape == (10, 12, 3)
    assert seen[0, 0].tolist() == [0, 0, 255]
    assert seen[9, 0].tolist() == [PAPER] * 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no PNG or JPEG"),
        (b"GIF89a" + bytes(40), "no PNG or JPEG"),
        (b"\xff\xd8\xff\xd9", "no PNG or JPEG"),
        (b"\xff\xd8" + b"\xff\xd0" * 400, "no PNG or JPEG"),
        (encoded(".png")[:16] + (60_000).to_bytes(4) * 2 + encoded(".png")[24:], "at most 16384 px"),
        (encoded(".png")[:16] + (16_000).to_bytes(4) * 2 + encoded(".png")[24:], "megapixels"),
        (encoded(".png")[:40], "damaged"),
    ],
)
def test_what_cannot_be_used_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        decode_image(content, "x")


def test_files_are_bounded_too(tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.png"
    with heavy.open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    with pytest.raises(ImageError, match="larger than 40 MiB"):
        read_image(heavy)
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path / "none.png")
