"""Preparing for MuseTalk: landmarks, boxes, masks and latents against their definitions, and the folder they lie in."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load, save

from agent.prepare_musetalk import NotForMuseTalk, prepared_frames, square_for_all, squared
from avatar.musetalk.avatars import AvatarError
from avatar.musetalk.config import MUSETALK_V15, TINY
from avatar.musetalk.core import Core
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.features import whole_utterance
from avatar.musetalk.portrait_frames import (
    PreparedFrames,
    cycle_length,
    frame_at,
    has_musetalk,
    load_frames,
    parts_of,
)
from avatar.musetalk.portrait_landmarks import Box, face_box, landmarks_68
from avatar.musetalk.portrait_latents import LatentEncoder
from avatar.musetalk.portrait_mask import jaw_mask
from avatar.musetalk.reference import blank_models
from avatar.musetalk.weights import ModelWeights, WeightsError
from avatar.portrait import MANIFEST, PortraitError, load_portrait
from avatar.portrait_detect import FaceMesh
from tests.doubles import portraits
from tests.doubles.portraits import known_face

pytestmark = pytest.mark.media

Floats = npt.NDArray[np.float32]

OVAL = {10: (0.5, 0.27), 338: (0.55, 0.275), 297: (0.59, 0.29), 332: (0.62, 0.32), 284: (0.64, 0.36),
        251: (0.655, 0.40), 389: (0.66, 0.44), 356: (0.665, 0.47), 454: (0.665, 0.50), 323: (0.66, 0.54),
        361: (0.65, 0.58), 288: (0.64, 0.61), 397: (0.62, 0.64), 365: (0.60, 0.66), 379: (0.58, 0.68),
        378: (0.56, 0.69), 400: (0.54, 0.695), 377: (0.52, 0.70), 152: (0.5, 0.702)}  # fmt: skip
LEFT = {338: 109, 297: 67, 332: 103, 284: 54, 251: 21, 389: 162, 356: 127, 454: 234, 323: 93, 361: 132, 288: 58,
        397: 172, 365: 136, 379: 150, 378: 149, 400: 176, 377: 148}  # fmt: skip
NOSE = {168: (0.5, 0.42), 6: (0.5, 0.44), 197: (0.5, 0.46), 195: (0.5, 0.48), 5: (0.5, 0.50), 4: (0.5, 0.52),
        196: (0.48, 0.45), 419: (0.52, 0.45), 198: (0.475, 0.50), 420: (0.525, 0.50), 129: (0.465, 0.53),
        358: (0.535, 0.53), 64: (0.47, 0.545), 294: (0.53, 0.545), 98: (0.48, 0.55), 327: (0.52, 0.55),
        97: (0.49, 0.552), 326: (0.51, 0.552), 2: (0.5, 0.553)}  # fmt: skip


def face(side: int = 512, x_px: float = 0.0, y_px: float = 0.0) -> tuple[npt.NDArray[np.uint8], FaceMesh]:
    """The drawn face, its mesh's oval and nose where the drawing has them, the whole moved."""
    image, mesh, _ = known_face(side)
    points = mesh.points.copy()
    for index, place in (OVAL | NOSE).items():
        points[index, :2] = np.array(place, np.float32) * side
    for right, left in LEFT.items():
        points[left, :2] = (1 - OVAL[right][0]) * side, OVAL[right][1] * side
    shift = np.array([[1, 0, x_px], [0, 1, y_px]], np.float32)
    moved = cv2.warpAffine(image, shift, (side, side), borderMode=cv2.BORDER_REPLICATE)
    points[:, :2] += np.array([x_px, y_px], np.float32)
    return np.asarray(moved, np.uint8), FaceMesh(points, mesh.irises + np.array([x_px, y_px], np.float32), 1.0)


@pytest.fixture(scope="module")
def encoder(tiny_weights: ModelWeights) -> LatentEncoder:
    return LatentEncoder(TINY, tiny_weights.vae, "cpu")


def made(encoder: LatentEncoder | None, count: int = 4, size_px: int = 256) -> PreparedFrames:
    pictures = [face(x_px=3.0 * n, y_px=float(n)) for n in range(count)]
    return prepared_frames(pictures, (0, 0, 512), size_px, encoder, lambda done: None)


