"""What the canvas composes: where things are, and how one dissolves into the next."""

from __future__ import annotations

import re
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from avatar.frames import Picture
from rooms.canvas import DISSOLVE_TICKS, Canvas, CanvasError, Stage
from rooms.canvas_text import Pager, caption, label, wrapped
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


def test_another_avatar_brings_its_own_backdrop_in_a_dissolve() -> None:
    canvas = Canvas(Stage(WIDTH, HEIGHT))
    bright, dark = plain(200), plain(40)
    canvas.compose(bright, 0)
    canvas.dissolve(120)
    # The first of its pictures comes a tick late.
    seen = [canvas.compose(bright if at_ms <= 120 else dark, at_ms).to_ndarray() for at_ms in range(40, 600, 40)]
    edges = np.array([picture[:HEIGHT, 0].mean() for picture in seen])
    fresh = Canvas(Stage(WIDTH, HEIGHT))
    fresh.compose(dark, 0)
    assert (seen[-1] == fresh.compose(dark, 40).to_ndarray()).all()
    assert edges[0] == edges[1]  # not before its time
    assert len(set(edges)) > 3  # nor all at once
    assert (np.diff(edges) <= 0).all()


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


def grown(text: str, by: str) -> list[str]:
    """The pages that are seen while a text grows piece by piece, each as it was when it was full."""
    pager, made, so_far = Pager(WIDTH, HEIGHT), [""], ""
    for piece in re.findall(by, text):
        so_far += piece
        page = pager.page("a", so_far) or ""
        if page.startswith(made[-1]):
            made.pop()
        made.append(page)
    assert so_far == text
    return made


@pytest.mark.parametrize(
    ("text", "by"),
    [
        (" ".join(f"word{number}" for number in range(120)) + " " + "x" * 400 + "  end.", r"\s*\S+"),
        ("你好，世界。" * 60, "."),
        ("\u200d" * 3000, "."),
    ],
    ids=["words", "a script without spaces", "letters without a width"],
)
def test_a_long_text_becomes_pages_of_two_lines(text: str, by: str) -> None:
    made = grown(text, by)
    if "x" not in text:  # that word comes as a whole, and only its last page is seen
        assert "".join(made).replace(" ", "") == text.replace(" ", "")
    for page in made:
        patch = caption(page, WIDTH, HEIGHT)
        assert patch is not None
        assert patch.x >= 0
        assert patch.x + patch.width <= WIDTH
    assert len(made) >= 2
    assert all(len(page) > 30 for page in made[:-1])
    # However it grew, it is the same page in the end.
    assert Pager(WIDTH, HEIGHT).page("a", text) == made[-1]


def test_another_text_begins_a_page_of_its_own() -> None:
    pager, text = Pager(WIDTH, HEIGHT), "word " * 200
    assert pager.page("a", text) != "word"
    assert pager.page("a", text[:5]) == "word"
    assert pager.page("a", text) == pager.page("a", text) != "word"
    assert pager.page("b", text[:5]) == "word"
    assert pager.page("b", "  ") is None
    assert caption("  ", WIDTH, HEIGHT) is None


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("ab cd  ef", ["ab cd", "ef"]),
        ("abcdef", ["abcde", "f"]),
        ("a bcdefghijklm n", ["a", "bcdef", "ghijk", "lm n"]),
        ("ab" * 10, ["ababa", "babab", "ababa", "babab"]),
    ],
)
def test_lines_are_as_full_as_can_be(text: str, lines: list[str]) -> None:
    assert wrapped(text, lambda line: len(line) <= 5) == lines


def test_a_letter_that_is_wider_than_the_line_stands_there_all_the_same() -> None:
    assert wrapped("abc", lambda line: False) == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["word " * 10_000, "你好" * 25_000], ids=["words", "a script without spaces"])
def test_a_caption_costs_the_same_however_long_its_text_has_become(text: str) -> None:
    measured = 0

    def fits(line: str) -> bool:
        nonlocal measured
        measured += len(line)
        return len(line) <= 40

    pager = Pager(WIDTH, HEIGHT, fits=fits)
    pager.page("a", text[:-20])
    measured = 0
    for end in range(len(text) - 20, len(text) + 1):
        pager.page("a", text[:end])
    assert measured < len(text)


@pytest.mark.parametrize("text", ["AI", "人工智能" * 10, "W" * 40])
@pytest.mark.parametrize("size", [(160, 160), (360, 640), (1280, 720)])
def test_a_label_stays_on_the_canvas(text: str, size: tuple[int, int]) -> None:
    canvas = Canvas(Stage(*size, background="#000000", label=text))
    luma = canvas.compose(plain(16), 0).to_ndarray()[: size[1]]
    lit = np.flatnonzero((luma > 150).any(axis=0))
    assert lit.size
    assert lit[-1] < size[0] - 2


def test_half_a_surrogate_pair_is_drawn_as_a_question_mark() -> None:
    one, other = (label(text, WIDTH, HEIGHT) for text in ("A\ud800I", "A?I"))
    assert (one.colours[0] == other.colours[0]).all()
    assert Pager(WIDTH, HEIGHT).page("a", "\ud800 b") == "\ud800 b"


def test_composing_leaves_the_picture_alone() -> None:
    canvas = Canvas(Stage(WIDTH, HEIGHT, label="AI"))
    picture = plain(120)
    before = picture.planes.copy()
    canvas.caption("text")
    canvas.compose(picture, 0)
    assert (picture.planes == before).all()
