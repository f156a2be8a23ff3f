"""The trained ear's numbers, from the file in this package: read without pickle, their shapes and sizes checked.

Made by ``python -m training.mouth``; see training/mouth/README.md for what from.
"""

from __future__ import annotations

import functools
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avatar.frames import MienError
from avatar.puppet.spectrum import MELS

Floats = npt.NDArray[np.float32]

SHIPPED = Path(__file__).with_name("ear.npz")
LARGEST_BYTES = 2_000_000
KERNEL_1, KERNEL_2 = 5, 3
OUTPUTS = 8
LARGEST_LAYER = 512
LARGEST_WEIGHT = 100.0
"""Trained weights are about 1; far larger ones would only overflow."""


class WeightsError(MienError):
    """The weights cannot be used: which file, what is wrong with it."""


@dataclass(frozen=True, eq=False, slots=True)
class Weights:
    """float32, for row vectors: y = x @ w + b.

    Args:
        first_w: [KERNEL_1 * MELS, channels], oldest frame first; first_b: [channels].
        second_w: [KERNEL_2 * channels, channels]; second_b: [channels].
        input_w: [channels, 3 * hidden] (reset, update, new, in torch's order); input_b: [3 * hidden].
        hidden_w: [hidden, 3 * hidden]; hidden_b: [3 * hidden].
        dense_w: [hidden, dense]; dense_b: [dense].
        head_w: [dense, OUTPUTS]; head_b: [OUTPUTS].
    """

    first_w: Floats
    first_b: Floats
    second_w: Floats
    second_b: Floats
    input_w: Floats
    input_b: Floats
    hidden_w: Floats
    hidden_b: Floats
    dense_w: Floats
    dense_b: Floats
    head_w: Floats
    head_b: Floats

    @property
    def channels(self) -> int:
        return len(self.first_b)

    @property
    def hidden(self) -> int:
        return len(self.hidden_b) // 3


@functools.lru_cache(maxsize=2)
def load_weights(path: Path = SHIPPED) -> Weights:
    """Read and check a weights file; remembered, and shared by all who hear.

    Raises:
        WeightsError: it is not there, too large, no such file, or holds other than it must.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise WeightsError(f"{path} is too large for the mouth's weights: more than {LARGEST_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > 2 * LARGEST_BYTES:
            raise WeightsError(f"{path} unpacks to {unpacked} bytes, too much for the mouth's weights")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"cannot read the mouth's weights from {path}: {error}") from error
    return _checked(arrays, path)


def _checked(arrays: dict[str, npt.NDArray[np.generic]], path: Path) -> Weights:
    names = {field.name for field in fields(Weights)}
    if set(arrays) != names:
        raise WeightsError(f"{path} does not hold the mouth's weights: {sorted(set(arrays) ^ names)} should not differ")
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32) or array.ndim != (2 if name.endswith("_w") else 1):
            raise WeightsError(f"{path}: {name} is {array.dtype} {array.shape}, not a float matrix or vector")
        if not np.all(np.isfinite(array)) or float(np.abs(array.astype(np.float32)).max(initial=0.0)) > LARGEST_WEIGHT:
            raise WeightsError(f"{path}: {name} holds numbers that are not finite or beyond ±{LARGEST_WEIGHT}")
    channels, hidden, dense = (len(arrays[name]) for name in ("first_b", "hidden_w", "dense_b"))
    if not all(0 < size <= LARGEST_LAYER for size in (channels, hidden, dense)):
        raise WeightsError(
            f"{path}: layers of {channels}, {hidden} and {dense} are out of bounds (1 to {LARGEST_LAYER})"
        )
    expected: dict[str, tuple[int, ...]] = {
        "first_w": (KERNEL_1 * MELS, channels), "first_b": (channels,),
        "second_w": (KERNEL_2 * channels, channels), "second_b": (channels,),
        "input_w": (channels, 3 * hidden), "input_b": (3 * hidden,),
        "hidden_w": (hidden, 3 * hidden), "hidden_b": (3 * hidden,),
        "dense_w": (hidden, dense), "dense_b": (dense,), "head_w": (dense, OUTPUTS), "head_b": (OUTPUTS,),
    }  # fmt: skip
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise WeightsError(f"{path}: {name} has the shape {arrays[name].shape}, not {shape}")
    return Weights(**{name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
