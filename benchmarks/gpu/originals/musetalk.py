"""MuseTalk's own realtime loop: `Avatar.inference` of its scripts, unchanged, with its own threads and queues."""

from __future__ import annotations

import importlib
import time
import wave
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatar.musetalk.demo import synthetic_speech
from benchmarks.gpu.originals.inputs import (
    FRAMES,
    Identity,
    Image,
    Ours,
    Tap,
    Unused,
    as_torch_starts,
    class_within,
    empty_module,
    empty_unless_there,
    feature_differences,
    half_on_cuda,
)
from benchmarks.gpu.plan import Save, Settings


def musetalk(settings: Settings, save: Save, out: dict[str, Any], layout: str) -> None:
    empty_module("musetalk.utils.preprocessing", get_landmark_and_bbox=None, read_imgs=None)
    empty_module("musetalk.utils.face_parsing", FaceParsing=Unused)
    empty_unless_there("omegaconf", OmegaConf=Unused)
    empty_module("librosa", load=_load_wav)
    empty_unless_there("torchvision", transforms=None)
    empty_unless_there("torchvision.transforms", Normalize=Unused)
    loop: Any = importlib.import_module("scripts.realtime_inference")
    from transformers import WhisperModel

    device = torch.device(settings.device)
    vae, unet, pe = loop.load_all_model(
        unet_model_path="models/musetalkV15/unet.pth", vae_type="sd-vae",
        unet_config="models/musetalkV15/musetalk.json", device=device,
    )  # fmt: skip
    whisper = WhisperModel.from_pretrained("models/whisper").eval().requires_grad_(False)
    dtype = half_on_cuda(settings, pe, vae.vae, unet.model, whisper)
    # Their script keeps these as globals of its main part.
    loop.args = SimpleNamespace(
        version="v15",
        extra_margin=10,
        audio_padding_length_left=2,
        audio_padding_length_right=2,
        skip_save_images=False,
    )
    loop.device, loop.timesteps, loop.weight_dtype = device, torch.tensor([0], device=device), dtype
    loop.vae, loop.unet, loop.pe, loop.whisper = vae, unet, pe, whisper
    loop.audio_processor = loop.AudioProcessor(feature_extractor_path="models/whisper")

    identity = Identity(settings)
    # Its __init__ prepares from a video; the class itself lies within torch.no_grad's wrapper.
    avatar: Any = object.__new__(class_within(loop.Avatar))
    identity.fill(avatar, settings)
    avatar.avatar_path, avatar.video_out_path, avatar.idx = "avatar", "avatar", 0

    ours = Ours(settings, layout, identity)
    save(out)
    pcm = synthetic_speech(8.0 if settings.cuda else 1.6, seed=11)
    heard = _store_wav("compare.wav", pcm)
    features, length = loop.audio_processor.get_audio_feature(heard, weight_dtype=dtype)
    theirs = loop.audio_processor.get_whisper_chunk(features, device, dtype, whisper, length, fps=25)
    out["features"] = feature_differences(ours.core, theirs.float(), pcm)
    save(out)

    avatar.batch_size = FRAMES
    short = _store_wav("short.wav", pcm[: 2 * FRAMES * 640])
    tap = Tap(unet.model)
    faces: list[Image] = []
    decode = vae.decode_latents

    def decode_and_keep(latents: Tensor) -> Image:
        made: Image = decode(latents)
        faces.extend(made)
        return made

    vae.decode_latents = decode_and_keep
    avatar.inference(short, None, 25, False)
    vae.decode_latents = decode
    import cv2

    pictures = [np.asarray(cv2.imread(f"avatar/tmp/{n:08d}.png"), dtype=np.uint8) for n in range(FRAMES)]
    chunk = loop.audio_processor.get_whisper_chunk(
        *(lambda got: (got[0], device, dtype, whisper, got[1]))(
            loop.audio_processor.get_audio_feature(short, weight_dtype=dtype)
        ),
        fps=25,
    )
    rgb = np.stack(faces)[..., ::-1]
    out["differences"] = ours.differences(chunk, tap.close(), np.ascontiguousarray(rgb), pictures)
    del ours
    as_torch_starts()
    save(out)

    loop.args.skip_save_images = True
    for size in (16, 20) if settings.cuda else (8,):
        avatar.batch_size = size
        pictures_wanted = (50 if settings.cuda else 2) * size
        long = _store_wav("long.wav", np.resize(pcm, pictures_wanted * 640))
        if settings.cuda:
            avatar.inference(short, None, 25, True)  # warm up
            torch.cuda.synchronize()
        start = time.perf_counter()
        avatar.inference(long, None, 25, True)
        took = time.perf_counter() - start
        out[f"fps, batch {size}"] = round(pictures_wanted / took, 1)
        out["loop"] = "its Avatar.inference, pictures pasted and not written, speech features included"
        save(out)


def _load_wav(path: str, sr: int = 16_000) -> tuple[npt.NDArray[np.float32], int]:
    """In place of librosa.load, for the 16-kHz mono files that are written here."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return pcm.astype(np.float32) / np.float32(32768), sr


def _store_wav(path: str, pcm: npt.NDArray[np.int16]) -> str:
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(pcm.tobytes())
    return path
