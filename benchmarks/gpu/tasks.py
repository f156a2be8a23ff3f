"""The measurements, one function each; every one runs in a process of its own, so that none can break another.

In: `Settings`, and what earlier tasks left in the scratch folder. Out: a JSON-able dict, handed to ``save`` whenever
there is something new, so that a task that is cut short leaves what it has measured.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.config import DecoderTier
from avatar.musetalk.core import Avatar, Core, Job, Options
from avatar.musetalk.demo import synthetic_frames, synthetic_speech
from avatar.musetalk.features import FeatureStream, drain
from avatar.musetalk.fidelity import Fidelity, compare, mouth, snr_db
from avatar.musetalk.precision import tensor_float32
from avatar.musetalk.weights import ModelWeights, load_weights
from avatar.musetalk.whisper import WhisperEncoder
from benchmarks.gpu.clock import StageMarks, median_ms, percentile, wait
from benchmarks.gpu.plan import VARIANTS, Settings

Save = Callable[[dict[str, Any]], None]
_GATE_JOBS = 8
_MODELS = ("unet", "vae", "whisper", "tiny_decoder")


def prepare(settings: Settings, save: Save) -> None:
    """The card's ceilings, the weights, and what the plain fp32 path gives for the gate's jobs."""
    out: dict[str, Any] = {}
    if settings.cuda:
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
    avatars = torch.stack([torch.from_numpy(frame.latents) for frame in _gate_frames(settings)]).to(settings.device)
    kept = {"features": speech.cpu()}
    faces = {}
    with tensor_float32(False):
        for tier in ("exact", "tiny"):
            reference = Reference(settings.shapes, weights, "exact" if tier == "exact" else "tiny", settings.device)
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


def _gate_frames(settings: Settings) -> list[AvatarFrame]:
    return synthetic_frames(settings.shapes, _GATE_JOBS, 192, 256, seed=5)


def _gate_features(encoder: WhisperEncoder) -> Tensor:
    stream = FeatureStream(encoder)
    stream.push(synthetic_speech(0.8, seed=4))
    stream.end()
    rows = torch.cat([rows for _, rows in drain(stream)])
    return rows[2 : 2 + _GATE_JOBS]


def _weights(settings: Settings, folder: str = "weights") -> ModelWeights:
    states = {name: load_file(settings.folder / folder / f"{name}.safetensors", settings.device) for name in _MODELS}
    return ModelWeights(**states)


def _core(settings: Settings, tier: DecoderTier, variant: str, batch_sizes: tuple[int, ...]) -> Core:
    return Core(
        settings.shapes,
        _weights(settings),
        settings.device,
        Options(decoder=tier, batch_sizes=batch_sizes, **VARIANTS[variant]),
    )


def gate(settings: Settings, core: Core) -> dict[str, Any]:
    """The core's latents and faces against the plain fp32 path's, of the same weights and inputs."""
    expected = load_file(settings.folder / "gate.safetensors")
    avatar = core.avatar(_gate_frames(settings))
    speech = expected["features"].to(settings.device)
    jobs = [Job(speech[n], avatar, n) for n in range(_GATE_JOBS)]
    size = next(size for size in sorted(core.lanes) if size >= _GATE_JOBS)
    core.render(jobs)
    lane = core.lanes[size]
    latents = lane.latents[:_GATE_JOBS].float().cpu()
    faces = lane.faces[:_GATE_JOBS].cpu().numpy()
    result = compare(mouth(faces), mouth(expected[core.options.decoder].numpy()))
    alone = core.render(jobs[:1])
    lone = core.lanes[min(core.lanes)].latents[:1].float().cpu()
    assert alone[0] is not None
    return {
        "passes": result.passes,
        "mouth": as_dict(result),
        "latents, dB": round(snr_db(latents, expected["latents"]), 2),
        "latents alone against in a batch, dB": round(min(999.0, snr_db(lone, latents[:1])), 2),
    }


def variant(settings: Settings, save: Save, name: str) -> None:
    """One layout of the exact tier: is it right, and how fast are the networks."""
    out: dict[str, Any] = {}
    started = time.perf_counter()
    largest = max(settings.batch_sizes)
    core = _core(settings, "exact", name, (1, largest))
    wait(settings.cuda)
    out["ready after, s"] = round(time.perf_counter() - started, 1)
    save(out)
    out["gate"] = gate(settings, core)
    save(out)
    for size in (largest, 1):
        lane = core.lanes[size]
        with core.on_stream(), torch.inference_mode():
            unet_ms = median_ms(lane.run_unet, settings.cuda, settings.repeats)
            decoder_ms = median_ms(lane.run_decoder, settings.cuda, settings.repeats)
        out[f"batch {size}"] = {"unet, ms": round(unet_ms, 3), "decoder, ms": round(decoder_ms, 3)}
        out[f"fps, batch {size}"] = round(size / (unet_ms + decoder_ms) * 1000, 1)
        save(out)


def stages(settings: Settings, save: Save, tier: DecoderTier, name: str) -> None:
    """The chosen layout in full: each stage by batch size, latency, a minute sustained, and from audio on."""
    out: dict[str, Any] = {"variant": name, "decoder": tier}
    core = _core(settings, tier, name, settings.batch_sizes)
    avatar = core.avatar(synthetic_frames(settings.shapes, settings.frames, *settings.picture))
    out["gate"] = gate(settings, core)
    save(out)
    features = _speech_features(core, 8.0 if settings.cuda else 1.0)
    out["patch, px"] = f"{avatar.patches[0].part.width} x {avatar.patches[0].part.height}"
    out["speech encoder, ms"] = _encoder_ms(settings, core)
    out["stages, ms"], out["latency, ms"] = {}, {}
    for size in settings.batch_sizes:
        jobs = _jobs(features, avatar)
        marks = StageMarks(settings.cuda)
        walls = []
        for _ in range(settings.repeats + 3):
            taken = [next(jobs) for _ in range(size)]
            start = time.perf_counter()
            batch = core.submit(taken, marks)
            batch.pictures()
            walls.append((time.perf_counter() - start) * 1000)
        out["stages, ms"][size] = marks.medians_ms()
        out["latency, ms"][size] = {
            "p50": round(statistics.median(walls[3:]), 3),
            "p95": round(percentile(walls[3:], 0.95), 3),
            "worst": round(max(walls[3:]), 3),
        }
        save(out)
    out["sustained, features to host"] = _sustained(settings, core, _jobs(features, avatar), settings.sustain_s)
    save(out)
    out["sustained, speech to host"] = _sustained(settings, core, _heard_jobs(core, avatar), settings.heard_s)
    if settings.cuda:
        out["memory, MB"] = _memory(settings)
    save(out)


def _speech_features(core: Core, seconds: float) -> Tensor:
    stream = FeatureStream(core.encoder)
    stream.push(synthetic_speech(seconds))
    rows = []
    while stream.ready:
        rows.append(core.features([stream])[0][1])
    return torch.cat(rows)


def _encoder_ms(settings: Settings, core: Core) -> dict[str, float]:
    """One call of the speech encoder for a block of each of 1 and 4 talkers (on CUDA about 3 s in), by context."""
    from avatar.musetalk.features import Context

    out = {}
    speech = synthetic_speech(4.0)
    for context in Context:
        for talkers in (1, 4):
            times = []
            for _ in range(6 if settings.cuda else 2):
                streams = [FeatureStream(core.encoder, context) for _ in range(talkers)]
                for stream in streams:
                    stream.push(speech)
                    for _ in range(20 if settings.cuda else 3):
                        stream.work()
                wait(settings.cuda)
                start = time.perf_counter()
                core.features(streams)
                wait(settings.cuda)
                times.append((time.perf_counter() - start) * 1000)
            out[f"{context.value}, {talkers} blocks"] = round(statistics.median(times[1:]), 3)
    return out


def _jobs(features: Tensor, avatar: Avatar) -> Iterator[Job]:
    n = 0
    while True:
        yield Job(features[n % len(features)], avatar, n % len(avatar.patches))
        n += 1


def _heard_jobs(core: Core, avatar: Avatar) -> Iterator[Job]:
    """Pictures of eight talkers whose speech is encoded as it goes, four blocks at a call."""
    speech = synthetic_speech(10.0, seed=7)
    streams: deque[FeatureStream] = deque()
    n = 0
    while True:
        while len(streams) < 8:
            stream = FeatureStream(core.encoder)
            stream.push(speech)
            streams.append(stream)
        taken = [streams.popleft() for _ in range(4)]
        for _, rows in core.features(taken):
            for row in rows:
                yield Job(row, avatar, n % len(avatar.patches))
                n += 1
        streams.extend(stream for stream in taken if stream.ready)


def _sustained(settings: Settings, core: Core, jobs: Iterator[Job], seconds: float) -> dict[str, Any]:
    """Batches of the largest size without a pause: two on their way while one is put into whole pictures."""
    size = max(core.lanes)
    waiting: deque[Future[list[Planes | None]]] = deque()
    made, lost, marks = 0, 0, []
    with ThreadPoolExecutor(1) as reader:
        core.render([next(jobs) for _ in range(size)])
        start = time.perf_counter()
        while (now := time.perf_counter() - start) < seconds or waiting:
            if now < seconds:
                waiting.append(reader.submit(core.submit([next(jobs) for _ in range(size)]).pictures))
            if len(waiting) == 2 or now >= seconds:
                pictures = waiting.popleft().result()
                made += len(pictures)
                lost += sum(picture is None for picture in pictures)
                marks.append((time.perf_counter() - start, made))
    took = marks[-1][0]
    fifths = [
        sum(1 for at, _ in marks if took * k / 5 < at <= took * (k + 1) / 5) * size / (took / 5) for k in range(5)
    ]
    return {
        "fps": round(made / took, 1),
        "seconds": round(took, 2),
        "pictures": made,
        "not finite": lost,
        "fps by fifths": [round(value, 1) for value in fifths],
    }


def start(settings: Settings, save: Save, name: str, spawned: float) -> None:
    """How long after the process was spawned the first picture is there; caches are warm from what ran before."""
    out = {"imports, s": round(time.time() - spawned, 2)}
    weights = _weights(settings, "half" if settings.cuda else "weights")
    wait(settings.cuda)
    out["weights loaded, s"] = round(time.time() - spawned, 2)
    core = Core(settings.shapes, weights, settings.device, Options(batch_sizes=settings.batch_sizes, **VARIANTS[name]))
    wait(settings.cuda)
    out["core ready, s"] = round(time.time() - spawned, 2)
    avatar = core.avatar(synthetic_frames(settings.shapes, 1, *settings.picture))
    core.render([Job(_speech_features(core, 0.2)[0], avatar, 0)])
    out["first picture, s"] = round(time.time() - spawned, 2)
    save(out)


def memory(settings: Settings, save: Save, name: str) -> None:
    """Memory over many batches of changing size, with speech encoded on the way."""
    core = _core(settings, "exact", name, tuple(size for size in settings.batch_sizes if size <= 4) or (1,))
    avatar = core.avatar(synthetic_frames(settings.shapes, 4, *settings.picture))
    jobs = _heard_jobs(core, avatar)
    sizes = sorted(core.lanes)
    points: list[dict[str, float]] = []
    out: dict[str, Any] = {"points": points}
    every = max(1, settings.memory_batches // 10)
    for n in range(settings.memory_batches + 1):
        if n % every == 0:
            gc.collect()
            points.append({"batches": n, **_memory(settings)})
            # The first tenth fills caches; from there on nothing may grow.
            out["grown since the first tenth, MB"] = {
                key: round(points[-1][key] - points[min(1, len(points) - 1)][key], 1) for key in _memory(settings)
            }
            out["batches"] = n
            save(out)
        core.render([next(jobs) for _ in range(sizes[n % len(sizes)])])


def _memory(settings: Settings) -> dict[str, float]:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    out = {"host resident": round(resident / 2**20, 1)}
    if settings.cuda:
        free, total = torch.cuda.mem_get_info()
        out["device allocated"] = round(torch.cuda.memory_allocated() / 2**20, 1)
        out["device reserved"] = round(torch.cuda.memory_reserved() / 2**20, 1)
        out["device used, all"] = round((total - free) / 2**20, 1)
    return out


def as_dict(value: Fidelity) -> dict[str, Any]:
    return {
        "psnr, dB": round(min(value.psnr_db, 999.0), 2),
        "ssim": round(value.ssim, 5),
        "sharpness": round(value.sharpness, 4),
        "largest difference of 255": value.largest,
    }
