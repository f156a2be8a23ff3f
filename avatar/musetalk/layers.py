"""The building blocks of both networks, rearranged for speed without changing what they compute.

In: weights by diffusers' names. What differs from diffusers' own modules, all of it exact but for rounding: images lie
channels-last; the biases of convolutions are not added by themselves but with the next norm or residual sum; constants
known at load (the time embedding at step 0) are folded into biases; q, k and v are one product; 1x1 convolutions are
products over tokens; nearest-neighbour upsampling and the 3x3 convolution after it are one 2x2 convolution for each of
the four output phases (4 of 9 products are left).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.musetalk.weights import Weights


@dataclass(frozen=True, slots=True)
class Build:
    """How a network is laid out.

    Args:
        fused: Triton and cuDNN's fused kernels (CUDA only) in place of separate PyTorch operations.
        fold_upsampling: see above.
    """

    device: torch.device
    dtype: torch.dtype
    fused: bool
    fold_upsampling: bool = True

    def constant(self, value: Tensor) -> Tensor:
        """A value that stays fp32."""
        return value.to(self.device, torch.float32).contiguous()

    def matrix(self, value: Tensor) -> Tensor:
        return value.flatten(1).to(self.device, self.dtype).contiguous()

    def kernel(self, value: Tensor) -> Tensor:
        return value.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)


def as_tokens(image: Tensor) -> Tensor:
    """[batch, channels, height, width], channels-last, to [batch, height * width, channels]; no copy."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def as_image(tokens: Tensor, height: int, width: int) -> Tensor:
    """The way back; no copy."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class Norm(nn.Module):
    """Group norm of ``x + shift``, then SiLU where wanted."""

    def __init__(
        self, build: Build, weights: Weights, groups: int, eps: float, silu: bool, shift: Tensor | None = None
    ) -> None:
        super().__init__()
        self.weight = build.constant(weights.take("weight"))
        self.bias = build.constant(weights.take("bias"))
        self.shift = None if shift is None else build.constant(shift)
        self.groups, self.eps, self.silu, self.fused = groups, eps, silu, build.fused

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            from avatar.musetalk import kernels

            return kernels.group_norm(x, self.weight, self.bias, self.shift, self.groups, self.eps, self.silu)
        if self.shift is not None:
            x = x + self.shift.to(x.dtype)[:, None, None]
        x = functional.group_norm(x, self.groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
        x = functional.silu(x) if self.silu else x
        return x.contiguous(memory_format=torch.channels_last)


def add(x: Tensor, h: Tensor, shift: Tensor, fused: bool) -> Tensor:
    """``x + h + shift``, the shift (fp32) by channel."""
    if fused:
        from avatar.musetalk import kernels

        return kernels.add(x, h, shift)
    return x + (h + shift.to(h.dtype)[:, None, None])


class Conv(nn.Module):
    """A 3x3 convolution with its bias, for the few places where nothing follows that could take the bias along."""

    def __init__(self, build: Build, weights: Weights, stride: int = 1, pad_outputs_to: int = 1) -> None:
        super().__init__()
        weight, bias = weights.take("weight"), weights.take("bias")
        self.outputs = weight.shape[0]
        # Three output channels leave the matrix units idle; padding them to eight costs nothing.
        extra = -self.outputs % pad_outputs_to
        self.weight = build.kernel(functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, extra)))
        self.bias = functional.pad(bias, (0, extra)).to(build.device, build.dtype)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding=1)[:, : self.outputs]


class Resnet(nn.Module):
    """diffusers' ResnetBlock2D; ``time`` is what its time projection adds, a constant here."""

    def __init__(self, build: Build, weights: Weights, groups: int, eps: float, time: Tensor | None = None) -> None:
        super().__init__()
        first, second = weights.at("conv1"), weights.at("conv2")
        shift = first.take("bias")
        if time is not None:
            projection = weights.at("time_emb_proj")
            shift = shift + (projection.take("weight") @ time + projection.take("bias")).to(shift)
        self.norm1 = Norm(build, weights.at("norm1"), groups, eps, silu=True)
        self.conv1 = build.kernel(first.take("weight"))
        self.norm2 = Norm(build, weights.at("norm2"), groups, eps, silu=True, shift=shift)
        self.conv2 = build.kernel(second.take("weight"))
        shift = second.take("bias")
        self.shortcut: Tensor | None = None
        if weights.has("conv_shortcut.weight"):
            self.shortcut = build.matrix(weights.take("conv_shortcut.weight"))
            shift = shift + weights.take("conv_shortcut.bias")
        self.shift = build.constant(shift)
        self.fused = build.fused

    def forward(self, x: Tensor) -> Tensor:
        h = functional.conv2d(self.norm1(x), self.conv1, padding=1)
        h = functional.conv2d(self.norm2(h), self.conv2, padding=1)
        if self.shortcut is not None:
            x = as_image(functional.linear(as_tokens(x), self.shortcut), x.shape[2], x.shape[3])
        return add(x, h, self.shift, self.fused)


