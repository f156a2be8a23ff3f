"""MuseTalk's UNet for one step at time 0: avatar latents and speech in, the mouth's latents out.

In: weights by the names of diffusers' UNet2DConditionModel. Split where speech first has a say: the *stem* (conv_in,
the first resnet, the first self-attention) depends on the avatar's frame alone and can be computed when the avatar is
loaded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.musetalk.config import UNetConfig
from avatar.musetalk.layers import Build, Conv, Norm, Resnet, Transformer, Upsample, as_image, as_tokens
from avatar.musetalk.weights import Weights


class UNet(nn.Module):
    """The stem and the rest. ``forward(stem(latents), audio)`` is the whole."""

    def __init__(self, build: Build, config: UNetConfig, weights: Weights) -> None:
        super().__init__()
        time = _time_at_zero(config, weights.at("time_embedding"))
        stages = len(config.channels)

        def resnet(at: str) -> Resnet:
            return Resnet(build, weights.at(at), config.groups, config.eps, time)

        def transformer(at: str) -> Transformer:
            return Transformer(build, weights.at(at), config.groups, config.heads)

        def stage(at: str, layers: int, hearing: bool) -> _Stage:
            return [
                (resnet(f"{at}.resnets.{i}"), transformer(f"{at}.attentions.{i}") if hearing else None)
                for i in range(layers)
            ]

        # Plain lists: nothing of the module machinery (saving, moving, training) is used on what is built once.
        self.conv_in = Conv(build, weights.at("conv_in"))
        self.down = [stage(f"down_blocks.{i}", config.layers_per_block, i < stages - 1) for i in range(stages)]
        self.downsamplers = [
            Conv(build, weights.at(f"down_blocks.{i}.downsamplers.0.conv"), stride=2) for i in range(stages - 1)
        ]
        self.middle = (
            resnet("mid_block.resnets.0"),
            transformer("mid_block.attentions.0"),
            resnet("mid_block.resnets.1"),
        )
        self.up = [stage(f"up_blocks.{i}", config.layers_per_block + 1, i > 0) for i in range(stages)]
        self.upsamplers = [Upsample(build, weights.at(f"up_blocks.{i}.upsamplers.0.conv")) for i in range(stages - 1)]
        self.norm_out = Norm(build, weights.at("conv_norm_out"), config.groups, config.eps, silu=True)
        self.conv_out = Conv(build, weights.at("conv_out"), pad_outputs_to=8 if build.fused else 1)
        weights.finish()

    @property
    def transformers(self) -> list[Transformer]:
        """All of them, in no order that matters."""
        stages = [pair for stage in [*self.down, *self.up] for pair in stage]
        return [self.middle[1], *(transformer for _, transformer in stages if transformer is not None)]

    def stem(self, latents: Tensor) -> Tensor:
        """[batch, in_channels, side, side] to [3, batch, side * side, channels]: after conv_in, after the first resnet,
        and inside the first transformer where it begins to listen."""
        first, listener = self.down[0][0]
        assert listener is not None
        x = self.conv_in(latents.contiguous(memory_format=torch.channels_last))
        h = first(x)
        return torch.stack([as_tokens(x), as_tokens(h), listener.unheard(h)])

    def forward(self, stem: Tensor, audio: Tensor) -> Tensor:
        """Stem and audio features [batch, tokens, width] (with their positions added) to latents
        [batch, out_channels, side, side]."""
        side = round(stem.shape[2] ** 0.5)
        x, h = (as_image(stem[i], side, side) for i in range(2))
        skips = [x]
        for i, stage in enumerate(self.down):
            for j, (resnet, transformer) in enumerate(stage):
                in_stem = i == j == 0
                h = h if in_stem else resnet(h)
                if transformer is not None:
                    t = stem[2] if in_stem else transformer.unheard(h)
                    h = transformer.heard(h, t, audio)
                skips.append(h)
            if i < len(self.downsamplers):
                h = self.downsamplers[i](h)
                skips.append(h)
        before, listener, after = self.middle
        h = before(h)
        h = after(listener.heard(h, listener.unheard(h), audio))
        for i, stage in enumerate(self.up):
            for resnet, transformer in stage:
                h = resnet(torch.cat([h, skips.pop()], dim=1))
                if transformer is not None:
                    h = transformer.heard(h, transformer.unheard(h), audio)
            if i < len(self.upsamplers):
                h = self.upsamplers[i](h)
        out: Tensor = self.conv_out(self.norm_out(h))
        return out


_Stage = list[tuple[Resnet, Transformer | None]]


def _time_at_zero(config: UNetConfig, weights: Weights) -> Tensor:
    """What every resnet's time projection sees at step 0, activation included: [4 * channels[0]]."""
    half = config.channels[0] // 2
    angles = torch.cat([torch.ones(half), torch.zeros(half)])  # cosines of 0, then sines of 0
    first, second = weights.at("linear_1"), weights.at("linear_2")
    weight = first.take("weight")
    h = functional.silu(weight @ angles.to(weight.device) + first.take("bias"))
    return functional.silu(second.take("weight") @ h + second.take("bias"))
