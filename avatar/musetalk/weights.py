"""Weights in: files or a seed. Out: state dicts by diffusers' names, read strictly, every key accounted for.

Files are safetensors, or PyTorch's own read with ``weights_only=True``; nothing here unpickles objects. Where real
weights are absent, random ones of the same shapes serve for measuring and for tests of equivalence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.frames import MienError

State = Mapping[str, Tensor]

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class WeightsError(MienError):
    """A weight file is missing, truncated, or not what it should be."""


class Weights:
    """A state dict that is used up: each weight is taken exactly once, and what is left over is an error."""

    def __init__(self, state: State, prefix: str = "", left: set[str] | None = None) -> None:
        self._state = state
        self._prefix = prefix
        self._left = set(state) if left is None else left

    def at(self, name: str) -> Weights:
        """The same weights, seen from below ``name``."""
        return Weights(self._state, f"{self._prefix}{name}.", self._left)

    def has(self, name: str) -> bool:
        return self._prefix + name in self._state

    def take(self, name: str) -> Tensor:
        """One weight, fp32."""
        key = self._prefix + name
        if key not in self._left:
            raise WeightsError(
                f"the weights have no {key}: they belong to another model"
                if key not in self._state
                else f"{key} was taken twice"
            )
        self._left.remove(key)
        return self._state[key].detach().float()

    def finish(self) -> None:
        if self._left:
            some = ", ".join(sorted(self._left)[:3])
            raise WeightsError(f"{len(self._left)} weights belong to no part of the model, such as {some}")


@dataclass(frozen=True, slots=True, eq=False)
class ModelWeights:
    """What the core is built from: state dicts of diffusers' UNet2DConditionModel, AutoencoderKL and DecoderTiny and of
    transformers' WhisperEncoder. ``tiny_decoder`` is needed by the tier of that name only.
    """

    unet: State
    vae: State
    whisper: State
    tiny_decoder: State | None = None


def read_state(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` file or a PyTorch file.

    Raises:
        WeightsError: missing, truncated, or holding anything but tensors by name.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: download them first")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path, device=device)
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # each format raises its own kinds for a damaged file
        raise WeightsError(f"{path} cannot be read ({error}): delete it and download it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict: delete it and download it again")
    return state


def vae_state(state: State) -> dict[str, Tensor]:
    """AutoencoderKL's weights with the attention's old names (query, key, value, proj_attn) made new."""
    renamed = {}
    for key, value in state.items():
        match = re.fullmatch(r"(.*attentions\.\d+\.)(query|key|value|proj_attn)(\..*)", key)
        new = f"{match[1]}{_OLD_ATTENTION[match[2]]}{match[3]}" if match else key
        # The oldest files hold these products as 1x1 convolutions.
        renamed[new] = value.flatten(1) if re.search(r"\.to_(q|k|v|out\.0)\.weight$", new) else value
    return renamed


def whisper_state(state: State) -> dict[str, Tensor]:
    """The encoder's weights out of a whole Whisper model's, by transformers' names."""
    for prefix in ("model.encoder.", "encoder."):
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if own:
            return own
    return dict(state)


def tiny_decoder_state(state: State) -> dict[str, Tensor]:
    """DecoderTiny's weights out of a whole AutoencoderTiny's."""
    own = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
    return own or dict(state)


def load_weights(folder: Path, *, tiny: bool = False, device: str = "cpu") -> ModelWeights:
    """The weights as MuseTalk's download leaves them, below ``folder``.

    Files: ``musetalkV15/unet.pth``, ``sd-vae/diffusion_pytorch_model.{safetensors,bin}``,
    ``whisper/{model.safetensors,pytorch_model.bin}`` and, for the tiny tier,
    ``taesd/diffusion_pytorch_model.safetensors``.
    """

    def read(*names: str) -> dict[str, Tensor]:
        return read_state(
            next((folder / name for name in names if (folder / name).is_file()), folder / names[0]), device
        )

    small = ("taesd/diffusion_pytorch_model.safetensors", "taesd/diffusion_pytorch_model.bin")
    return ModelWeights(
        unet=read("musetalkV15/unet.safetensors", "musetalkV15/unet.pth"),
        vae=vae_state(read("sd-vae/diffusion_pytorch_model.safetensors", "sd-vae/diffusion_pytorch_model.bin")),
        whisper=whisper_state(read("whisper/model.safetensors", "whisper/pytorch_model.bin")),
        tiny_decoder=tiny_decoder_state(read(*small)) if tiny else None,
    )
