"""A Whisper model of a few megabytes with random weights, in the files that faster-whisper loads. It always hears
the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from ctranslate2.specs import whisper_spec  # type: ignore[import-untyped]
from tokenizers import decoders, models, pre_tokenizers

WIDTH, HEADS, MELS = 64, 2, 80
PROMPT = 2
"""Start of transcript, no time stamps: with so few tokens it counts as an English-only model."""


def write_tiny_whisper(folder: Path, says: str, *, repeats: int = 1) -> None:
    """Write config.json, model.bin, tokenizer.json and vocabulary.json into ``folder``.

    Args:
        says: what it hears whenever it is asked; ASCII, fewer characters than WIDTH // 2.
        repeats: how often it says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # faster-whisper forbids the tokens that " -", " '" and " ♪" begin with, which must not be the space alone.
    merges = [("Ġ", "-"), ("Ġ", "'"), ("Ġ", "â")]
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    special += [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    tokens = [*alphabet, *special]
    places = {token: place for place, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=places, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))

    spec = whisper_spec.WhisperSpec(1, HEADS, 1, HEADS)
    random = np.random.default_rng(11)

    def weights(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(0, 0.1, shape).astype(np.float32)

    def linear(layer: Any, rows: int, columns: int) -> None:
        layer.weight = weights(rows, columns)
        layer.bias = np.zeros(rows, np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def feed_forward(layer: Any) -> None:
        linear(layer.linear_0, 4 * WIDTH, WIDTH)
        linear(layer.linear_1, WIDTH, 4 * WIDTH)
        norm(layer.layer_norm)

    def attention(layer: Any, *, own: bool) -> None:
        norm(layer.layer_norm)
        linear(layer.linear[0], 3 * WIDTH if own else WIDTH, WIDTH)
        if not own:
            linear(layer.linear[1], 2 * WIDTH, WIDTH)
        linear(layer.linear[-1], WIDTH, WIDTH)

    encoder, decoder = spec.encoder, spec.decoder
    for convolution, inputs in ((encoder.conv1, MELS), (encoder.conv2, WIDTH)):
        convolution.weight, convolution.bias = weights(WIDTH, inputs, 3), np.zeros(WIDTH, np.float32)
    encoder.position_encodings.encodings = weights(1500, WIDTH)
    decoder.position_encodings.encodings = weights(448, WIDTH)
    decoder.embeddings.weight = weights(len(tokens), WIDTH)
    norm(encoder.layer_norm)
    norm(decoder.layer_norm)
    attention(encoder.layer[0].self_attention, own=True)
    feed_forward(encoder.layer[0].ffn)
    attention(decoder.layer[0].self_attention, own=True)
    attention(decoder.layer[0].attention, own=False)
    feed_forward(decoder.layer[0].ffn)

    decoder.projection.weight = np.zeros((len(tokens), WIDTH), np.float32)
    # Each place in the answer has a direction of its own, which points at the letter that belongs there. Between two of
    # them lies one that is not used: where processors multiply bytes by pairs, a pair of large ones would overflow.
    for step, token in enumerate([*says.replace(" ", "Ġ"), "<|endoftext|>"]):
        decoder.projection.weight[places[token], 2 * step] += 5
    for step in range(len(says) * repeats + 1):
        direction = len(says) if step == len(says) * repeats else step % len(says)
        decoder.position_encodings.encodings[PROMPT - 1 + step] = 20 * np.eye(WIDTH, dtype=np.float32)[2 * direction]
    spec.config.lang_ids = [places["<|en|>"], places["<|de|>"]]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.alignment_heads = [(0, 0)]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    assert json.loads((folder / "config.json").read_text())["lang_ids"]
