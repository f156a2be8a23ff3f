"""Whisper's ear, for any length and place: samples -> log-mel frames -> the encoder's stacked hidden states.

The mathematics and the weights are openai/whisper-tiny's; the stock encoder takes 30 s and nothing else. Here a stretch
of tokens is computed from just the frames it hears, at its true positions, and several stretches of different length
share a batch. Knows nothing of segments, blocks or arrival.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.frames import SPEECH_RATE_HZ
from avatar.musetalk.config import WhisperConfig
from avatar.musetalk.precision import tensor_float32
from avatar.musetalk.windows import MEL_HOP_SAMPLES, MEL_REACH_SAMPLES, SPAN_MELS

FFT_SAMPLES = 2 * MEL_REACH_SAMPLES
MEL_RANGE = 8.0
"""Log-mel values below the loudest one minus 8 (80 dB) are raised to that."""
_FLOOR = 1e-10
_SILENCE = -10.0
_STRETCH_TOKENS = 64
"""Stretches that share a batch are padded to a multiple of this, so that few sizes occur."""


def mel_filters(mels: int) -> Tensor:
    """Slaney's mel filters: [FFT_SAMPLES // 2 + 1, mels], area-normalised, 0 to 8 kHz (librosa's and Whisper's)."""
    bins_hz = np.linspace(0.0, SPEECH_RATE_HZ / 2, FFT_SAMPLES // 2 + 1)
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SPEECH_RATE_HZ / 2), mels + 2))
    low, middle, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - low) / (middle - low)
    falling = (high - bins_hz) / (high - middle)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return torch.from_numpy(np.ascontiguousarray(triangles.T)).float()


_LINEAR_HZ_PER_MEL = 200.0 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ_PER_MEL if hz < _LOG_FROM_HZ else _LOG_FROM_MEL + math.log(hz / _LOG_FROM_HZ) / _LOG_STEP


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel < _LOG_FROM_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)


class LogMel(nn.Module):
    """Samples to log-mel frames without the floor that depends on the loudest frame."""

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(mels), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES, periodic=True), persistent=False)
        self.filters: Tensor
        self.window: Tensor

    def forward(self, pieces: Tensor) -> Tensor:
        """[frames, FFT_SAMPLES] of samples in -1..1 to [frames, mels], log10 of power, at least -10."""
        power = torch.fft.rfft(pieces * self.window).abs().square()
        return (power @ self.filters).clamp(min=_FLOOR).log10()


def frame_pieces(samples: npt.NDArray[np.float32], start: int, stop: int) -> npt.NDArray[np.float32]:
    """The samples under mel frames ``start`` to ``stop`` of a span: [stop - start, FFT_SAMPLES].

    Frame k lies over samples 160 k - 200 to 160 k + 200; beyond the ends of ``samples`` the sound is mirrored, as in
    the original. The caller asks for the last frames only when ``samples`` is a whole span.
    """
    low = start * MEL_HOP_SAMPLES - MEL_REACH_SAMPLES
    high = (stop - 1) * MEL_HOP_SAMPLES + MEL_REACH_SAMPLES
    inner = samples[max(0, low) : high]
    padded = np.pad(inner, (max(0, -low), max(0, high - len(samples))), mode="reflect") if len(inner) else inner
    return np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::MEL_HOP_SAMPLES]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Tokens ``start`` to ``stop`` of a span, to be computed together; they attend to each other and nothing else.

    Args:
        mels: [frames, mels], the span's log-mel frames from 0 on. Frames that the stretch would hear within the span
        and
            that are not given count as silence.
        loudest: scalar tensor, the largest value of the frames that may have a say.
    """

    start: int
    stop: int
    mels: Tensor
    loudest: Tensor

    def heard(self, frames: int) -> Tensor:
        """What the convolutions hear, 2 frames before the first token to 2 after the last: [frames, mels].

        Frames before the span and after it are zeros, as the convolutions' own padding is; those after the stretch,
        which only a longer one in the same batch has, are never heard.
        """
        first, last = 2 * self.start - 2, 2 * self.stop + 1
        taken = self.mels[max(0, first) : last]
        silent = min(last, SPAN_MELS) - max(0, first) - len(taken)
        taken = functional.pad(taken, (0, 0, 0, silent), value=_SILENCE)
        level = (torch.maximum(taken, self.loudest - MEL_RANGE) + 4.0) / 4.0
        before = max(0, -first)
        return functional.pad(level, (0, 0, before, frames - before - len(level)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        q, k, v = (project(x).view(shape).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = _Attention(width, heads)
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        grown = functional.gelu(self.fc1(self.final_layer_norm(x)))
        out: Tensor = x + self.fc2(grown)
        return out


class WhisperEncoder(nn.Module):
    """whisper-tiny's encoder; its parameters carry the names of transformers' WhisperEncoder."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.mels)
        self.conv1 = nn.Conv1d(config.mels, config.width, kernel_size=3)
        self.conv2 = nn.Conv1d(config.width, config.width, kernel_size=3, stride=2)
        self.embed_positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(_Layer(config.width, config.heads) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.width)

    @property
    def device(self) -> torch.device:
        return self.conv1.weight.device

    @torch.inference_mode()
    def encode(self, stretches: Sequence[Stretch]) -> list[Tensor]:
        """All hidden states of each stretch: [tokens, layers + 1, width], the last one after the final norm.

        Alone in its call a stretch is computed at its own length; together, all are padded to one length and the
        padding is masked out.
        """
        lengths = [stretch.stop - stretch.start for stretch in stretches]
        longest = max(lengths)
        if len(stretches) > 1:
            longest = min(self.config.positions, -(-longest // _STRETCH_TOKENS) * _STRETCH_TOKENS)
        heard = torch.stack([stretch.heard(2 * longest + 3) for stretch in stretches])
        starts = torch.tensor([stretch.start for stretch in stretches]).to(self.device, non_blocking=True)
        mask = None
        if any(length != longest for length in lengths):
            within = torch.arange(longest) < torch.tensor(lengths)[:, None]
            mask = within[:, None, None, :].to(self.device, non_blocking=True)
        states = self(heard, starts, mask)
        return [states[row, :length] for row, length in enumerate(lengths)]

    def forward(self, heard: Tensor, starts: Tensor, mask: Tensor | None = None) -> Tensor:
        """[batch, 2 * tokens + 3, mels], first positions [batch], key mask -> [batch, tokens, layers + 1, width]."""
        with tensor_float32(heard.is_cuda):
            x = functional.gelu(self.conv1(heard.transpose(1, 2)))
            # Before the span there is nothing: the original pads the second convolution with zeros there.
            first = (starts > 0).to(x.dtype)[:, None, None]
            x = torch.cat([x[:, :, :1] * first, x[:, :, 1:]], dim=2)
            x = functional.gelu(self.conv2(x)).transpose(1, 2)
            places = starts[:, None] + torch.arange(x.shape[1], device=x.device)
            x = x + self.embed_positions(places.clamp(max=self.config.positions - 1))
            states = [x]
            for layer in self.layers:
                x = layer(x, mask)
                states.append(x)
            states[-1] = self.layer_norm(x)
            return torch.stack(states, dim=2)
