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
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk.batches import IN_FLIGHT, Avatar, Job
from avatar.musetalk.config import DecoderTier
from avatar.musetalk.core import Core, Options
from avatar.musetalk.demo import synthetic_frames, synthetic_speech
from avatar.musetalk.features import Context, FeatureStream
from benchmarks.gpu.clock import StageMarks, median_ms, percentile, wait
from benchmarks.gpu.gate import composition, gate
from benchmarks.gpu.plan import VARIANTS, Save, Settings
from benchmarks.gpu.prepare import weights_of


def _core(settings: Settings, tier: DecoderTier, variant: str, batch_sizes: tuple[int, ...]) -> Core:
    return Core(
        settings.shapes,
        weights_of(settings),
        settings.device,
        Options(decoder=tier, batch_sizes=batch_sizes, **VARIANTS[variant]),
    )


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
    out["speech encoder alone against in a batch"] = composition(core)
    save(out)
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
    """Batches of the largest size without a pause, as many on their way as there are buffers; the last of them is put
    into whole pictures meanwhile, in another thread."""
    size = max(core.lanes)
    waiting: deque[Future[list[Planes | None]]] = deque()
    made, lost, marks = 0, 0, []
    with ThreadPoolExecutor(1) as reader:
        core.render([next(jobs) for _ in range(size)])
        start = time.perf_counter()
        while (now := time.perf_counter() - start) < seconds or waiting:
            if now < seconds:
                waiting.append(reader.submit(core.submit([next(jobs) for _ in range(size)]).pictures))
            if len(waiting) == IN_FLIGHT or now >= seconds:
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


def start(settings: Settings, save: Save, name: str, artefacts: Path, spawned: float) -> None:
    """How long after this process was spawned the first picture is there, and how much compiled it found."""
    found = sum(path.is_file() for path in artefacts.rglob("*"))
    out: dict[str, Any] = {"layout": name, "compiled files found": found}
    out["imports, s"] = round(time.time() - spawned, 2)
    save(out)
    weights = weights_of(settings, "half" if settings.cuda else "weights")
    wait(settings.cuda)
    out["weights loaded, s"] = round(time.time() - spawned, 2)
    save(out)
    core = Core(settings.shapes, weights, settings.device, Options(batch_sizes=settings.batch_sizes, **VARIANTS[name]))
    wait(settings.cuda)
    out["core ready, s"] = round(time.time() - spawned, 2)
    avatar = core.avatar(synthetic_frames(settings.shapes, 1, *settings.picture))
    picture = core.render([Job(_speech_features(core, 0.2)[0], avatar, 0)])[0]
    out["first picture, s"] = round(time.time() - spawned, 2)
    out["first picture is finite"] = picture is not None
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
