"""The gate: the fast networks compute what diffusers' own modules compute, in every layout and tier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar.musetalk.config import TINY, DecoderTier
from avatar.musetalk.decoder import ExactDecoder, TinyDecoder, as_face
from avatar.musetalk.fidelity import MOUTH_PSNR_DB, compare, mouth, relative_l2
from avatar.musetalk.layers import Build, Upsample
from avatar.musetalk.positions import positions
from avatar.musetalk.reference import Reference
from avatar.musetalk.unet import UNet
from avatar.musetalk.weights import ModelWeights, Weights, WeightsError

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    avatar = torch.randn(3, 8, TINY.latent_px, TINY.latent_px, generator=generator)
    return avatar, torch.randn(3, TINY.context_tokens, TINY.whisper.width, generator=generator)


@pytest.mark.parametrize("fold_upsampling", [False, True])
def test_the_unet_is_diffusers_unet_at_step_0(
    tiny_weights: ModelWeights, inputs: tuple[torch.Tensor, torch.Tensor], fold_upsampling: bool
) -> None:
    avatar, audio = inputs
    expected = Reference(TINY, tiny_weights, "exact", CPU).latents(avatar, audio)
    unet = UNet(Build(CPU, torch.float32, False, fold_upsampling), TINY.unet, Weights(tiny_weights.unet))
    with torch.inference_mode():
        got = unet(unet.stem(avatar), audio + positions(*audio.shape[1:]))
    assert 0.5 < float(expected.std()) < 2, "random weights must give sane latents, or this proves nothing"
    assert relative_l2(got, expected) < 1e-5
    torch.testing.assert_close(got, expected, atol=5e-5, rtol=0)


def test_speech_matters_and_the_stem_does_not_hear_it(
    tiny_weights: ModelWeights, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    avatar, audio = inputs
    unet = UNet(Build(CPU, torch.float32, False), TINY.unet, Weights(tiny_weights.unet))
    with torch.inference_mode():
        stem = unet.stem(avatar)
        one, two = unet(stem, audio), unet(stem, audio.flip(0))
    assert relative_l2(one, two) > 0.05


@pytest.mark.parametrize("fold_upsampling", [False, True])
@pytest.mark.parametrize("tier", ["exact", "tiny"])
def test_the_decoders_are_diffusers_decoders(
    tiny_weights: ModelWeights, tier: DecoderTier, fold_upsampling: bool
) -> None:
    latents = 0.9 * torch.randn(2, 4, TINY.latent_px, TINY.latent_px, generator=torch.Generator().manual_seed(2))
    reference = Reference(TINY, tiny_weights, tier, CPU)
    expected = reference.image(latents)
    decoder = _decoder(tiny_weights, tier, fold_upsampling)
    with torch.inference_mode():
        got = decoder(latents)
    shown = TINY.first_row if tier == "tiny" else 0
    assert got.shape == expected.shape == (2, 3, TINY.face_px, TINY.face_px)
    assert 0.2 < float(expected.std()) < 1
    torch.testing.assert_close(got[:, :, shown:], expected[:, :, shown:], atol=2e-5, rtol=0)
    faces = as_face(got).numpy()
    assert np.abs(faces[:, shown:].astype(int) - reference.face(expected)[:, shown:]).max() <= 1


def test_rows_left_out_of_the_tiny_decoder_change_no_row_that_is_kept(tiny_weights: ModelWeights) -> None:
    latents = torch.randn(2, 4, TINY.latent_px, TINY.latent_px)
    assert tiny_weights.tiny_decoder is not None
    build = Build(CPU, torch.float32, False, fold_upsampling=False)
    whole, cropped = (
        TinyDecoder(build, TINY.tiny_decoder, Weights(tiny_weights.tiny_decoder), row) for row in (0, TINY.first_row)
    )
    with torch.inference_mode():
        expected, got = whole(latents), cropped(latents)
    assert cropped.keep[-1] > 0
    assert torch.equal(got[:, :, TINY.first_row :], expected[:, :, TINY.first_row :])
    assert bool((got[:, :, : TINY.first_row] == -1).all())


def test_folded_upsampling_is_exact_arithmetic() -> None:
    """In float64, where rounding cannot hide a wrong weight; the borders included."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64, generator=generator)
    bias = torch.randn(5, dtype=torch.float64, generator=generator)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=generator)
    expected = torch.nn.functional.conv2d(torch.nn.functional.interpolate(x, scale_factor=2.0), weight, bias, padding=1)
    folded = Upsample(Build(CPU, torch.float64, False), _Doubles({"weight": weight, "bias": bias}))
    torch.testing.assert_close(folded(x), expected, atol=1e-12, rtol=0)


class _Doubles(Weights):
    """Weights that keep their precision."""

    def take(self, name: str) -> torch.Tensor:
        super().take(name)
        return self._state[name]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_gate_measures_the_mouth(
    tiny_weights: ModelWeights, inputs: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype
) -> None:
    """fp32 is far within the gate; bf16 (8 bits of precision) shows that the gate can say no or nearly so."""
    avatar, audio = inputs
    reference = Reference(TINY, tiny_weights, "exact", CPU)
    expected = reference.face(reference.image(reference.latents(avatar, audio)))
    build = Build(CPU, dtype, False)
    unet, decoder = UNet(build, TINY.unet, Weights(tiny_weights.unet)), _decoder(tiny_weights, "exact", True, dtype)
    with torch.inference_mode():
        heard = (audio + positions(*audio.shape[1:])).to(dtype)
        got = as_face(decoder(unet(unet.stem(avatar.to(dtype)), heard))).numpy()
    result = compare(mouth(got), mouth(expected))
    if dtype == torch.float32:
        assert result.passes
        assert result.psnr_db > 70
        assert result.largest <= 1
    else:
        assert 25 < result.psnr_db < 70
        assert result.passes == (result.psnr_db >= MOUTH_PSNR_DB and result.largest <= 24)


def test_weights_are_read_strictly(tiny_weights: ModelWeights) -> None:
    build = Build(CPU, torch.float32, False)
    missing = {key: value for key, value in tiny_weights.unet.items() if key != "mid_block.resnets.1.conv2.bias"}
    with pytest.raises(WeightsError, match=r"no mid_block\.resnets\.1\.conv2\.bias"):
        UNet(build, TINY.unet, Weights(missing))
    with pytest.raises(WeightsError, match="1 weights belong to no part of the model, such as surplus"):
        UNet(build, TINY.unet, Weights({**tiny_weights.unet, "surplus": torch.zeros(1)}))


def _decoder(
    weights: ModelWeights, tier: DecoderTier, fold_upsampling: bool, dtype: torch.dtype = torch.float32
) -> ExactDecoder | TinyDecoder:
    build = Build(CPU, dtype, False, fold_upsampling)
    if tier == "tiny":
        assert weights.tiny_decoder is not None
        return TinyDecoder(build, TINY.tiny_decoder, Weights(weights.tiny_decoder), TINY.first_row)
    own = {key: value for key, value in weights.vae.items() if not key.startswith(("encoder.", "quant_conv."))}
    return ExactDecoder(build, TINY.decoder, Weights(own))
