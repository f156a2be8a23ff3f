"""Batches through the core: pictures equal the plain path's, whatever the batch; the paste touches what it must."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from avatar.musetalk.avatars import AvatarError, AvatarFrame, place, planes_of
from avatar.musetalk.batches import CoreError, Job
from avatar.musetalk.config import TINY, DecoderTier
from avatar.musetalk.core import Core, Options
from avatar.musetalk.demo import synthetic_frames, synthetic_speech
from avatar.musetalk.features import FeatureStream
from avatar.musetalk.fidelity import compare, mouth
from avatar.musetalk.paste import Patch, offsets, paste_one
from avatar.musetalk.reference import Reference, paste_plainly
from avatar.musetalk.weights import ModelWeights, WeightsError

pytestmark = pytest.mark.unit

WIDTH, HEIGHT = 200, 256


@pytest.fixture(scope="module")
def frames() -> list[AvatarFrame]:
    return synthetic_frames(TINY, 4, WIDTH, HEIGHT, seed=1)


@pytest.fixture(scope="module")
def core(tiny_weights: ModelWeights) -> Core:
    return Core(TINY, tiny_weights, "cpu", Options(batch_sizes=(1, 2, 4)))


def heard(core: Core, seconds: float = 0.6) -> torch.Tensor:
    stream = FeatureStream(core.encoder)
    stream.push(synthetic_speech(seconds))
    stream.end()
    out = []
    while stream.ready:
        out.append(core.features([stream])[0][1])
    return torch.cat(out)


@pytest.mark.parametrize("tier", ["exact", "tiny"])
def test_pictures_equal_the_plain_path(
    tiny_weights: ModelWeights, frames: list[AvatarFrame], tier: DecoderTier
) -> None:
    core = Core(TINY, tiny_weights, "cpu", Options(decoder=tier, batch_sizes=(4,)))
    avatar, speech = core.avatar(frames), heard(core)
    pictures = core.render([Job(speech[n], avatar, n) for n in range(4)])
    reference = Reference(TINY, tiny_weights, tier, "cpu")
    latents = torch.from_numpy(np.stack([frame.latents for frame in frames]))
    faces = reference.face(reference.image(reference.latents(latents, speech[:4])))
    for frame, face, picture in zip(frames, faces, pictures, strict=True):
        assert picture is not None
        expected = paste_plainly(frame, face)
        assert picture.shape == expected.shape == (HEIGHT * 3 // 2, WIDTH)
        assert np.abs(picture.astype(int) - expected).max() <= 1
        assert (picture != frame.body).mean() > 0.01, "the mouth must have changed"
        untouched = place(picture, frame.patch, np.concatenate([p.ravel() for p in planes_of(frame.body, frame.patch)]))
        assert np.array_equal(untouched, frame.body), "nothing outside the patch may change"


@pytest.mark.parametrize("tier", ["exact", "tiny"])
def test_half_precision_goes_the_whole_way_and_passes_the_gate(
    tiny_weights: ModelWeights, frames: list[AvatarFrame], tier: DecoderTier
) -> None:
    """As on a card, without its kernels: fp32 features in, half precision within, no dtype in the way of another."""
    core = Core(TINY, tiny_weights, "cpu", Options(decoder=tier, dtype=torch.float16, batch_sizes=(4,)))
    speech = heard(core)
    reference = Reference(TINY, tiny_weights, tier, "cpu")
    latents = torch.from_numpy(np.stack([frame.latents for frame in frames]))
    expected = mouth(reference.face(reference.image(reference.latents(latents, speech[:4]))))
    for keep_stems in (True, False):
        avatar = core.avatar(frames, keep_stems=keep_stems)
        pictures = core.render([Job(speech[n], avatar, n) for n in range(4)])
        assert all(picture is not None for picture in pictures)
        result = compare(mouth(core.lanes[4].faces.numpy()), expected)
        assert result.passes, result
        assert result.psnr_db < 80, "this was not half precision"


def test_a_picture_does_not_depend_on_its_batch(core: Core, frames: list[AvatarFrame]) -> None:
    avatar, speech = core.avatar(frames), heard(core)
    jobs = [Job(speech[n], avatar, n % 4) for n in range(4)]
    together = core.render(jobs)
    alone = [core.render([job])[0] for job in jobs]
    three = core.render(jobs[1:])
    for one, two in [*zip(together, alone, strict=True), *zip(three, together[1:], strict=True)]:
        assert one is not None
        assert two is not None
        assert np.abs(one.astype(int) - two).max() <= 1


def test_stems_need_not_be_kept(core: Core, frames: list[AvatarFrame]) -> None:
    speech = heard(core)
    kept, lean = core.avatar(frames), core.avatar(frames, keep_stems=False)
    assert lean.stems is None
    one, two = (core.render([Job(speech[3], avatar, 2)])[0] for avatar in (kept, lean))
    assert one is not None
    assert two is not None
    assert compare(one[None], two[None]).largest <= 1


def test_identities_of_different_size_share_a_batch(core: Core, frames: list[AvatarFrame]) -> None:
    other = core.avatar(synthetic_frames(TINY, 2, 320, 400, seed=9))
    avatar, speech = core.avatar(frames), heard(core)
    one, two = core.render([Job(speech[0], avatar, 0), Job(speech[1], other, 1)])
    assert one is not None
    assert two is not None
    assert (one.shape, two.shape) == ((HEIGHT * 3 // 2, WIDTH), (600, 320))


def test_batches_overlap_and_buffers_are_bounded(core: Core, frames: list[AvatarFrame]) -> None:
    avatar, speech = core.avatar(frames), heard(core)
    batches = [core.submit([Job(speech[n], avatar, 0)]) for n in range(3)]
    with pytest.raises(CoreError, match="call pictures"):
        core.submit([Job(speech[0], avatar, 0)])
    late = [batch.pictures()[0] for batch in batches]
    again = [core.render([Job(speech[n], avatar, 0)])[0] for n in range(3)]
    for one, two in zip(late, again, strict=True):
        assert one is not None
        assert two is not None
        assert np.array_equal(one, two), "a buffer was overwritten before it was read"
    assert all(batch.done() for batch in batches)
    with pytest.raises(CoreError, match="taken before"):
        batches[0].pictures()  # its buffer may be another batch's by now


def test_a_picture_that_is_not_finite_is_withheld_and_harms_no_other(core: Core, frames: list[AvatarFrame]) -> None:
    avatar, speech = core.avatar(frames), heard(core)
    bad = torch.full_like(speech[0], float("nan"))
    pictures = core.render([Job(speech[0], avatar, 0), Job(bad, avatar, 1), Job(speech[2], avatar, 2)])
    assert [picture is None for picture in pictures] == [False, True, False]
    assert compare(pictures[2][None], core.render([Job(speech[2], avatar, 2)])[0][None]).largest <= 1  # type: ignore[index]


def test_misuse_is_told(core: Core, frames: list[AvatarFrame], tiny_weights: ModelWeights) -> None:
    avatar, speech = core.avatar(frames), heard(core)
    for jobs in ([], [Job(speech[0], avatar, 0)] * 5):
        with pytest.raises(CoreError, match=f"1 to 4 jobs, not {len(jobs)}"):
            core.submit(jobs)
    for features in (speech[0, :1], speech[:2].flatten(0, 1), speech[:1]):
        with pytest.raises(CoreError, match=r"job 1: a picture's features are \(50, 32\), not"):
            core.submit([Job(speech[0], avatar, 0), Job(features, avatar, 0)])
    for frame in (-1, 4):
        with pytest.raises(CoreError, match=f"frames 0 to 3, not {frame}"):
            core.submit([Job(speech[0], avatar, frame)])
    with pytest.raises(AvatarError, match="at least one frame"):
        core.avatar([])
    with pytest.raises(AvatarError, match="latents must be"):
        core.avatar([replace(frames[0], latents=frames[0].latents[:, :4])])
    with pytest.raises(AvatarError, match="above row 52 of 128 nothing is computed"):
        core.avatar([replace(frames[0], mask=np.full_like(frames[0].mask, 255))])
    with pytest.raises(WeightsError, match="tiny_decoder"):
        Core(TINY, replace(tiny_weights, tiny_decoder=None), "cpu", Options(decoder="tiny"))


@pytest.mark.parametrize("box", [(11, 7, 60, 71), (0, 0, 95, 79), (30, 21, 61, 52), (1, 1, 94, 80)])
def test_the_paste_is_the_plain_one(box: tuple[int, int, int, int]) -> None:
    random = np.random.default_rng(0)
    left, top, right, bottom = box
    mask = random.integers(0, 256, (bottom - top, right - left), dtype=np.uint8)
    mask[: len(mask) // 2] = 0
    body = random.integers(16, 236, (120, 96), dtype=np.uint8)
    frame = AvatarFrame(body, box, mask, np.zeros((8, 16, 16), np.float32))
    face = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    patch = Patch.of(frame, torch.device("cpu"))
    out = torch.zeros(offsets([patch])[-1], dtype=torch.uint8)
    paste_one(torch.from_numpy(face), patch, out[: patch.size])
    picture = place(body, patch.part, out.numpy()[: patch.size])
    expected = paste_plainly(frame, face)
    off = np.abs(picture.astype(int) - expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


def test_the_resize_is_opencvs() -> None:
    """The reference's own resize agrees with cv2.resize, which is what MuseTalk calls."""
    import cv2

    random = np.random.default_rng(1)
    face = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    mask = np.full((90, 71), 255, dtype=np.uint8)
    frame = AvatarFrame(np.full((180, 100), 128, np.uint8), (10, 20, 81, 110), mask, np.zeros((8, 16, 16), np.float32))
    luma = paste_plainly(frame, face)[20:110, 10:81].astype(float)
    red, green, blue = np.moveaxis(cv2.resize(face, (71, 90)).astype(float), -1, 0)
    expected = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    assert np.abs(luma - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body": np.zeros((9, 4), np.float32)}, "I420"),
        ({"box": (0, 0, 300, 20)}, "does not lie in the picture"),
        ({"mask": np.ones((3, 3), np.uint8)}, "the mask must be"),
    ],
)
def test_inconsistent_frames_are_refused(frames: list[AvatarFrame], change: dict[str, Any], said: str) -> None:
    with pytest.raises(AvatarError, match=said):
        replace(frames[0], **change)
    with pytest.raises(AvatarError, match="mask is empty"):
        replace(frames[0], mask=np.zeros_like(frames[0].mask))


