"""A segment's speech in as it comes, each picture's audio features out, a block of pictures at a time.

Out: [pictures, 10 tokens * 5 hidden states, width], time first, then layer, as MuseTalk's UNet takes it (the positional
encoding is added later, by the core). Each block is computed from audio that ends exactly at its own lookahead, frame
by frame the same work in the same order whatever the arrival, so a picture's features are a function of the audio
alone. Knows nothing of conversations, deadlines or pictures' looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatar.frames import TICK_SPEECH_SAMPLES, MienError, Pcm
from avatar.musetalk import windows
from avatar.musetalk.config import TOKENS_PER_PICTURE
from avatar.musetalk.whisper import Stretch, WhisperEncoder, frame_pieces
from avatar.musetalk.windows import SPAN_MELS, SPAN_SAMPLES, SPAN_TOKENS, Block


class FeaturesError(MienError):
    """The speech given to a feature stream does not fit what was said of it before."""


class Context(Enum):
    """How much of the past the encoder attends to."""

    PREFIX = "prefix"
    """Everything since the start of the span, at its true position: closest to MuseTalk. Costs grow up to 30 s."""
    PADDED = "padded"
    """The same, and then silence to the end of the 30 s, as MuseTalk hears speech that ends here. Always costs 30 s."""
    SLIDING = "sliding"
    """The last 3 s, at their true position: the same cost for ever."""


SLIDING_TOKENS = 150


@dataclass(eq=False, slots=True)
class _Span:
    """One 30-s span: its log-mel frames so far and the largest value among them."""

    mels: Tensor
    loudest: Tensor
    frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What the encoder has to do for one block: at most one stretch in each of two spans."""

    block: Block
    pieces: list[tuple[int, Stretch]] = field(default_factory=list)
    """(the stretch's first token, counted from the segment's start; the stretch)"""


