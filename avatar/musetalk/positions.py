"""Where in a picture's window of speech each row of its audio features stands."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def positions(tokens: int, width: int) -> Tensor:
    """The sinusoidal positions that MuseTalk adds to a picture's audio features: [tokens, width]."""
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angles = torch.arange(tokens).float()[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
