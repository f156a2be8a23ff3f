"""Triton kernels for CUDA: group norm with SiLU over channels-last images, the residual sum, and the paste.

In and out: contiguous tensors whose channels lie innermost. What each computes is stated by the plain PyTorch beside
its caller (`layers.py`, `paste.py`), which is also what runs where Triton does not. This file is imported only when
wanted.

Group norm takes three passes, since a group of a large image does not fit into one program: mean and squared deviation
of each channel in each run of rows (exact within the run, so that no large numbers cancel), their merger into one scale
and offset a channel, and the application. A channel's pending bias is taken along for nothing.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_CHANNELS = 64
_BLOCK_ROWS = 128
_FUSE_MULTIPLY_ADD = True


@triton.jit
def _deviations(x, partial, rows, channels, block_rows: tl.constexpr, block_channels: tl.constexpr):
    picture, run, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel = part * block_channels + tl.arange(0, block_channels)
    row = run * block_rows + tl.arange(0, block_rows)
    inside = channel < channels
    place = (picture.to(tl.int64) * rows + row[:, None]) * channels + channel[None, :]
    value = tl.load(x + place, mask=inside[None, :], other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=0) / block_rows
    off = value - mean[None, :]
    out = (picture * tl.num_programs(1) + run).to(tl.int64) * 2 * channels + channel
    tl.store(partial + out, mean, mask=inside)
    tl.store(partial + out + channels, tl.sum(off * off, axis=0), mask=inside)


@triton.jit
def _coefficients(
    partial, weight, bias, shift, out, runs, channels, group_channels, eps,
    block_rows: tl.constexpr, block_runs: tl.constexpr, block_channels: tl.constexpr, shifted: tl.constexpr,
):  # fmt: skip
    picture, group = tl.program_id(0), tl.program_id(1)
    lane = tl.arange(0, block_channels)
    inside = lane < group_channels
    channel = group * group_channels + lane
    pending = tl.load(shift + channel, mask=inside, other=0.0) if shifted else tl.zeros([block_channels], tl.float32)
    base = partial + picture.to(tl.int64) * runs * 2 * channels
    total = tl.zeros([block_channels], tl.float32)
    for first in range(0, runs, block_runs):
        run = first + tl.arange(0, block_runs)
        there = (run < runs)[:, None] & inside[None, :]
        means = tl.load(base + run[:, None] * 2 * channels + channel[None, :], mask=there, other=0.0)
        total += tl.sum(means, axis=0)
    mean = tl.sum(total / runs + pending, axis=0) / group_channels
    squares = tl.zeros([block_channels], tl.float32)
    for first in range(0, runs, block_runs):
        run = first + tl.arange(0, block_runs)
        there = (run < runs)[:, None] & inside[None, :]
        at = base + run[:, None] * 2 * channels + channel[None, :]
        off = tl.load(at, mask=there, other=0.0) + pending[None, :] - mean
        within = tl.load(at + channels, mask=there, other=0.0)
        squares += tl.sum(tl.where(there, within + block_rows * off * off, 0.0), axis=0)
    variance = tl.sum(tl.where(inside, squares, 0.0), axis=0) / (group_channels * runs * block_rows).to(tl.float32)
    scale = tl.load(weight + channel, mask=inside, other=0.0) * (1.0 / tl.sqrt(variance + eps))
    offset = tl.load(bias + channel, mask=inside, other=0.0) + (pending - mean) * scale
    at = out + picture.to(tl.int64) * 2 * channels + channel
    tl.store(at, scale, mask=inside)
    tl.store(at + channels, offset, mask=inside)


@triton.jit
def _apply(
    x, coefficients, y, rows, channels,
    block_rows: tl.constexpr, block_channels: tl.constexpr, silu: tl.constexpr,
):  # fmt: skip
    picture, run, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel = part * block_channels + tl.arange(0, block_channels)
    row = run * block_rows + tl.arange(0, block_rows)
    inside = channel < channels
    at = coefficients + picture.to(tl.int64) * 2 * channels + channel
    scale = tl.load(at, mask=inside, other=0.0)
    offset = tl.load(at + channels, mask=inside, other=0.0)
    place = (picture.to(tl.int64) * rows + row[:, None]) * channels + channel[None, :]
    value = tl.load(x + place, mask=inside[None, :], other=0.0).to(tl.float32) * scale[None, :] + offset[None, :]
    if silu:
        value = value / (1.0 + tl.exp(-value))
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside[None, :])


@triton.jit
def _add(x, h, shift, y, total, channels, block: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < total
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(h + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(shift + place % channels, mask=inside, other=0.0)
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


def group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, groups: int, eps: float, silu: bool
) -> Tensor:
    """Group norm of ``x + shift``, then SiLU where wanted; fp32 inside.

    Args:
        x: [batch, channels, height, width], channels-last; height * width is a power of two or a multiple of 128.
        weight, bias, shift: fp32 [channels].
    """
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    rows = height * width
    block_rows = min(rows & -rows, _BLOCK_ROWS)
    runs = rows // block_rows
    partial = torch.empty(batch, runs, 2, channels, device=x.device)
    coefficients = torch.empty(batch, 2, channels, device=x.device)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    grid = (batch, runs, triton.cdiv(channels, _BLOCK_CHANNELS))
    _deviations[grid](x, partial, rows, channels, block_rows, _BLOCK_CHANNELS, enable_fp_fusion=_FUSE_MULTIPLY_ADD)
    _coefficients[(batch, groups)](
        partial, weight, bias, weight if shift is None else shift, coefficients, runs, channels, channels // groups,
        eps, block_rows, 32, triton.next_power_of_2(channels // groups), shift is not None,
        enable_fp_fusion=_FUSE_MULTIPLY_ADD,
    )  # fmt: skip
    _apply[grid](
        x, coefficients, y, rows, channels, block_rows, _BLOCK_CHANNELS, silu, enable_fp_fusion=_FUSE_MULTIPLY_ADD
    )
    return y


def add(x: Tensor, h: Tensor, shift: Tensor) -> Tensor:
    """``x + h + shift``, the shift by channel (fp32), all channels-last."""
    x, h = (value.contiguous(memory_format=torch.channels_last) for value in (x, h))
    y = torch.empty_like(x, memory_format=torch.channels_last)
    block = 1024
    _add[(triton.cdiv(x.numel(), block),)](
        x, h, shift, y, x.numel(), x.shape[1], block, enable_fp_fusion=_FUSE_MULTIPLY_ADD
    )
    return y


@triton.jit
def _luma(red, green, blue):
    return 16.0 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0


@triton.jit
def _round(value):
    return tl.floor(value + 0.5)


@triton.jit
def _tap(face, side, row, column, plane, there):
    return tl.load(face + (row * side + column) * 3 + plane, mask=there, other=0).to(tl.float32)


@triton.jit
def _sample(face, side, row0, row1, column0, column1, down, right, plane, there):
    above = _tap(face, side, row0, column0, plane, there) * (1 - right)
    above += _tap(face, side, row0, column1, plane, there) * right
    below = _tap(face, side, row1, column0, plane, there) * (1 - right)
    below += _tap(face, side, row1, column1, plane, there) * right
    return _round(above * (1 - down) + below * down)


@triton.jit
def _paste(faces, places, out, side: tl.constexpr, block: tl.constexpr):
    picture = tl.program_id(0)
    at = places + picture * 8
    patch = tl.load(at).to(tl.pointer_type(tl.uint8))
    left, top = tl.load(at + 1).to(tl.int32), tl.load(at + 2).to(tl.int32)
    box_width, box_height = tl.load(at + 3).to(tl.int32), tl.load(at + 4).to(tl.int32)
    width, height = tl.load(at + 5).to(tl.int32), tl.load(at + 6).to(tl.int32)
    target = out + tl.load(at + 7)
    face = faces + picture.to(tl.int64) * side * side * 3

    quad = tl.program_id(1) * block + tl.arange(0, block)
    there = quad < (width // 2) * (height // 2)
    row, column = quad // (width // 2), quad % (width // 2)
    size = width * height
    u_body = tl.load(patch + size + quad, mask=there, other=0).to(tl.float32)
    v_body = tl.load(patch + size + size // 4 + quad, mask=there, other=0).to(tl.float32)
    u_sum = tl.zeros([block], tl.float32)
    v_sum = tl.zeros([block], tl.float32)
    for corner in tl.static_range(4):
        y = row * 2 + corner // 2
        x = column * 2 + corner % 2
        v = (y + top + 0.5) * side / box_height - 0.5
        u = (x + left + 0.5) * side / box_width - 0.5
        v = tl.minimum(tl.maximum(v, 0.0), side - 1.0)
        u = tl.minimum(tl.maximum(u, 0.0), side - 1.0)
        row0, column0 = v.to(tl.int32), u.to(tl.int32)
        row1, column1 = tl.minimum(row0 + 1, side - 1), tl.minimum(column0 + 1, side - 1)
        down, right = v - row0, u - column0
        red = _sample(face, side, row0, row1, column0, column1, down, right, 0, there)
        green = _sample(face, side, row0, row1, column0, column1, down, right, 1, there)
        blue = _sample(face, side, row0, row1, column0, column1, down, right, 2, there)
        share = tl.load(patch + size + size // 2 + y * width + x, mask=there, other=0).to(tl.float32) / 255.0
        y_body = tl.load(patch + y * width + x, mask=there, other=0).to(tl.float32)
        luma = y_body + share * (_luma(red, green, blue) - y_body)
        tl.store(target + y * width + x, _round(luma).to(tl.uint8), mask=there)
        u_sum += share * (128.0 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255.0 - u_body)
        v_sum += share * (128.0 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255.0 - v_body)
    tl.store(target + size + quad, _round(u_body + u_sum / 4).to(tl.uint8), mask=there)
    tl.store(target + size + size // 4 + quad, _round(v_body + v_sum / 4).to(tl.uint8), mask=there)


def paste(faces: Tensor, places: Tensor, out: Tensor, largest_px: int) -> None:
    """Paste each face into its own patch and write the patch as I420.

    Args:
        faces: uint8 [batch, side, side, 3], RGB.
        places: int64 [batch, 8]: the patch's address, its left and top edge from the face box's, the box's width and
        height,
            the patch's width and height (even), and where in ``out`` it goes.
        out: uint8 [any], flat.
        largest_px: the largest patch's width * height.
    """
    block = 128
    grid = (faces.shape[0], triton.cdiv(largest_px // 4, block))
    _paste[grid](faces, places, out, faces.shape[1], block, enable_fp_fusion=_FUSE_MULTIPLY_ADD)
