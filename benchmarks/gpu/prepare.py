"""What every other task needs: the card's ceilings, the weights on disk, and the plain fp32 path's answers.

In: `Settings`. Out: ``weights/`` (fp32), ``half/`` and ``gate.safetensors`` in the scratch folder, and a JSON-able
dict.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.config import DecoderTier
from avatar.musetalk.demo import synthetic_frames, synthetic_speech
from avatar.musetalk.features import FeatureStream, drain
from avatar.musetalk.fidelity import as_dict, compare, mouth
from avatar.musetalk.precision import tensor_float32
from avatar.musetalk.weights import ModelWeights, load_weights
from avatar.musetalk.whisper import WhisperEncoder
from benchmarks.gpu.clock import median_ms
from benchmarks.gpu.plan import Save, Settings

GATE_JOBS = 8
TIERS: tuple[DecoderTier, ...] = ("exact", "tiny")
_MODELS = ("unet", "vae", "whisper", "tiny_decoder")


class NoCard(Exception):
    """The benchmark was asked for a card that is not there."""


def prepare(settings: Settings, save: Save) -> None:
    """Run once; later runs over the same scratch folder take what is there."""
    out: dict[str, Any] = {}
    if settings.cuda:
        if not torch.cuda.is_available():
            raise NoCard(
                f"--device {settings.device}: torch {torch.__version__} finds no CUDA card here; "
                "`--device cpu --config tiny` runs everywhere and shows that the benchmark works, not how fast it is"
            )
        out["card"] = _card()
        save(out)
        out["ceilings"] = _ceilings()
        save(out)
    started = time.perf_counter()
    weights, out["weights"] = _make_weights(settings)
    out["weights made, s"] = round(time.perf_counter() - started, 1)
    save(out)
    for name in _MODELS:
        state = dict(getattr(weights, name))
        for dtype, folder in ((torch.float32, "weights"), (torch.float16, "half")):
            (settings.folder / folder).mkdir(exist_ok=True)
            kept = {key: value.to(dtype).cpu().contiguous() for key, value in state.items()}
            save_file(kept, settings.folder / folder / f"{name}.safetensors")
    out["weights stored, s"] = round(time.perf_counter() - started, 1)
    save(out)
    out["reference"] = _reference(settings, weights)
    save(out)
    from benchmarks.gpu.flops import gflop_per_picture

    out["gflop"] = gflop_per_picture(settings.shapes)
    save(out)


def weights_of(settings: Settings, folder: str = "weights") -> ModelWeights:
    """What `prepare` stored, on the device: ``weights`` in fp32 or ``half``."""
    states = {name: load_file(settings.folder / folder / f"{name}.safetensors", settings.device) for name in _MODELS}
    return ModelWeights(**states)


def gate_frames(settings: Settings) -> list[AvatarFrame]:
    """The identity of the gate's jobs."""
    return synthetic_frames(settings.shapes, GATE_JOBS, 192, 256, seed=5)


def _card() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }


def _ceilings() -> dict[str, float]:
    """What the card reaches on a large product of random fp16 matrices and on a large copy."""
    size = 8192
    one, two = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
    product_ms = median_ms(lambda: one @ two, True, 10)
    source = torch.empty(2**32, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy_ms = median_ms(lambda: target.copy_(source), True, 5)
    pinned = torch.empty(2**28, dtype=torch.uint8, pin_memory=True)
    out_ms = median_ms(lambda: pinned.copy_(source[: 2**28], non_blocking=True), True, 5)
    return {
        "fp16 product, TFLOP/s": round(2 * size**3 / product_ms / 1e9, 1),
        "copy on the device, GB/s": round(2 * 2**32 / copy_ms / 1e6, 1),
        "copy to pinned memory, GB/s": round(2**28 / out_ms / 1e6, 1),
    }


def _make_weights(settings: Settings) -> tuple[ModelWeights, str]:
    if settings.weights:
        folder = Path(settings.weights)
        tiny = (folder / "taesd").is_dir()
        weights = load_weights(folder, tiny=tiny)
        if not tiny:
            raise FileNotFoundError(f"{folder / 'taesd'} is missing: the benchmark measures both tiers")
        return weights, "real"
    from avatar.musetalk.synthetic import synthetic_weights

    return synthetic_weights(settings.shapes, settings.seed, settings.device), f"random, seed {settings.seed}"


def _reference(settings: Settings, weights: ModelWeights) -> dict[str, Any]:
    """Run the plain path; keep its latents and faces, and say how the tiny tier compares with the exact one."""
    from avatar.musetalk.reference import Reference

    encoder = WhisperEncoder(settings.shapes.whisper)
    encoder.load_state_dict(dict(weights.whisper))
    encoder = encoder.to(settings.device).eval().requires_grad_(False)
    speech = _gate_features(encoder)
    avatars = torch.stack([torch.from_numpy(frame.latents) for frame in gate_frames(settings)]).to(settings.device)
    kept = {"features": speech.cpu()}
    faces = {}
    with tensor_float32(False):
        for tier in TIERS:
            reference = Reference(settings.shapes, weights, tier, settings.device)
            latents = reference.latents(avatars, speech)
            faces[tier] = reference.face(torch.cat([reference.image(part) for part in latents.split(2)]))
            kept |= {"latents": latents.float().cpu(), tier: torch.from_numpy(faces[tier])}
            del reference
    save_file({name: value.contiguous() for name, value in kept.items()}, settings.folder / "gate.safetensors")
    return {
        "latents, standard deviation": round(float(kept["latents"].std()), 3),
        "faces, standard deviation of 255": {tier: round(float(face.std()), 1) for tier, face in faces.items()},
        "tiny against exact, mouth": as_dict(compare(mouth(faces["tiny"]), mouth(faces["exact"]))),
    }


def _gate_features(encoder: WhisperEncoder) -> Tensor:
    stream = FeatureStream(encoder)
    stream.push(synthetic_speech(0.8, seed=4))
    stream.end()
    rows = torch.cat([rows for _, rows in drain(stream)])
    return rows[2 : 2 + GATE_JOBS]
