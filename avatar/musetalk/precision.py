"""How exactly a CUDA card multiplies fp32 matrices, for the length of a `with` block.

TensorFloat-32 rounds the factors to 10 bits and adds in fp32: the same input gives nearly the same output whatever
else is in the batch, at half precision's speed or half of it. The plain reference never uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tensor_float32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TensorFloat-32 in matrix products and convolutions; on a CPU it has no effect."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
