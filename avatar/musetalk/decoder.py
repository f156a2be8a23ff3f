"""Latents to a face: the two decoder tiers. Out: uint8 RGB, rounded as MuseTalk rounds it.

`exact` is the decoding half of sd-vae-ft-mse, by the names of diffusers' AutoencoderKL; `tiny` is TAESD's, by those of
DecoderTiny. The tiny one is purely local, so rows of the face that are never pasted need not be computed: each stage
drops those that no kept row sees, and the kept ones are what they would have been.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.musetalk.config import DecoderConfig, TinyDecoderConfig
from avatar.musetalk.layers import Build, Conv, Linear, Norm, Resnet, Upsample, as_image, as_tokens, attend
from avatar.musetalk.weights import Weights


class _Attention(nn.Module):
    """diffusers' Attention of the VAE's middle: one head over the whole image, with its own norm and residual."""

    def __init__(self, build: Build, weights: Weights, config: DecoderConfig) -> None:
        super().__init__()
        self.norm = Norm(build, weights.at("group_norm"), config.groups, config.eps, silu=False)
        self.qkv = Linear(build, weights, "to_q", "to_k", "to_v")
        self.out = Linear(build, weights, "to_out.0")

    def forward(self, x: Tensor) -> Tensor:
        mixed = attend(self.qkv(as_tokens(self.norm(x))).chunk(3, dim=-1), heads=1)
        return x + as_image(self.out(mixed), x.shape[2], x.shape[3])


class ExactDecoder(nn.Module):
    """sd-vae-ft-mse. The latents' scale is folded into the first product."""

    def __init__(self, build: Build, config: DecoderConfig, weights: Weights) -> None:
        super().__init__()
        own = weights.at("decoder")
        first = weights.at("post_quant_conv")
        self.scale_in = build.kernel(first.take("weight") / config.latent_scale)
        self.shift_in = first.take("bias").to(build.device, build.dtype)
        stages = len(config.channels)

        def resnet(at: str) -> Resnet:
            return Resnet(build, own.at(at), config.groups, config.eps)

        self.conv_in = Conv(build, own.at("conv_in"))
        self.middle = nn.Sequential(
            resnet("mid_block.resnets.0"),
            _Attention(build, own.at("mid_block.attentions.0"), config),
            resnet("mid_block.resnets.1"),
        )
        up: list[nn.Module] = []
        for i in range(stages):
            up += [resnet(f"up_blocks.{i}.resnets.{j}") for j in range(config.layers_per_block + 1)]
            if i < stages - 1:
                up.append(Upsample(build, own.at(f"up_blocks.{i}.upsamplers.0.conv")))
        self.up = nn.Sequential(*up)
        self.norm_out = Norm(build, own.at("conv_norm_out"), config.groups, config.eps, silu=True)
        self.conv_out = Conv(build, own.at("conv_out"), pad_outputs_to=8 if build.fused else 1)
        weights.finish()

    def forward(self, latents: Tensor) -> Tensor:
        """[batch, 4, side, side] as the UNet gives them to an image [batch, 3, 8 * side, 8 * side] in about -1..1."""
        x = functional.conv2d(latents, self.scale_in, self.shift_in).contiguous(memory_format=torch.channels_last)
        image: Tensor = self.conv_out(self.norm_out(self.up(self.middle(self.conv_in(x)))))
        return image


class Relu(nn.Module):
    """A 3x3 convolution, a residual where given, and ReLU: one cuDNN kernel where that exists."""

    def __init__(self, build: Build, weights: Weights) -> None:
        super().__init__()
        self.weight = build.kernel(weights.take("weight"))
        self.bias = weights.take("bias").to(build.device, build.dtype)
        # cuDNN's fused engines take half-precision channels by eights; the latents are four.
        self.fused = build.fused and self.weight.shape[0] % 8 == self.weight.shape[1] % 8 == 0

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if self.fused:
            ones = (1, 1)
            if residual is None:
                return torch.cudnn_convolution_relu(x, self.weight, self.bias, ones, ones, ones, 1)
            return torch.cudnn_convolution_add_relu(x, self.weight, residual, 1.0, self.bias, ones, ones, ones, 1)
        h = functional.conv2d(x, self.weight, self.bias, padding=1)
        return functional.relu(h if residual is None else h + residual)


class _Block(nn.Module):
    """diffusers' AutoencoderTinyBlock of equal width."""

    def __init__(self, build: Build, weights: Weights) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Relu(build, weights.at(f"conv.{i}")) for i in (0, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs[2](self.convs[1](self.convs[0](x)), x)
        return out


class TinyDecoder(nn.Module):
    """TAESD's decoder.

    Args:
        first_row: face rows above this one are left out of the work and come out as black.
    """

    def __init__(self, build: Build, config: TinyDecoderConfig, weights: Weights, first_row: int) -> None:
        super().__init__()
        self.conv_in = Relu(build, weights.at("layers.0"))
        self.stages, self.upsamplers = nn.ModuleList(), nn.ModuleList()
        layer = 2
        for i, blocks in enumerate(config.blocks):
            self.stages.append(
                nn.Sequential(*(_Block(build, weights.at(f"layers.{layer + j}")) for j in range(blocks)))
            )
            layer += blocks
            if i < len(config.blocks) - 1:
                self.upsamplers.append(Upsample(build, weights.at(f"layers.{layer + 1}")))
                layer += 2
        self.conv_out = Conv(build, weights.at(f"layers.{layer}"), pad_outputs_to=8 if build.fused else 1)
        self.first_row = first_row
        self.keep = _kept_rows(config.blocks, first_row)
        weights.finish()

    def forward(self, latents: Tensor) -> Tensor:
        """[batch, 4, side, side] as the UNet gives them to an image [batch, 3, 8 * side, 8 * side] in about -1..1."""
        x = latents.contiguous(memory_format=torch.channels_last)
        x = self.conv_in(torch.tanh(x / 3) * 3)
        top = 0  # the row of the whole stage that x begins with
        for i, stage in enumerate(self.stages):
            drop = self.keep[i] - top
            x, top = x[:, :, drop:].contiguous(memory_format=torch.channels_last), self.keep[i]
            x = stage(x)
            if i < len(self.upsamplers):
                x, top = self.upsamplers[i](x), 2 * top
        image = self.conv_out(x)[:, :, self.first_row - top :] * 2 - 1
        return functional.pad(image, (0, 0, self.first_row, 0), value=-1.0)


def _kept_rows(blocks: tuple[int, ...], first_row: int) -> list[int]:
    """The first row that each stage has to begin with (its blocks included) so that no row from ``first_row`` on
    changes.

    A row depends on one row more above for each 3x3 convolution; a cut lets zeros in where the image went on, which
    reach that far and no farther.
    """
    kept = [0] * len(blocks)
    need = first_row - 1  # the last convolution
    for i in reversed(range(len(blocks))):
        need = max(0, need - 3 * blocks[i])
        kept[i] = need
        need = max(0, (need - 1) // 2)  # the upsampler's convolution, then half the rows
    return kept


def as_face(image: Tensor) -> Tensor:
    """An image [batch, 3, height, width] in -1..1 to uint8 [batch, height, width, 3], as MuseTalk rounds it."""
    return (image.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
