"""The shapes of MuseTalk v1.5 and of a tiny double of it for tests. Out: frozen values; no torch here.

Sources: MuseTalk's `musetalk.json` and `AudioProcessor`, `stabilityai/sd-vae-ft-mse`, `madebyollin/taesd`,
`openai/whisper-tiny`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

DecoderTier = Literal["exact", "tiny"]
"""`exact`: the decoder MuseTalk was trained with (sd-vae-ft-mse). `tiny`: TAESD's shape, 18 times cheaper and
softer."""

TOKENS_PER_PICTURE = 10
"""A picture hears 10 encoder tokens of 20 ms: 80 ms before its start to 120 ms after."""


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """diffusers' UNet2DConditionModel in Stable Diffusion 1's layout: 3 cross-attention stages and a plain one."""

    in_channels: int = 8
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    heads: int = 8
    context_width: int = 384
    groups: int = 32
    eps: float = 1e-5

    def as_diffusers(self) -> dict[str, Any]:
        """The keyword arguments of UNet2DConditionModel."""
        crossing = len(self.channels) - 1
        return {
            "sample_size": 64,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "down_block_types": ("CrossAttnDownBlock2D",) * crossing + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * crossing,
            "block_out_channels": self.channels,
            "layers_per_block": self.layers_per_block,
            "cross_attention_dim": self.context_width,
            "attention_head_dim": self.heads,
            "norm_num_groups": self.groups,
            "norm_eps": self.eps,
            "act_fn": "silu",
        }


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """diffusers' AutoencoderKL; only its decoding half is used while speaking."""

    latent_channels: int = 4
    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    groups: int = 32
    eps: float = 1e-6
    latent_scale: float = 0.18215

    def as_diffusers(self) -> dict[str, Any]:
        """The keyword arguments of AutoencoderKL."""
        stages = len(self.channels)
        return {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": self.latent_channels,
            "down_block_types": ("DownEncoderBlock2D",) * stages,
            "up_block_types": ("UpDecoderBlock2D",) * stages,
            "block_out_channels": self.channels,
            "layers_per_block": self.layers_per_block,
            "norm_num_groups": self.groups,
            "act_fn": "silu",
            "sample_size": 256,
            "scaling_factor": self.latent_scale,
        }


@dataclass(frozen=True, slots=True)
class TinyDecoderConfig:
    """diffusers' DecoderTiny (TAESD). It takes latents as the UNet gives them, without the scale of the exact one."""

    latent_channels: int = 4
    channels: int = 64
    blocks: tuple[int, ...] = (3, 3, 3, 1)

    def as_diffusers(self) -> dict[str, Any]:
        """The keyword arguments of DecoderTiny."""
        return {
            "in_channels": self.latent_channels,
            "out_channels": 3,
            "num_blocks": self.blocks,
            "block_out_channels": (self.channels,) * len(self.blocks),
            "upsampling_scaling_factor": 2,
            "act_fn": "relu",
            "upsample_fn": "nearest",
        }


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    """The encoder of whisper-tiny."""

    mels: int = 80
    width: int = 384
    layers: int = 4
    heads: int = 6
    positions: int = 1500


@dataclass(frozen=True, slots=True)
class MuseTalkConfig:
    """One consistent set of shapes.

    Args:
        latent_px: the side of the square latent; the face is 8 times that.
    """

    name: str
    latent_px: int
    unet: UNetConfig
    decoder: DecoderConfig
    tiny_decoder: TinyDecoderConfig
    whisper: WhisperConfig

    @property
    def face_px(self) -> int:
        """The side of the square face that is decoded."""
        return self.latent_px * 2 ** (len(self.decoder.channels) - 1)

    @property
    def context_tokens(self) -> int:
        """Rows of one picture's audio features: 10 tokens times the encoder's hidden states."""
        return TOKENS_PER_PICTURE * (self.whisper.layers + 1)

    @property
    def first_row(self) -> int:
        """Face rows above this one are never pasted (104 of 256; MuseTalk's feathered mask begins at about 109)."""
        return self.face_px * 13 // 32


MUSETALK_V15 = MuseTalkConfig(
    name="musetalk-v1.5",
    latent_px=32,
    unet=UNetConfig(),
    decoder=DecoderConfig(),
    tiny_decoder=TinyDecoderConfig(),
    whisper=WhisperConfig(),
)

TINY = MuseTalkConfig(
    name="tiny",
    latent_px=16,
    unet=UNetConfig(channels=(16, 32, 48, 48), heads=2, context_width=32, groups=8),
    decoder=DecoderConfig(channels=(8, 16, 16, 24), groups=4),
    tiny_decoder=TinyDecoderConfig(channels=8, blocks=(2, 1, 1, 1)),
    whisper=WhisperConfig(width=32, layers=4, heads=2),
)
"""The same wiring, small enough for tests on a CPU."""
