"""LiveTalking's loop over MuseTalk: its own recognizer step, inference and paste threads, unchanged."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from avatar.musetalk.core import Core
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.features import FeatureStream, drain, whole_utterance
from avatar.musetalk.fidelity import relative_l2
from benchmarks.gpu.originals.inputs import (
    FRAMES,
    Identity,
    Image,
    Ours,
    Tap,
    Unused,
    as_torch_starts,
    empty_unless_there,
    half_on_cuda,
)
from benchmarks.gpu.plan import Save, Settings


class _Counter:
    """In the place of its WebRTC output: counts the pictures and when they came."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.times = wanted, list[float]()
        self.all_there = threading.Event()

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def push_video_frame(self, picture: Image) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) >= self.wanted:
            self.all_there.set()

    def push_audio_frame(self, samples: object, userdata: object) -> None:
        pass


def livetalking(settings: Settings, save: Save, out: dict[str, Any], layout: str) -> None:
    replaced: dict[str, dict[str, object]] = {
        "resampy": {},
        "soundfile": {},
        "av": {"AudioFrame": Unused, "VideoFrame": Unused},
        "torchvision": {"transforms": None},
        "torchvision.transforms": {"Normalize": Unused},
    }
    for name, contents in replaced.items():
        empty_unless_there(name, **contents)
    importlib.import_module("utils.logger")  # as its app does, before it puts another `utils` on the path
    module = importlib.import_module("avatars.musetalk_avatar")
    from queue import Queue

    utils = importlib.import_module("avatars.musetalk.utils.utils")
    whisper_asr = importlib.import_module("avatars.audio_features.whisper")
    vae, unet, pe = utils.load_all_model(device=torch.device(settings.device))
    ear = importlib.import_module("avatars.musetalk.whisper.audio2feature").Audio2Feature(model_path="models/whisper")
    half_on_cuda(settings, pe, vae.vae, unet.model)

    identity = Identity(settings)
    size = 16 if settings.cuda else FRAMES
    wanted = (50 if settings.cuda else 2) * size
    opt = SimpleNamespace(fps=25, l=10, r=10, batch_size=size, sessionid=0)

    avatar = object.__new__(module.MuseReal)  # its __init__ starts text to speech and WebRTC
    for key, value in {
        "opt": opt, "sample_rate": 16_000, "chunk": 320, "sessionid": 0, "speaking": False, "recording": False,
        "width": 0, "height": 0, "custom_audiotype": 0, "custom_img_cycle": {}, "custom_audio_cycle": {},
        "custom_audio_index": {}, "custom_index": {}, "msgqueues": [], "batch_size": size,
        "res_frame_queue": Queue(2 * size), "vae": vae, "unet": unet, "pe": pe,
        "timesteps": torch.tensor([0], device=settings.device), "audio_processor": ear, "output": _Counter(wanted),
    }.items():  # fmt: skip
        setattr(avatar, key, value)
    identity.fill(avatar, settings)

    ours = Ours(settings, layout, identity)
    out["features"] = _features(whisper_asr.WhisperASR(opt, avatar, ear), ear, ours.core, 4.0 if settings.cuda else 1.6)
    save(out)
    heard = whole_utterance(ours.core.encoder, synthetic_speech(size / 25 + 0.1, seed=11))[:size]
    tap = Tap(unet.model)
    with torch.no_grad():
        faces = avatar.inference_batch(0, list(heard.cpu().numpy()))
        pictures = [avatar.paste_back_frame(faces[n], n) for n in range(FRAMES)]
    out["differences"] = ours.differences(heard, tap.close(), np.ascontiguousarray(faces[..., ::-1]), pictures)
    del ours
    as_torch_starts()
    save(out)

    avatar.asr = whisper_asr.WhisperASR(opt, avatar, ear)
    avatar.asr.warm_up()
    pcm = np.resize(synthetic_speech(8.0, seed=11), (wanted + 2 * size) * 640).astype(np.float32) / 32768
    for at in range(0, len(pcm), avatar.chunk):
        avatar.put_audio_frame(pcm[at : at + avatar.chunk], {})
    quits = threading.Event(), threading.Event()
    with torch.no_grad():
        threads = [
            threading.Thread(target=_without_gradients(avatar.inference), args=(quits[0],), daemon=True),
            threading.Thread(target=avatar.process_frames, args=(quits[1],), daemon=True),
        ]
        for thread in threads:
            thread.start()
        limit = time.perf_counter() + 200
        while not avatar.output.all_there.is_set() and time.perf_counter() < limit:
            avatar.asr.run_step()
        for event in quits:
            event.set()
    times = avatar.output.times
    if len(times) > size:
        out[f"fps, batch {size}"] = round((len(times) - size) / (times[-1] - times[size - 1]), 1)
    out["pictures"] = len(times)
    out["loop"] = "its ASR, inference and process_frames threads, the first batch left out"
    save(out)
    os._exit(0)  # its threads block on their queues for ever


def _features(asr: Any, ear: Any, core: Core, seconds: float) -> dict[str, float]:
    """Relative L2 of its features and of ours against MuseTalk's own of the whole utterance.

    Its first window lies 10 chunks of 20 ms in, and begins with the picture's own token, where MuseTalk's begins four
    tokens earlier: so they are compared with those of the same picture, and with those of the same tokens.
    """
    pcm = synthetic_speech(seconds, seed=11)
    samples = pcm.astype(np.float32) / 32768
    offline = whole_utterance(core.encoder, pcm).float().cpu()
    tokens = torch.from_numpy(ear.audio2feat(samples)).float()
    count = len(offline) - 8
    whole = torch.stack([tokens[2 * n - 4 : 2 * n + 6].flatten(0, 1) for n in range(2, 2 + count)])
    for at in range(0, len(samples) - 319, 320):
        asr.put_audio_frame(samples[at : at + 320], {})
    asr.warm_up()
    windows: list[Any] = []
    with torch.no_grad():
        for _ in range((len(samples) // 320 - 20) // (2 * asr.batch_size)):
            asr.run_step()
            windows += asr.feat_queue.get()
    theirs = torch.from_numpy(np.stack(windows)).float()
    stream = FeatureStream(core.encoder)
    stream.push(pcm)
    stream.end()
    ours = torch.cat([rows for _, rows in drain(stream)]).cpu()
    first, shift = 5, 2
    same = slice(first, first + len(theirs))
    later = slice(first + shift, first + shift + len(theirs))
    return {
        "its encoder over the whole utterance, against ours": relative_l2(whole, offline[2 : 2 + count]),
        "its loop, same picture": relative_l2(theirs, offline[same]),
        "its loop, same tokens": relative_l2(theirs, offline[later]),
        "ours streamed, same pictures": relative_l2(ours[same], offline[same]),
    }


def _without_gradients(run: Callable[[threading.Event], None]) -> Callable[[threading.Event], None]:
    """no_grad holds for one thread; in the original it is set around the whole."""

    def inner(quit_event: threading.Event) -> None:
        with torch.no_grad():
            run(quit_event)

    return inner