class Upsample(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution."""

    def __init__(self, build: Build, weights: Weights) -> None:
        super().__init__()
        weight = weights.take("weight")
        bias = weights.take("bias") if weights.has("bias") else torch.zeros(weight.shape[0])
        self.bias = bias.to(build.device, build.dtype)
        self.folded = build.fold_upsampling
        self.weight = build.kernel(_phases(weight) if self.folded else weight)

    def forward(self, x: Tensor) -> Tensor:
        if not self.folded:
            return functional.conv2d(functional.interpolate(x, scale_factor=2.0), self.weight, self.bias, padding=1)
        batch, _, height, width = x.shape
        y = functional.conv2d(x, self.weight, padding=1).permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        out = torch.empty(batch, height, 2, width, 2, y.shape[-1], dtype=x.dtype, device=x.device)
        for a in range(2):
            for b in range(2):
                out[:, :, a, :, b] = y[:, a : a + height, b : b + width, a, b] + self.bias
        return out.view(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _phases(weight: Tensor) -> Tensor:
    """[out, in, 3, 3] over the doubled image to [4 * out, in, 2, 2] over the small one, phase by phase.

    Row 2i + a of the doubled image sees its rows 2i + a - 1 to 2i + a + 1, which are rows i - 1, i, i (a = 0) or i, i,
    i + 1 (a = 1) of the small one; the weights of equal rows add up. Columns likewise.
    """
    wide = weight.double()
    rows = [
        torch.stack([wide[:, :, 0], wide[:, :, 1] + wide[:, :, 2]], 2),
        torch.stack([wide[:, :, 0] + wide[:, :, 1], wide[:, :, 2]], 2),
    ]
    phases = [
        torch.stack(pair, 3)
        for row in rows
        for pair in ((row[..., 0], row[..., 1] + row[..., 2]), (row[..., 0] + row[..., 1], row[..., 2]))
    ]
    return torch.cat(phases).to(weight.dtype)


class Linear(nn.Module):
    """One product over tokens, of one or several weights side by side."""

    def __init__(self, build: Build, weights: Weights, *names: str) -> None:
        super().__init__()
        self.weight = torch.cat([build.matrix(weights.take(f"{name}.weight")) for name in names])
        self.bias: Tensor | None = None
        if weights.has(f"{names[0]}.bias"):
            self.bias = torch.cat([weights.take(f"{name}.bias").to(build.device, build.dtype) for name in names])

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


def attend(qkv: Sequence[Tensor], heads: int) -> Tensor:
    """Softmax attention in ``heads`` heads; queries, keys and values [batch, tokens, width]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in qkv)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """diffusers' Transformer2DModel with one BasicTransformerBlock: self-attention, attention to speech, GEGLU.

    Its two halves are functions of tensors alone (`look`, `hear` below), so that one compiled program serves all blocks
    of a shape; ``halves`` may be replaced by compiled ones.
    """

    def __init__(self, build: Build, weights: Weights, groups: int, heads: int) -> None:
        super().__init__()
        inner = weights.at("transformer_blocks.0")
        first, second = inner.at("attn1"), inner.at("attn2")
        self.heads = heads
        self.norm = Norm(build, weights.at("norm"), groups, 1e-6, silu=False)
        self.looking = (
            *_product(build, weights, "proj_in"),
            *_layer_norm(build, inner.at("norm1")),
            torch.cat([build.matrix(first.take(f"to_{name}.weight")) for name in "qkv"]),
            *_product(build, first, "to_out.0"),
        )
        self.hearing = (
            *_layer_norm(build, inner.at("norm2")),
            build.matrix(second.take("to_q.weight")),
            torch.cat([build.matrix(second.take(f"to_{name}.weight")) for name in "kv"]),
            *_product(build, second, "to_out.0"),
            *_layer_norm(build, inner.at("norm3")),
            *_product(build, inner, "ff.net.0.proj"),
            *_product(build, inner, "ff.net.2"),
            *_product(build, weights, "proj_out"),
        )
        self.halves: tuple[Callable[..., Tensor], Callable[..., Tensor]] = (look, hear)

    def unheard(self, x: Tensor) -> Tensor:
        """Everything before speech has a say: [batch, channels, height, width] to [batch, tokens, channels]."""
        return self.halves[0](as_tokens(self.norm(x)), self.looking, self.heads)

    def heard(self, x: Tensor, t: Tensor, audio: Tensor) -> Tensor:
        """The rest, of ``t = unheard(x)``."""
        return x + as_image(self.halves[1](t, audio, self.hearing, self.heads), x.shape[2], x.shape[3])


