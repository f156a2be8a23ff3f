"""How much a picture's audio features change with the audio still missing: the curve, for each amount of context.

Run: ``python -m benchmarks.musetalk_context``. For pictures throughout an utterance the features are computed from
audio that ends some time after what the picture hears, and compared with those of the whole utterance, as MuseTalk
computes them offline. With random weights (the default) the curve shows the mechanism (what the mel floor, the missing
future and the missing silence do), not how much a trained encoder minds; give ``--weights`` for that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from avatar.musetalk.config import MUSETALK_V15
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.features import SLIDING_TOKENS, Context, stretch_of, whole_utterance
from avatar.musetalk.fidelity import relative_l2
from avatar.musetalk.synthetic import fill_whisper
from avatar.musetalk.weights import read_state, whisper_state
from avatar.musetalk.whisper import WhisperEncoder, frame_pieces

RIGHT_MS = (0, 40, 80, 120, 240, 480, 960, 1920, 3840)
PICTURES = (10, 30, 60, 90, 130, 170)
RESULTS = Path(__file__).parent / "results"


def measure(encoder: WhisperEncoder, seconds: float) -> dict[str, dict[int, list[float]]]:
    """For each context and right context (ms), the relative L2 of each hidden state, mean over the pictures."""
    pcm = synthetic_speech(seconds)
    offline = whole_utterance(encoder, pcm).view(-1, 10, encoder.config.layers + 1, encoder.config.width)
    samples = torch.from_numpy(pcm).float().div(32768).numpy()
    mels = encoder.log_mel(
        torch.from_numpy(frame_pieces(samples, 0, len(samples) // 160 - 2).copy()).to(encoder.device)
    )
    out: dict[str, dict[int, list[float]]] = {}
    for context in Context:
        rows = out.setdefault(context.value, {})
        for right_ms in RIGHT_MS:
            if context is Context.SLIDING and right_ms // 20 > SLIDING_TOKENS - 10:
                continue  # the window has moved past the picture
            off = [_states_of(encoder, context, mels, n, right_ms, offline[n]) for n in PICTURES]
            rows[right_ms] = torch.tensor(off).mean(0).tolist()
    return out


def _states_of(
    encoder: WhisperEncoder, context: Context, mels: torch.Tensor, picture: int, right_ms: int, offline: torch.Tensor
) -> list[float]:
    stop = 2 * picture + 6 + right_ms // 20
    known = mels[: 2 * stop + 1]
    stretch = stretch_of(context, stop, known, known.max())
    states = encoder.encode([stretch])[0]
    first = 2 * picture - 4 - stretch.start
    heard = states[first : first + 10]
    return [relative_l2(heard[:, layer], offline[:, layer]) for layer in range(heard.shape[1])]


def table(result: dict[str, dict[int, list[float]]]) -> str:
    lines = ["| context | right context, ms | embeddings | layer 1 | layer 2 | layer 3 | layer 4 |", "| --- " * 7 + "|"]
    for context, rows in result.items():
        lines += [
            f"| {context} | {ms} | " + " | ".join(f"{value:.2e}" for value in off) + " |" for ms, off in rows.items()
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="whisper-tiny's model.safetensors or pytorch_model.bin")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(2)
    encoder = WhisperEncoder(MUSETALK_V15.whisper)
    state = (
        whisper_state(read_state(args.weights))
        if args.weights
        else fill_whisper(encoder, torch.Generator().manual_seed(0))
    )
    encoder.load_state_dict(state)
    encoder.eval().requires_grad_(False)
    result = measure(encoder, args.seconds)
    kind = "trained weights" if args.weights else "random weights of whisper-tiny's true size"
    text = (
        f"# Features against right context\n\nRelative L2 of a picture's features against those of the whole utterance "
        f"of {args.seconds:g} s, mean of pictures {', '.join(map(str, PICTURES))}; {kind}, CPU, fp32. Right context "
        "counts from the end of what the picture hears (92.5 ms past its own end). "
        "Made by `python -m benchmarks.musetalk_context`.\n\n"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "musetalk_context.json").write_text(
        json.dumps({"weights": kind, "relative_l2": result}, indent=1) + "\n"
    )
    (args.out / "musetalk_context.md").write_text(text + table(result) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
