"""How near one set of pictures is to another: PSNR, SSIM, sharpness, and differences of tensors. Arrays in, numbers
out.

These are what the tiny decoder is reported by against the exact one, and what every optimisation must pass against the
plain fp32 path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Pictures = npt.NDArray[np.uint8]
"""uint8 [n, height, width] of luma or [n, height, width, 3]."""

MOUTH_PSNR_DB = 45.0
"""The least for an optimisation of the exact decoder, over the half of the face that is generated."""
MOUTH_LARGEST_LEVELS = 24
"""No value of the generated half may be off by more than this, of 255."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Against a reference.

    Args:
        psnr_db: infinite when equal.
        ssim: mean structural similarity, 11 x 11 Gaussian windows.
        sharpness: energy of the Laplacian over the reference's; 1 is as sharp.
        largest: the largest difference, levels of 255.
    """

    psnr_db: float
    ssim: float
    sharpness: float
    largest: int

    @property
    def passes(self) -> bool:
        """The gate for the exact tier."""
        return self.psnr_db >= MOUTH_PSNR_DB and self.largest <= MOUTH_LARGEST_LEVELS


def as_dict(value: Fidelity) -> dict[str, float]:
    """For a report: rounded, and 999 dB where equal."""
    return {
        "psnr, dB": round(min(value.psnr_db, 999.0), 2),
        "ssim": round(value.ssim, 5),
        "sharpness": round(value.sharpness, 4),
        "largest difference of 255": value.largest,
    }


def compare(pictures: Pictures, reference: Pictures) -> Fidelity:
    """All measures of ``pictures`` against ``reference``, same shapes."""
    if pictures.shape != reference.shape:
        raise ValueError(f"pictures of {pictures.shape} cannot be compared with {reference.shape}")
    one, two = _planes(pictures), _planes(reference)
    difference = one - two
    mean_square = float(difference.square().mean())
    return Fidelity(
        psnr_db=math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square),
        ssim=_ssim(one, two),
        sharpness=_detail(one) / max(_detail(two), 1e-12),
        largest=int(difference.abs().max()),
    )


def mouth(faces: Pictures) -> Pictures:
    """The generated half of square faces [n, side, side, 3]: the lower one."""
    return faces[:, faces.shape[1] // 2 :]


def relative_l2(value: Tensor, reference: Tensor) -> float:
    """Norm of the difference over the reference's norm."""
    return float((value.double() - reference.double()).norm() / reference.double().norm())


def snr_db(value: Tensor, reference: Tensor) -> float:
    """The same in decibels; infinite when equal."""
    off = relative_l2(value, reference)
    return math.inf if off == 0 else -20 * math.log10(off)


def _planes(pictures: Pictures) -> Tensor:
    value = torch.from_numpy(pictures.astype(np.float64))
    value = value[..., None] if value.ndim == 3 else value
    return value.permute(0, 3, 1, 2).flatten(0, 1)[:, None]


def _ssim(one: Tensor, two: Tensor) -> float:
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def mean(value: Tensor) -> Tensor:
        return functional.conv2d(value, window)

    mean1, mean2 = mean(one), mean(two)
    var1, var2 = mean(one * one) - mean1**2, mean(two * two) - mean2**2
    both = mean(one * two) - mean1 * mean2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        (((2 * mean1 * mean2 + c1) * (2 * both + c2)) / ((mean1**2 + mean2**2 + c1) * (var1 + var2 + c2))).mean()
    )


def _detail(value: Tensor) -> float:
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)[None, None]
    return float(functional.conv2d(value, kernel).square().mean())
