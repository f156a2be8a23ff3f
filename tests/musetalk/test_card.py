"""What a card would meet, on shapes alone: the full-size networks in half precision on tensors that claim to be CUDA.

A dtype that does not fit, or an image that does not lie channels-last (which costs a hidden copy), shows here and not
first on a lent machine.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from avatar.musetalk.config import MUSETALK_V15
from avatar.musetalk.decoder import ExactDecoder, Relu, TinyDecoder, as_face
from avatar.musetalk.layers import Build, Conv, Norm, Resnet, Upsample
from avatar.musetalk.reference import blank_models
from avatar.musetalk.unet import UNet
from avatar.musetalk.weights import Weights

pytestmark = pytest.mark.unit

CARD = torch.device("cuda:0")
SHAPES = MUSETALK_V15


def _shapes() -> list[dict[str, torch.Size]]:
    """Of the weights of the UNet, of both halves of the VAE and of the tiny decoder."""
    models = blank_models(SHAPES, "meta")
    return [{name: value.shape for name, value in model.state_dict().items()} for model in models]


def _empty(shapes: dict[str, torch.Size]) -> Weights:
    encoding = ("encoder.", "quant_conv.")
    return Weights(
        {name: torch.empty(shape, device=CARD) for name, shape in shapes.items() if not name.startswith(encoding)}
    )


def _half(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float16, device=CARD)


class _Layouts:
    """A hook of PyTorch's own on every module's call: counts the images, refuses those that lie otherwise."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, (Norm, Resnet, Upsample, Conv)):
            image = inputs[0]
            assert image.dtype == torch.float16, (module, image.dtype)
            assert image.is_contiguous(memory_format=torch.channels_last), (module, image.shape, image.stride())
            self.seen += 1


def test_full_size_half_precision_keeps_dtype_and_layout() -> None:
    batch = 2
    unet, vae, tiny = _shapes()
    layouts = _Layouts()
    hook = nn.modules.module.register_module_forward_pre_hook(layouts)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
            build = Build(CARD, torch.float16, fused=False)
            network = UNet(build, SHAPES.unet, _empty(unet))
            decoders = (
                ExactDecoder(build, SHAPES.decoder, _empty(vae)),
                TinyDecoder(build, SHAPES.tiny_decoder, _empty(tiny), SHAPES.first_row),
            )
            stem = network.stem(_half(batch, 8, 32, 32))
            assert stem.dtype == torch.float16
            heard = _half(batch, SHAPES.context_tokens, SHAPES.whisper.width)
            latents = _half(batch, 4, 32, 32).copy_(network(stem, heard))
            for decoder in decoders:
                image = decoder(latents)
                assert (image.dtype, image.shape) == (torch.float16, (batch, 3, 256, 256))
                assert as_face(image).shape == (batch, 256, 256, 3)
    finally:
        hook.remove()
    assert layouts.seen > 100


def test_cudnns_fused_engines_get_channels_by_eights() -> None:
    """The first convolution of the tiny decoder takes four latents: it must not go that way."""
    tiny = _shapes()[2]
    with FakeTensorMode():
        build = Build(CARD, torch.float16, fused=True)
        decoder = TinyDecoder(build, SHAPES.tiny_decoder, _empty(tiny), SHAPES.first_row)
    relus = [module for module in decoder.modules() if isinstance(module, Relu)]
    assert len(relus) == 31
    assert sum(relu.fused for relu in relus) == 30
    assert not decoder.conv_in.fused
    assert decoder.conv_in.weight.shape[1] == 4
