"""The still picture of the static renderer: from the puppet, or from an image that someone hands over."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.portrait_image import LARGEST_FILE_BYTES
from avatar.puppet.renderer import PuppetRenderer
from avatar.renderer import RendererError
from avatar.static import StaticRenderer, still_from_image, still_from_puppet

pytestmark = pytest.mark.unit


async def test_the_puppets_still_is_the_puppets_own() -> None:
    renderer = PuppetRenderer({}, 256)
    assert still_from_puppet({}, 256).planes.tobytes() == renderer.still.planes.tobytes()
    await renderer.aclose()


@pytest.mark.parametrize("kind", [".png", ".jpg"])
@pytest.mark.parametrize("size", [(300, 500), (900, 400), (64, 64)])
def test_an_image_gives_its_middle_square(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    side = min(size)
    top, left = (height - side) // 2, (width - side) // 2
    image[top : top + side, left : left + side] = (40, 200, 90)
    file = tmp_path / f"picture{kind}"
    assert cv2.imwrite(str(file), image)
    still = still_from_image(file, 256)
    assert (still.width, still.height) == (256, 256)
    expected = 16 + (65.481 * 90 + 128.553 * 200 + 24.966 * 40) / 255
    assert np.abs(still.planes[4:252, 4:252].astype(float) - expected).max() < 6
    assert StaticRenderer(still).still is still


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    text, torn, huge, heavy = (tmp_path / name for name in ("a.txt", "torn.png", "huge.png", "heavy.png"))
    text.write_text("not a picture")
    cv2.imwrite(str(torn), np.zeros((64, 64, 3), np.uint8))
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    huge.write_bytes(whole[:16] + (60_000).to_bytes(4) * 2 + whole[24:])
    with heavy.open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    for file_path, says in (
        (tmp_path / "none.png", "not a file"),
        (text, "no PNG or JPEG"),
        (torn, "damaged"),
        (huge, "at most 16384 px"),
        (heavy, "larger than 40 MiB"),
    ):
        with pytest.raises(RendererError, match=says):
            still_from_image(file_path, 256)