@pytest.mark.gpu
@pytest.mark.parametrize("tier", ["exact", "tiny"])
def test_full_size_half_precision_passes_the_gate(cuda: str, tier: DecoderTier) -> None:
    """All optimisations on, against plain fp32; see `benchmarks/gpu` for the same with every variant."""
    from avatar.musetalk.config import MUSETALK_V15
    from avatar.musetalk.synthetic import synthetic_weights

    weights = synthetic_weights(MUSETALK_V15, device=cuda)
    frames = synthetic_frames(MUSETALK_V15, 4, 720, 1280)
    core = Core(MUSETALK_V15, weights, cuda, Options(decoder=tier, batch_sizes=(4,)))
    avatar, speech = core.avatar(frames), heard(core)
    pictures = core.render([Job(speech[n], avatar, n) for n in range(4)])
    reference = Reference(MUSETALK_V15, weights, tier, cuda)
    latents = torch.from_numpy(np.stack([frame.latents for frame in frames])).to(cuda)
    faces = reference.face(reference.image(reference.latents(latents, speech[:4].float())))
    result = compare(mouth(core.lanes[4].faces.cpu().numpy()), mouth(faces))
    assert result.psnr_db >= 45 or tier == "tiny"
    assert result.largest <= 24 or tier == "tiny"
    for frame, face, picture in zip(frames, faces, pictures, strict=True):
        assert picture is not None
        assert compare(picture[None], paste_plainly(frame, face)[None]).psnr_db >= 45
