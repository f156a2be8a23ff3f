"""Which audio each picture hears: pure arithmetic on samples, tokens, pictures and blocks. No torch, no state.

The speech encoder gives a token each 20 ms; token j needs audio up to 20 j + 32.5 ms. Picture n (25 a second) hears
tokens 2n - 4 to 2n + 5, so 92.5 ms past its own end. Pictures are computed in fixed blocks of 1, 1, 2, 4, 4, ...; all
pictures of a block are computed from audio that ends exactly where the block's last picture stops listening. So what
a picture shows never depends on how early or in which pieces the audio came.
"""

from __future__ import annotations

from dataclasses import dataclass

from avatar.frames import TICK_MS, TICK_SPEECH_SAMPLES

TOKEN_SAMPLES = 320
TOKEN_REACH_SAMPLES = 520
"""Token j needs the samples before 320 j + 520: mel frames 2j - 2 to 2j + 2, each 200 samples to either side."""
TOKENS_BEFORE = 4
"""Picture n hears tokens from 2n - 4 on; those before the start of speech are zeros, as in MuseTalk."""
MEL_HOP_SAMPLES = 160
MEL_REACH_SAMPLES = 200
SPAN_SAMPLES = 480_000
"""The encoder hears 30 s at most; longer speech is cut in spans that know nothing of each other, as in MuseTalk."""
SPAN_TOKENS = 1500
SPAN_MELS = 3000
LARGEST_BLOCK = 4

PICTURE_REACH_MS = 92.5
"""How much audio past its own end a picture hears."""
LOOKAHEAD_MS = PICTURE_REACH_MS + (LARGEST_BLOCK - 1) * TICK_MS
"""How much audio past its own end a picture may depend on: the first picture of a block of four waits for the
fourth."""


@dataclass(frozen=True, slots=True)
class Block:
    """Pictures ``start`` to ``stop`` (exclusive) of a segment, computed together."""

    index: int
    start: int
    stop: int

    @property
    def audio_stop(self) -> int:
        """Samples of the segment (16 kHz) that the block is computed from: exactly these, no more and no less."""
        return self.stop * TICK_SPEECH_SAMPLES + round(PICTURE_REACH_MS * TICK_SPEECH_SAMPLES / TICK_MS)

    @property
    def token_start(self) -> int:
        """The first token heard; negative at the start of speech."""
        return 2 * self.start - TOKENS_BEFORE

    @property
    def token_stop(self) -> int:
        """One past the last token heard; ``320 * (token_stop - 1) + 520 == audio_stop``."""
        return 2 * self.stop + TOKENS_BEFORE


def block(index: int, largest: int = LARGEST_BLOCK) -> Block:
    """The block of this index: 0, 1 and 2 hold pictures 0, 1 and 2..3; from there on each holds four.

    Args:
        largest: 4, or 1: then every block is one picture, the lookahead `PICTURE_REACH_MS`, and the encoder works more.
    """
    if index < 0:
        raise ValueError(f"blocks are counted from 0, not {index}")
    if largest not in (1, LARGEST_BLOCK):
        raise ValueError(f"a block has at most 1 or {LARGEST_BLOCK} pictures, not {largest}")
    return Block(index, _start(index, largest), _start(index + 1, largest))


def _start(index: int, largest: int) -> int:
    return index if index < 3 or largest == 1 else largest * (index - 2)


def block_of(picture: int) -> Block:
    """The block that holds this picture."""
    if picture < 0:
        raise ValueError(f"pictures are counted from 0, not {picture}")
    if picture < 4:
        return block((0, 1, 2, 2)[picture])
    return block(picture // LARGEST_BLOCK + 2)


def whole_tokens(samples: int) -> int:
    """How many tokens MuseTalk keeps of ``samples`` of audio that have ended: floor(seconds * 50)."""
    return samples // TOKEN_SAMPLES


def picture_count(samples: int) -> int:
    """How many pictures a segment of this length has; the last one may be only partly spoken."""
    return -(-samples // TICK_SPEECH_SAMPLES)