def test_landmarks_stand_where_ibug_has_them() -> None:
    _, mesh = face()
    points = landmarks_68(mesh)
    assert points.shape == (68, 2)
    by_index = dict(enumerate(points / 512))
    for index, place in {
        0: (0.335, 0.47),
        8: (0.5, 0.702),
        16: (0.665, 0.47),
        27: (0.5, 0.42),
        30: (0.5, 0.52),
    }.items():
        assert by_index[index] == pytest.approx(place, abs=1e-5)
    # Bridge and jaw are cut into equal lengths.
    assert by_index[28] == pytest.approx((0.5, 0.42 + 0.1 / 3), abs=1e-5)
    assert by_index[29] == pytest.approx((0.5, 0.42 + 0.2 / 3), abs=1e-5)
    steps = np.hypot(*np.diff(points[:9], axis=0).T)
    assert steps.max() < 1.1 * steps.min()
    # Eyes and lips are the mesh's own vertices: outer corners, then the mouth's.
    for index, vertex in {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 51: 0, 57: 17, 62: 13, 66: 14}.items():
        assert np.array_equal(points[index], mesh.points[vertex, :2])
    # Left of the picture first, and the whole is as symmetric as the face.
    pairs = [(k, 16 - k) for k in range(8)] + [(36, 45), (39, 42), (48, 54), (31, 35), (60, 64), (17, 26)]
    for left, right in pairs:
        assert by_index[left][0] + by_index[right][0] == pytest.approx(1.0, abs=0.02)
        assert by_index[left][0] < by_index[right][0]


@pytest.mark.parametrize("shift", [(0, 0), (7.9, -3.2), (-20.5, 11.1)])
def test_the_box_is_musetalks(shift: tuple[float, float]) -> None:
    points = landmarks_68(face()[1]) + np.array(shift, np.float32)
    whole = points.astype(np.int32)
    lowest, bridge = whole[:, 1].max(), whole[29][1]
    top = max(0, bridge - (lowest - bridge))
    assert face_box(points, 512, 512) == (whole[:, 0].min(), top, whole[:, 0].max(), lowest + 10)
    # At the picture's edges it ends there; a face that leaves the picture at the left has none.
    assert face_box(points, 300, 340) == (whole[:, 0].min(), top, 300, min(340, lowest + 10))
    assert face_box(points - np.array([200, 0], np.float32), 512, 512) is None


def test_the_mask_is_jaw_and_mouth_and_lies_below_the_middle() -> None:
    _, mesh = face()
    box = face_box(landmarks_68(mesh), 512, 512)
    assert box is not None
    mask = jaw_mask(mesh, box)
    left, top, right, bottom = box
    assert mask.shape == (bottom - top, right - left)
    height = bottom - top
    assert not mask[: int(0.41 * height)].any()

    def at(x: float, y: float) -> int:
        return int(mask[round(y * 512) - top, round(x * 512) - left])

    assert at(0.5, 0.61) == 255, "the mouth"
    assert at(0.5, 0.66) == 255, "the chin"
    assert at(0.5, 0.49) < 128, "the nose"
    assert at(0.345, 0.55) < 30, "the cheek's edge"
    assert 0 < (mask > 0).mean() < 0.5
    assert len(np.unique(mask)) > 50, "feathered"
    assert np.abs(mask.astype(int) - mask[:, ::-1]).mean() < 6, "as symmetric as the face"


@pytest.mark.parametrize("stretch", [0.7, 1.0, 1.5, 2.5])
def test_whatever_the_faces_shape_the_core_takes_the_mask(encoder: LatentEncoder, stretch: float) -> None:
    image, mesh = face()
    points = mesh.points.copy()
    points[:, 0] = 256 + (points[:, 0] - 256) * np.float32(min(stretch, 1.4))
    points[:, 1] = 256 + (points[:, 1] - 256) / np.float32(max(1.0, stretch / 1.4))
    frames = prepared_frames([(image, FaceMesh(points, mesh.irises, 1.0))], (0, 0, 512), 256, encoder, lambda n: None)
    for config in (TINY, MUSETALK_V15):
        box, mask = frames.boxes[0], frames.masks[0]
        first = float(np.flatnonzero(mask.any(axis=1))[0] + 0.5) / mask.shape[0]
        assert box[3] - box[1] == mask.shape[0]
        assert first * config.face_px - 1.5 >= config.first_row