class FeatureStream:
    """One segment. ``push`` and ``end`` only take in; ``ready`` says what could be computed; ``compute`` does it.

    Args:
        largest_block: see `windows.block`.
    """

    def __init__(
        self,
        encoder: WhisperEncoder,
        context: Context = Context.PADDED,
        largest_block: int = windows.LARGEST_BLOCK,
    ) -> None:
        self.encoder = encoder
        self._context = context
        self._largest_block = largest_block
        self._spans: dict[int, _Span] = {}
        self._samples = np.zeros(0, dtype=np.float32)
        self._dropped = 0  # samples before self._samples
        self._ended = False
        self._next = 0

    @property
    def received(self) -> int:
        """Samples so far."""
        return self._dropped + len(self._samples)

    @property
    def next_block(self) -> Block:
        return windows.block(self._next, self._largest_block)

    @property
    def ready(self) -> bool:
        """Whether all audio of the next block is there (or, after the end, whether a picture is left)."""
        if self._ended and self.next_block.start < windows.picture_count(self.received):
            return True
        return not self._ended and self.received >= self.next_block.audio_stop

    def push(self, pcm: Pcm) -> None:
        """More speech: int16 [any length] at 16 kHz."""
        if self._ended:
            raise FeaturesError(f"{len(pcm)} samples came after the segment's end: open a new stream for a new segment")
        self._samples = np.concatenate([self._samples, pcm.astype(np.float32) / 32768.0])

    def end(self) -> None:
        """The segment is complete: what lies beyond counts as silence, and tokens of it as zeros, as in MuseTalk."""
        self._ended = True

    def work(self) -> _Work:
        """Take the next block's work in; the encoder's part is left to ``compute``."""
        if not self.ready:
            raise FeaturesError(
                f"block {self._next} needs {self.next_block.audio_stop} samples, {self.received} are there: "
                "push more first"
            )
        block = self.next_block
        work = _Work(block)
        for index in range(max(0, block.token_start) // SPAN_TOKENS, (block.token_stop - 1) // SPAN_TOKENS + 1):
            stop = min(SPAN_TOKENS, block.token_stop - index * SPAN_TOKENS)
            span = self._heard(index, stop)
            stretch = stretch_of(self._context, stop, span.mels[: span.frames], span.loudest)
            work.pieces.append((index * SPAN_TOKENS + stretch.start, stretch))
        self._next += 1
        self._forget()
        return work

    def skip(self) -> None:
        """Take the next block's audio in, in the same steps as ever; nobody wants its features."""
        self.work()

    def windows(self, work: _Work, states: Sequence[Tensor]) -> Tensor:
        """Cut the block's pictures out of its hidden states: [pictures, TOKENS_PER_PICTURE * states, width]."""
        block = work.block
        config = self.encoder.config
        tokens = torch.zeros(
            block.token_stop - block.token_start, config.layers + 1, config.width, device=self.encoder.device
        )
        kept = windows.whole_tokens(self.received) if self._ended else block.token_stop
        for (first, _), state in zip(work.pieces, states, strict=True):
            low, high = max(first, block.token_start), min(first + len(state), kept, block.token_stop)
            if low < high:
                tokens[low - block.token_start : high - block.token_start] = state[low - first : high - first]
        return cut(tokens, block.stop - block.start)

    def _heard(self, index: int, tokens: int) -> _Span:
        """Span ``index`` with the log-mel frames that its first ``tokens`` tokens hear, and no more, taken in."""
        span = self._spans.get(index)
        if span is None:
            device = self.encoder.device
            span = _Span(
                torch.empty(SPAN_MELS, self.encoder.config.mels, device=device),
                torch.full((), -math.inf, device=device),
            )
            self._spans[index] = span
        stop = min(SPAN_MELS, 2 * tokens + 1)
        if stop > span.frames:
            samples, offset = self._span_samples(index, span.frames)
            pieces = frame_pieces(samples, span.frames - offset, stop - offset)
            on_device = torch.from_numpy(np.ascontiguousarray(pieces)).to(self.encoder.device, non_blocking=True)
            with torch.inference_mode():
                fresh = self.encoder.log_mel(on_device)
                span.mels[span.frames : stop] = fresh
                span.loudest = torch.maximum(span.loudest, fresh.max())
            span.frames = stop
        return span

    def _span_samples(self, index: int, frame: int) -> tuple[npt.NDArray[np.float32], int]:
        """The span's samples from a little before mel frame ``frame`` on, and the frame that counts as 0 in them."""
        offset = max(0, frame - 2)
        start, stop = index * SPAN_SAMPLES + offset * windows.MEL_HOP_SAMPLES, (index + 1) * SPAN_SAMPLES
        there = self._samples[start - self._dropped : stop - self._dropped]
        if not self._ended:
            return there, offset
        return np.pad(there, (0, stop - start - len(there))), offset

    def _forget(self) -> None:
        """Let go of samples whose frames are computed and of spans that no later picture hears."""
        token = max(0, self.next_block.token_start)
        for index in [index for index in self._spans if index < token // SPAN_TOKENS]:
            del self._spans[index]
        latest = max(self._spans, default=0)
        frames = self._spans[latest].frames if latest in self._spans else 0
        keep_from = latest * SPAN_SAMPLES + max(0, frames - 2) * windows.MEL_HOP_SAMPLES
        drop = min(keep_from - self._dropped, len(self._samples))
        if drop > 0:
            self._samples = self._samples[drop:]
            self._dropped += drop


def stretch_of(context: Context, stop: int, mels: Tensor, loudest: Tensor) -> Stretch:
    """What is encoded in order to know a span's tokens before ``stop``, for each amount of context."""
    match context:
        case Context.PREFIX:
            return Stretch(0, stop, mels, loudest)
        case Context.PADDED:
            return Stretch(0, SPAN_TOKENS, mels[: 2 * stop + 1], loudest)
        case Context.SLIDING:
            return Stretch(max(0, stop - SLIDING_TOKENS), stop, mels, loudest)


def cut(tokens: Tensor, pictures: int) -> Tensor:
    """[2 * pictures + 8, states, width] of tokens to [pictures, TOKENS_PER_PICTURE * states, width]."""
    _, states, width = tokens.shape
    rows = [
        tokens[2 * n : 2 * n + TOKENS_PER_PICTURE].reshape(TOKENS_PER_PICTURE * states, width) for n in range(pictures)
    ]
    return torch.stack(rows)


def compute(streams: Sequence[FeatureStream]) -> list[tuple[Block, Tensor]]:
    """The next block of each stream, all in one call of the encoder; each stream must be ``ready``.

    Returns:
        For each stream its block and the features [pictures, tokens * states, width], fp32, on the encoder's device.
    """
    works = [stream.work() for stream in streams]
    encoder = streams[0].encoder
    states = iter(encoder.encode([stretch for work in works for _, stretch in work.pieces]))
    with torch.inference_mode():
        return [
            (work.block, stream.windows(work, [next(states) for _ in work.pieces]))
            for stream, work in zip(streams, works, strict=True)
        ]


def drain(stream: FeatureStream) -> Iterator[tuple[Block, Tensor]]:
    """All blocks of one stream that are ready now."""
    while stream.ready:
        yield from compute([stream])


def whole_utterance(encoder: WhisperEncoder, pcm: Pcm) -> Tensor:
    """The features of speech that is all there, as MuseTalk computes them before its first picture.

    Each 30-s span is padded with silence to its full length and heard as a whole, its loudest frame found over all of
    it.

    Returns:
        [pictures, tokens * states, width] for floor(seconds * 25) pictures.
    """
    samples = pcm.astype(np.float32) / 32768.0
    states = []
    for start in range(0, max(1, len(samples)), SPAN_SAMPLES):
        span = samples[start : start + SPAN_SAMPLES]
        span = np.pad(span, (0, SPAN_SAMPLES - len(span)))
        pieces = torch.from_numpy(np.ascontiguousarray(frame_pieces(span, 0, SPAN_MELS))).to(encoder.device)
        with torch.inference_mode():
            mels = encoder.log_mel(pieces)
            states += encoder.encode([Stretch(0, SPAN_TOKENS, mels, mels.max())])
    tokens = torch.cat(states)[: windows.whole_tokens(len(samples))]
    padding = tokens.new_zeros(12, *tokens.shape[1:])
    return cut(torch.cat([padding[: windows.TOKENS_BEFORE], tokens, padding]), len(samples) // TICK_SPEECH_SAMPLES)