def look(t: Tensor, weights: Sequence[Tensor], heads: int) -> Tensor:
    """proj_in and self-attention: [batch, tokens, channels] to the same."""
    in_weight, in_bias, norm_weight, norm_bias, qkv, out_weight, out_bias = weights
    t = functional.linear(t, in_weight, in_bias)
    normed = functional.layer_norm(t, (t.shape[-1],), norm_weight, norm_bias)
    mixed = attend(functional.linear(normed, qkv).chunk(3, dim=-1), heads)
    return t + functional.linear(mixed, out_weight, out_bias)


def hear(t: Tensor, audio: Tensor, weights: Sequence[Tensor], heads: int) -> Tensor:
    """Attention to speech, GEGLU and proj_out: [batch, tokens, channels] to the same."""
    norm2_weight, norm2_bias, q, kv, out_weight, out_bias, *after = weights
    norm3_weight, norm3_bias, grow_weight, grow_bias, shrink_weight, shrink_bias, last_weight, last_bias = after
    normed = functional.layer_norm(t, (t.shape[-1],), norm2_weight, norm2_bias)
    mixed = attend((functional.linear(normed, q), *functional.linear(audio, kv).chunk(2, dim=-1)), heads)
    t = t + functional.linear(mixed, out_weight, out_bias)
    normed = functional.layer_norm(t, (t.shape[-1],), norm3_weight, norm3_bias)
    value, gate = functional.linear(normed, grow_weight, grow_bias).chunk(2, dim=-1)
    t = t + functional.linear(value * functional.gelu(gate), shrink_weight, shrink_bias)
    return functional.linear(t, last_weight, last_bias)


def _product(build: Build, weights: Weights, name: str) -> tuple[Tensor, Tensor]:
    return build.matrix(weights.take(f"{name}.weight")), weights.take(f"{name}.bias").to(build.device, build.dtype)


def _layer_norm(build: Build, weights: Weights) -> tuple[Tensor, Tensor]:
    return weights.take("weight").to(build.device, build.dtype), weights.take("bias").to(build.device, build.dtype)
