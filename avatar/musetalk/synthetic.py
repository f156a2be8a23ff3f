"""Random weights of the true shapes, for measuring and for tests where the real ones are absent.

In: shapes and a seed. Out: state dicts by the same names as the real files'. Products keep the variance of what goes
in, so that activations stay sane at any depth; the two outputs are scaled so that latents and images have about the
spread of real ones. They say nothing about how a face looks, and rounding errors may weigh more or less than with
trained weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avatar.musetalk.config import MuseTalkConfig, TinyDecoderConfig
from avatar.musetalk.precision import tensor_float32
from avatar.musetalk.weights import ModelWeights
from avatar.musetalk.whisper import WhisperEncoder

LATENT_SPREAD = 0.9
"""Standard deviation of real latents, as scaled for the UNet."""
IMAGE_SPREAD = 0.5


def synthetic_weights(config: MuseTalkConfig, seed: int = 0, device: torch.device | str = "cpu") -> ModelWeights:
    """All four models' weights, fp32, on ``device``; the same for the same seed, config and kind of device."""
    from avatar.musetalk.reference import Reference, blank_models

    unet, vae, tiny = blank_models(config, "meta")
    with torch.device("meta"):
        whisper = WhisperEncoder(config.whisper)
    generator = torch.Generator(device).manual_seed(seed)
    states = [*(_fill(module, generator) for module in (unet, vae, tiny)), fill_whisper(whisper, generator)]
    for state in states[:2]:
        for key in [key for key in state if key.endswith(_RESIDUAL_ENDS)]:
            state[key] *= 0.5  # or else the sum over many blocks drowns what came first
    weights = ModelWeights(unet=states[0], vae=states[1], tiny_decoder=states[2], whisper=states[3])

    # One pass through the plain path tells how far the outputs spread.
    reference = Reference(config, weights, "exact", device)
    avatar = torch.randn(
        2, config.unet.in_channels, config.latent_px, config.latent_px, generator=generator, device=device
    )
    audio = torch.randn(2, config.context_tokens, config.whisper.width, generator=generator, device=device)
    with tensor_float32(False):
        latents = reference.latents(LATENT_SPREAD * avatar, audio)
        _rescale(states[0], "conv_out", latents, LATENT_SPREAD)
        latents = (latents - latents.mean((0, 2, 3), keepdim=True)) * (LATENT_SPREAD / latents.std())
        _rescale(states[1], "decoder.conv_out", reference.image(latents), IMAGE_SPREAD)
        small = (Reference(config, weights, "tiny", device).image(latents) + 1) / 2  # TAESD's own lie in 0..1
    _rescale(states[2], _last_layer(config.tiny_decoder), small, IMAGE_SPREAD / 2)
    states[2][f"{_last_layer(config.tiny_decoder)}.bias"] += 0.5
    return weights


def fill_whisper(encoder: WhisperEncoder, generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights for the speech encoder alone; its positions are Whisper's own sinusoids."""
    state = _fill(encoder, generator)
    sinusoids = _sinusoids(encoder.config.positions, encoder.config.width)
    return {**state, "embed_positions.weight": sinusoids.to(generator.device)}


_RESIDUAL_ENDS = ("conv2.weight", "to_out.0.weight", "net.2.weight")


def _last_layer(config: TinyDecoderConfig) -> str:
    return f"layers.{2 + sum(config.blocks) + 2 * (len(config.blocks) - 1)}"


def _rescale(state: dict[str, Tensor], name: str, out: Tensor, spread: float) -> None:
    """Scale the last convolution so that what it gives has mean 0 and the wanted spread."""
    factor = spread / float(out.std())
    state[f"{name}.weight"] *= factor
    state[f"{name}.bias"] = (state[f"{name}.bias"] - out.mean((0, 2, 3))) * factor


def _fill(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    state = {}
    for name, shape in ((name, tuple(value.shape)) for name, value in module.state_dict().items()):
        if len(shape) > 1:
            fan_in = math.prod(shape[1:])
            value = torch.randn(shape, generator=generator, device=generator.device) / math.sqrt(fan_in)
        elif name.endswith("weight"):
            value = 1 + 0.1 * torch.randn(shape, generator=generator, device=generator.device)
        else:
            value = 0.1 * torch.randn(shape, generator=generator, device=generator.device)
        state[name] = value
    return state


def _sinusoids(positions: int, width: int) -> Tensor:
    """Whisper's positions: sines, then cosines, of geometrically spaced rates."""
    rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(positions)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
