"""The Triton kernels where no card is: run by Triton's interpreter against PyTorch, and compiled for real cards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.media

_ROOT = Path(__file__).resolve().parents[2]

_INTERPRETED = """
import numpy as np, torch
from torch.nn import functional as F
from avatar.musetalk import kernels
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.paste import Patch, offsets, paste_one, places
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
def randn(*shape): return torch.randn(*shape, generator=generator)
def image(*shape): return (randn(*shape) * 2 + 50).contiguous(memory_format=torch.channels_last)
for batch, channels, side, groups in ((2, 80, 8, 8), (1, 48, 16, 4), (2, 24, 2, 8)):
    for shift in (None, 3 * randn(channels)):
        for silu in (True, False):
            x, weight, bias = image(batch, channels, side, side), randn(channels), randn(channels)
            y = kernels.group_norm(x, weight, bias, shift, groups, 1e-5, silu)
            moved = x.double() if shift is None else x.double() + shift.double()[:, None, None]
            expected = F.group_norm(moved, groups, weight.double(), bias.double(), 1e-5)
            expected = F.silu(expected) if silu else expected
            assert (y - expected).abs().max() < 5e-5, (batch, channels, side, groups)
x, h, shift = image(2, 24, 4, 4), image(2, 24, 4, 4), randn(24)
assert torch.equal(kernels.add(x, h, shift), x + h + shift[:, None, None])
random = np.random.default_rng(0)
patches, faces = [], torch.from_numpy(random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
for left, top, right, bottom in ((11, 7, 60, 71), (0, 0, 95, 79)):
    mask = random.integers(0, 256, (bottom - top, right - left), dtype=np.uint8)
    mask[: len(mask) // 2] = 0
    body = random.integers(16, 236, (120, 96), dtype=np.uint8)
    frame = AvatarFrame(body, (left, top, right, bottom), mask, np.zeros((8, 4, 4), np.float32))
    patches.append(Patch.of(frame, torch.device("cpu")))
starts = offsets(patches)
out = torch.zeros(starts[-1], dtype=torch.uint8)
kernels.paste(faces, places(patches, starts[:-1]), out, max(patch.part.area for patch in patches))
for face, patch, start in zip(faces, patches, starts):
    plain = torch.zeros(patch.size, dtype=torch.uint8)
    paste_one(face, patch, plain)
    off = (out[start : start + patch.size].int() - plain.int()).abs()
    assert off.max() <= 1 and (off > 0).float().mean() < 0.01
print("agreed")
"""

_COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from avatar.musetalk import kernels
def build(kernel, types, constants):
    # As at run time: pointers and sizes divisible by 16 are compiled as such, and a size of 1 as a constant.
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    for even in (False, True):
        divisible = {(n,): [["tt.divisibility", 16]] for n, name in enumerate(kernel.arg_names)
                     if even and (signature[name][0] == "*" or name in ("rows", "channels", "total"))}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=divisible)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
        assert len(compiled.asm["cubin"]) > 1000
        assert compiled.metadata.shared < 48 * 1024
size = {"rows": "i32", "channels": "i32"}
for block_rows in (16, 128):
    tile = {"block_rows": block_rows, "block_channels": 64}
    build(kernels._deviations, {"x": "*fp16", "partial": "*fp32", **size}, tile)
    for silu in (True, False):
        build(kernels._apply, {"x": "*fp16", "coefficients": "*fp32", "y": "*fp16", **size}, {**tile, "silu": silu})
tensors = {name: "*fp32" for name in ("partial", "weight", "bias", "shift", "out")}
merged = {**tensors, "channels": "i32", "group_channels": "i32", "eps": "fp32"}
widest = {"block_runs": 32, "block_channels": 128}
build(kernels._coefficients, {**merged, "runs": "i32"}, {**widest, "block_rows": 128, "shifted": True})
build(kernels._coefficients, merged, {**widest, "block_rows": 16, "shifted": False, "runs": 1})
build(kernels._add, {"x": "*fp16", "h": "*fp16", "shift": "*fp32", "y": "*fp16", "total": "i32", "channels": "i32"},
      {"block": 1024})
build(kernels._paste, {"faces": "*u8", "places": "*i64", "out": "*u8"}, {"side": 256, "block": 128})
print("compiled")
"""


def _run(script: str, **environment: str) -> str:
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA builds")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_interpreter_agrees_with_pytorch() -> None:
    assert _run(_INTERPRETED, TRITON_INTERPRET="1") == "agreed"


def test_every_kernel_compiles_for_a_card(tmp_path: Path) -> None:
    """Through ptxas for compute capability 9.0, without one; nothing of an earlier run is taken from the cache."""
    assert _run(_COMPILED, TRITON_CACHE_DIR=str(tmp_path)) == "compiled"
