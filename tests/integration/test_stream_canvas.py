"""What the canvas composes: where things are, and how one dissolves into the next."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from avatar.frames import Picture
from rooms.canvas import DISSOLVE_TICKS, Canvas, CanvasError, Stage
from rooms.canvas_text import caption, pages, wrapped
from rooms.canvas_video import Clip, ClipError

pytestmark = pytest.mark.media

WIDTH, HEIGHT = 640, 360


def plain(luma: int, size: int = 256) -> Picture:
    planes = np.full((size * 3 // 2, size), 128, np.uint8)
    planes[:size] = luma
    return Picture(planes)


def shown(canvas: Canvas, picture: Picture, at_ms: float = 0.0) -> npt.NDArray[np.uint8]:
    """The Y plane."""
    return np.asarray(canvas.compose(picture, at_ms).to_ndarray()[: canvas.compose(picture, at_ms).height])


def clip(file: Path, lumas: list[int], size: tuple[int, int] = (320, 180)) -> Path:
    """25 pictures a second, each of one brightness."""
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        for luma in lumas:
            planes = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
            planes[: size[1]] = luma
            container.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(video.encode(None))
    return file


@pytest.mark.parametrize("size", [256, 360, 512])
def test_the_avatar_stands_in_the_middle_as_high_as_the_canvas(size: int) -> None:
    luma = shown(Canvas(Stage(WIDTH, HEIGHT, background="#000000")), plain(200, size))
    left = (WIDTH - HEIGHT) // 2
    assert (luma[:, left : left + HEIGHT] == 200).all()
    assert (luma[:, :left] == 16).all()
    assert (luma[:, left + HEIGHT :] == 16).all()


def test_an_upright_canvas_has_it_at_its_lower_edge() -> None:
    luma = shown(Canvas(Stage(360, 640, background="#ffffff")), plain(100))
    assert (luma[280:] == 100).all()
    assert (luma[:280] == 235).all()


def test_without_a_background_the_avatars_own_goes_on_without_an_edge() -> None:
    picture = plain(120)
    luma = shown(Canvas(Stage(WIDTH, HEIGHT)), picture).astype(int)
    assert np.abs(np.diff(luma, axis=1)).max() <= 3
    assert luma[:, 0].max() < 100


def test_backgrounds_from_files(tmp_path: Path) -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, :80] = 255
    cv2.imwrite(str(tmp_path / "half.png"), image)
    luma = shown(Canvas(Stage(WIDTH, HEIGHT, background=str(tmp_path / "half.png"))), plain(128))
    assert luma[100, 5] > 225
    assert luma[100, -5] < 25
    moving = Canvas(Stage(WIDTH, HEIGHT, background=str(clip(tmp_path / "moving.mp4", [40, 80, 120, 160]))))
    seen = [int(shown(moving, plain(128), place * 40)[5, 5]) for place in range(8)]
    assert seen == pytest.approx([40, 80, 120, 160, 40, 80, 120, 160], abs=3)
    moving.close()


@pytest.mark.parametrize("background", ["#12345", "red", "/nowhere/picture.png"])
def test_backgrounds_that_are_none_are_refused(background: str) -> None:
    with pytest.raises(CanvasError, match="background"):
        Canvas(Stage(WIDTH, HEIGHT, background=background))


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ClipError, match=r"text\.mp4"):
        Canvas(Stage(WIDTH, HEIGHT, clip=tmp_path / "text.mp4"))


def test_the_idle_clip_gives_way_and_comes_back_without_a_jump(tmp_path: Path) -> None:
    canvas = Canvas(Stage(WIDTH, HEIGHT, clip=clip(tmp_path / "clip.mp4", [200] * 10), background="#101010"))
    seen = []
    for tick in range(40):
        canvas.idle(not 10 <= tick < 25)
        seen.append(float(canvas.compose(plain(40), tick * 40.0).to_ndarray()[:HEIGHT].mean()))
    canvas.close()
    avatar = seen[20]
    assert seen[0] == pytest.approx(200, abs=3)
    assert avatar < 60
    assert seen[9] == pytest.approx(200, abs=3)
    assert seen[-1] == pytest.approx(200, abs=3)
    assert np.abs(np.diff(seen)).max() < 1.5 * (200 - avatar) / (DISSOLVE_TICKS + 1)


def test_a_clip_that_is_played_once_is_followed_by_the_avatar(tmp_path: Path) -> None:
    canvas = Canvas(Stage(WIDTH, HEIGHT, clip=clip(tmp_path / "clip.mp4", [200] * 10), clip_loop=False))
    seen = [float(canvas.compose(plain(40), tick * 40.0).to_ndarray()[:HEIGHT].mean()) for tick in range(30)]
    canvas.close()
    assert seen[8] == pytest.approx(200, abs=3)
    assert seen[-1] < 60


def test_a_clip_that_was_not_on_show_goes_on_where_it_was(tmp_path: Path) -> None:
    playing = Clip(clip(tmp_path / "long.mp4", list(range(30, 230, 2))), WIDTH, HEIGHT, loop=True)
    before = playing.at(400).mean()
    after = playing.at(3_600_400).mean()
    playing.close()
    assert abs(float(after) - float(before)) < 4


def test_captions_are_blended_and_go_again() -> None:
    canvas = Canvas(Stage(WIDTH, HEIGHT, label="AI"))
    picture = plain(120)
    bare = shown(canvas, picture).copy()
    assert bare[12:40, 12:60].max() > 200
    canvas.caption("Hello, Grüße, 你好")
    told = shown(canvas, picture).copy()
    assert told[280:].max() > 220
    assert (told[:200] == bare[:200]).all()
    canvas.caption(None)
    assert (shown(canvas, picture) == bare).all()


def test_a_long_text_becomes_pages_of_two_lines() -> None:
    text = " ".join(f"word{number}" for number in range(120)) + " " + "x" * 400
    made = pages(text, WIDTH, HEIGHT)
    assert "".join(made).replace(" ", "") == text.replace(" ", "")
    for page in made:
        patch = caption(page, WIDTH, HEIGHT)
        assert patch is not None
        assert patch.x >= 0
        assert patch.x + patch.width <= WIDTH
    assert caption("  ", WIDTH, HEIGHT) is None
    assert wrapped("", 100, 20) == []


def test_composing_leaves_the_picture_alone() -> None:
    canvas = Canvas(Stage(WIDTH, HEIGHT, label="AI"))
    picture = plain(120)
    before = picture.planes.copy()
    canvas.caption("text")
    canvas.compose(picture, 0)
    assert (picture.planes == before).all()
