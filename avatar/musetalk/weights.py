"""Weights in: files or a seed. Out: state dicts by diffusers' names, read strictly, every key accounted for.

Files are safetensors, or PyTorch's own read with ``weights_only=True``; nothing here unpickles objects. PyTorch files
are converted once: the safetensors beside them, which says what it was made of, is read from then on. Where real
weights are absent, random ones of the same shapes serve for measuring and for tests of equivalence.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.frames import MienError
from avatar.musetalk.config import MuseTalkConfig

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]

UNET = ("musetalkV15/unet.safetensors", "musetalkV15/unet.pth")
VAE = ("sd-vae/diffusion_pytorch_model.safetensors", "sd-vae/diffusion_pytorch_model.bin")
WHISPER = ("whisper/model.safetensors", "whisper/pytorch_model.bin")
TINY_DECODER = ("taesd/diffusion_pytorch_model.safetensors", "taesd/diffusion_pytorch_model.bin")
"""Each model's file below the weights' folder: the first, or else the second."""
SOURCE = "mien-converted-from"
"""Metadata of a safetensors file that was converted here: its source's name, length and time."""

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
        raise WeightsError(f"no weights at {path}: fetch them with `mien download musetalk` (MIEN_WEIGHTS_DIR)")
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


def missing_weights(folder: Path, *, tiny: bool = False) -> list[str]:
    """Which files of `load_weights` are not there, by their names below ``folder``; none: they can be loaded."""
    wanted = (UNET, VAE, WHISPER, *((TINY_DECODER,) if tiny else ()))
    return [names[-1] for names in wanted if not any((folder / name).is_file() for name in names)]


def load_weights(
    folder: Path, *, tiny: bool = False, device: str = "cpu", config: MuseTalkConfig | None = None
) -> ModelWeights:
    """The weights as `mien download musetalk`, or MuseTalk's own download, leaves them below ``folder``.

    Files: ``musetalkV15/unet.pth``, ``sd-vae/diffusion_pytorch_model.{safetensors,bin}``,
    ``whisper/{model.safetensors,pytorch_model.bin}`` and, for the tiny tier,
    ``taesd/diffusion_pytorch_model.safetensors``.

    Args:
        config: names and shapes are compared with it, and the file is named that does not fit; without, whoever builds
            from the weights finds out (each of them reads strictly).

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """

    weights = ModelWeights(
        unet=_read(folder, UNET, device),
        vae=load_vae(folder, device),
        whisper=whisper_state(_read(folder, WHISPER, device)),
        tiny_decoder=tiny_decoder_state(_read(folder, TINY_DECODER, device)) if tiny else None,
    )
    if config is not None:
        from avatar.musetalk.weights_check import check_weights

        check_weights(weights, config, folder)
    return weights


def load_vae(folder: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The image model alone, which is all that preparing an identity needs.

    Raises:
        WeightsError: it is missing or damaged.
    """
    return vae_state(_read(folder, VAE, device))


def _read(folder: Path, names: tuple[str, str], device: str) -> dict[str, Tensor]:
    """The safetensors where it is somebody's own or was made of the other as that is now; else the other, which is then
    converted."""
    cache, source = folder / names[0], folder / names[1]
    if not source.is_file():
        return read_state(cache if cache.is_file() else source, device)
    made_of = _made_of(source)
    told = _told_source(cache) if cache.is_file() else ""
    if told is None:
        return read_state(cache, device)
    if told == made_of:
        try:
            return read_state(cache, device)
        except WeightsError:
            log.warning("%s is damaged: made again of %s", cache, source)
    state = read_state(source, device)
    _keep(state, cache, made_of)
    return state


def _made_of(source: Path) -> str:
    about = source.stat()
    return f"{source.name} {about.st_size} {about.st_mtime_ns}"


def _told_source(cache: Path) -> str | None:
    """What a safetensors file says it was converted from; None for those that were not, nothing for damaged ones."""
    from safetensors import safe_open

    try:
        with safe_open(cache, framework="pt") as opened:
            told: str | None = (opened.metadata() or {}).get(SOURCE)
            return told
    except Exception:  # damaged files, in the library's own kinds of errors: reading the whole says what is wrong
        return ""


def _keep(state: Mapping[str, Tensor], cache: Path, made_of: str) -> None:
    """Write the safetensors whole or not at all; a folder that is not ours to write costs time at each start alone."""
    from safetensors.torch import save_file

    try:
        handle, name = tempfile.mkstemp(prefix=f".{cache.name}.", dir=cache.parent)
        os.close(handle)
        try:
            # Tensors that share memory cannot be written as they are.
            save_file({key: value.cpu().clone() for key, value in state.items()}, name, metadata={SOURCE: made_of})
            Path(name).chmod(0o644)
            Path(name).replace(cache)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be kept (%s): it is read again from PyTorch's file at each start", cache, error)
