"""Whether state dicts are those of a config: every name and every shape, with the file named that is wrong.

Imports diffusers, which takes seconds: for preparation, downloads and first starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from avatar.musetalk.config import MuseTalkConfig
from avatar.musetalk.reference import blank_models
from avatar.musetalk.weights import TINY_DECODER, UNET, VAE, WHISPER, ModelWeights, WeightsError
from avatar.musetalk.whisper import WhisperEncoder


def check_weights(weights: ModelWeights, config: MuseTalkConfig, folder: Path) -> None:
    """Compare with the models' own names and shapes.

    Args:
        folder: where they were read, for the message.

    Raises:
        WeightsError: a weight is missing, is not known, has another shape or is not a floating-point number.
    """
    unet, vae, tiny = blank_models(config, "meta")
    with torch.device("meta"):
        whisper = WhisperEncoder(config.whisper)
    _same(weights.unet, unet.state_dict(), folder / UNET[1])
    _same(weights.vae, vae.state_dict(), folder / VAE[0])
    _same(weights.whisper, whisper.state_dict(), folder / WHISPER[0])
    if weights.tiny_decoder is not None:
        _same(weights.tiny_decoder, tiny.state_dict(), folder / TINY_DECODER[0])


def _same(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or unknown:
        what = f"has no {missing[0]}" if missing else f"has {unknown[0]}, which the model does not know"
        raise WeightsError(
            f"{file} is of another model: it {what} ({len(missing)} missing, {len(unknown)} too many); delete it and "
            "its .safetensors, then run `mien download musetalk`"
        )
    for key, value in wanted.items():
        if given[key].shape != value.shape or not given[key].is_floating_point():
            raise WeightsError(
                f"{file} is of another model: {key} is {given[key].dtype} {tuple(given[key].shape)}, not "
                f"floating-point {tuple(value.shape)}; delete it and its .safetensors, then `mien download musetalk`"
            )