def test_latents_are_the_encoders_mode_of_the_masked_and_the_whole_face(
    encoder: LatentEncoder, tiny_weights: ModelWeights
) -> None:
    """The definition, written out again for one face, with diffusers' own model."""
    frames = made(encoder, count=11)
    assert frames.latents is not None
    assert frames.latents.shape == (11, 8, 16, 16)
    _, vae, _ = blank_models(TINY, "cpu")
    vae.load_state_dict(dict(tiny_weights.vae))
    n = 9  # in the second batch
    picture = cv2.cvtColor(frames.bodies[n], cv2.COLOR_YUV2RGB_I420)
    left, top, right, bottom = frames.boxes[n]
    crop = cv2.resize(picture[top:bottom, left:right], (128, 128), interpolation=cv2.INTER_LANCZOS4)
    x = torch.from_numpy(crop / 255.0).float().permute(2, 0, 1)[None]
    upper = torch.zeros(128, 128)
    upper[:64] = 1
    with torch.inference_mode():
        parts = [
            vae.encode((part - 0.5) / 0.5).latent_dist.mode() * TINY.decoder.latent_scale  # type: ignore[operator]
            for part in (x * upper, x)
        ]
    wanted = torch.cat(parts, dim=1)[0].numpy()
    assert np.linalg.norm(frames.latents[n] - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_weights_of_another_model_are_refused(tiny_weights: ModelWeights) -> None:
    without = {key: value for key, value in tiny_weights.vae.items() if key != "encoder.conv_in.bias"}
    with pytest.raises(WeightsError, match=r"do not fit.*encoder\.conv_in\.bias"):
        LatentEncoder(TINY, without, "cpu")


def test_the_cycle_runs_forth_and_back_without_showing_an_end_twice() -> None:
    for count in (1, 2, 3, 25):
        length = cycle_length(count)
        shown = [frame_at(tick, count) for tick in range(2 * length + 1)]
        assert set(shown) == set(range(count))
        assert shown[:length] == shown[length : 2 * length]
        if count > 1:
            assert all(abs(a - b) == 1 for a, b in itertools.pairwise(shown)), "every step shows another"


def saved(folder: Path, frames: PreparedFrames) -> Path:
    portraits.saved(folder, more=parts_of(frames))
    return folder


def test_what_is_loaded_is_what_was_prepared(encoder: LatentEncoder, tmp_path: Path) -> None:
    frames = made(encoder)
    folder = saved(tmp_path / "p", frames)
    assert has_musetalk(folder)
    again = load_frames(folder, TINY)
    assert all(np.array_equal(a, b) for a, b in zip(again.bodies, frames.bodies, strict=True))
    assert again.boxes == frames.boxes
    assert all(np.array_equal(a, b) for a, b in zip(again.masks, frames.masks, strict=True))
    assert np.array_equal(again.landmarks, frames.landmarks)
    assert frames.latents is not None
    assert again.latents is not None
    assert np.array_equal(again.latents, frames.latents)
    assert again.cycle == [0, 1, 2, 3, 2, 1]
    # The pictures went through a codec and are still those that were given.
    image, mesh = face(x_px=3.0, y_px=1.0)
    body, _ = squared(image, mesh, (0, 0, 512), 256)
    assert np.abs(again.bodies[1].astype(int) - body).mean() < 1.0
    # The portrait is one for the CPU as well.
    assert load_portrait(folder).picture.shape == (256, 256, 3)


def test_a_loaded_portrait_speaks(encoder: LatentEncoder, tiny_weights: ModelWeights, tmp_path: Path) -> None:
    from avatar.musetalk.batches import Job

    frames = load_frames(saved(tmp_path / "p", made(encoder)), TINY).avatar_frames(TINY)
    core = Core(TINY, tiny_weights, "cpu")
    avatar = core.avatar(frames)
    features = whole_utterance(core.encoder, synthetic_speech(0.4))
    pictures = core.render([Job(features[n], avatar, n) for n in range(4)])
    for frame, picture in zip(frames, pictures, strict=True):
        assert picture is not None
        changed = (picture[:256].astype(int) != frame.body[:256]).nonzero()
        left, top, right, bottom = frame.box
        assert changed[0].size > 1000
        assert top + 0.4 * (bottom - top) < changed[0].min() <= changed[0].max() < bottom
        assert left <= changed[1].min() <= changed[1].max() < right


def test_without_weights_all_but_the_latents_is_there(encoder: LatentEncoder, tmp_path: Path) -> None:
    frames = load_frames(saved(tmp_path / "p", made(None)), TINY)
    assert frames.latents is None
    with pytest.raises(AvatarError, match="mien download musetalk"):
        frames.avatar_frames(TINY)
    full = frames.with_latents(encoder)
    assert len(full.avatar_frames(TINY)) == 4
    with pytest.raises(AvatarError, match=r"those of tiny, not of musetalk-v1\.5"):
        full.avatar_frames(MUSETALK_V15)


def test_a_portrait_of_a_photo_alone_is_told_apart(tmp_path: Path) -> None:
    from tests.doubles.portraits import saved as photo

    photo(tmp_path / "photo")
    assert not has_musetalk(tmp_path / "photo")
    with pytest.raises(PortraitError, match="--for musetalk"):
        load_frames(tmp_path / "photo", TINY)


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Another content whose checksum the manifest knows: what remains are the checks of the content."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


Edit = Callable[[dict[str, npt.NDArray[Any]]], object]


def _out_of_the_picture(tensors: dict[str, npt.NDArray[Any]]) -> None:
    tensors["boxes"][0, 2] = 9999


def _not_finite(tensors: dict[str, npt.NDArray[Any]]) -> None:
    tensors["latents"][1, 2, 3, 4] = np.nan


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda tensors: tensors.pop("boxes"), "boxes is missing"),
        (lambda tensors: tensors.update(boxes=tensors["boxes"][:3]), r"boxes is int32 \(3, 4\)"),
        (lambda tensors: tensors.update(masks=tensors["masks"][:-1]), "masks is uint8"),
        (lambda tensors: tensors.update(latents=tensors["latents"].astype(np.float64)), "latents is float64"),
        (_out_of_the_picture, "lies outside its picture"),
        (_not_finite, "not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(encoder: LatentEncoder, tmp_path: Path, edit: Edit, said: str) -> None:
    folder = saved(tmp_path / "p", made(encoder))
    tensors = {key: value.copy() for key, value in load((folder / "musetalk.safetensors").read_bytes()).items()}
    edit(tensors)
    replaced(folder, "musetalk.safetensors", save(tensors))
    with pytest.raises(PortraitError, match=said):
        load_frames(folder, TINY)


def test_files_that_were_changed_are_refused(encoder: LatentEncoder, tmp_path: Path) -> None:
    folder = saved(tmp_path / "p", made(encoder))
    for name in ("musetalk.mp4", "musetalk.safetensors", "musetalk.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + b"?")
        with pytest.raises(PortraitError, match=f"{name} was changed"):
            load_frames(folder, TINY)
        (folder / name).write_bytes(content)
    replaced(folder, "musetalk.safetensors", b"no tensors at all")
    with pytest.raises(PortraitError, match="cannot be read"):
        load_frames(folder, TINY)


def test_pictures_that_do_not_fit_are_refused(encoder: LatentEncoder, tmp_path: Path) -> None:
    folder = saved(tmp_path / "p", made(encoder))
    whole = (folder / "musetalk.mp4").read_bytes()
    for content in (parts_of(made(encoder, count=3))["musetalk-frames"][1], whole[: len(whole) // 3], b"no video"):
        replaced(folder, "musetalk.mp4", content)
        with pytest.raises(PortraitError, match="its pictures"):
            load_frames(folder, TINY)
    replaced(folder, "musetalk.mp4", whole)
    about = json.loads((folder / "musetalk.json").read_text())
    for change in ({"width": 254}, {"frames": 0}, {"version": 2}, {"fps": 30}):
        replaced(folder, "musetalk.json", json.dumps(about | change).encode())
        with pytest.raises(PortraitError):
            load_frames(folder, TINY)


def test_a_face_that_leaves_the_picture_is_said(encoder: LatentEncoder) -> None:
    with pytest.raises(NotForMuseTalk, match="leaves the picture at"):
        prepared_frames([face(x_px=-200.0)], (0, 0, 512), 256, None, lambda done: None)


def test_the_square_holds_every_face_where_it_can() -> None:
    meshes = [face(x_px=x)[1] for x in (-90.0, 0.0, 90.0)]
    for square in ((100, 100, 200), (0, 0, 300), (210, 50, 300)):
        left, top, side = square_for_all(square, meshes, 512, 512)
        assert 0 <= left <= left + side <= 512
        assert 0 <= top <= top + side <= 512
        for mesh in meshes:
            points = mesh.points[:, :2]
            assert (points >= (left, top)).all()
            assert (points <= (left + side, top + side)).all()


def test_the_box_type_is_what_the_core_takes() -> None:
    box: Box | None = face_box(landmarks_68(face()[1]), 512, 512)
    assert box is not None
    assert all(type(value) is int for value in box)
