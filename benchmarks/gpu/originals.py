"""MuseTalk's own realtime loop and LiveTalking's, measured on this machine at the same weights, and compared with ours.

In: a checkout of each by a path; nothing of theirs is part of this repository. Each runs in a process of its own, its
own code unchanged, its own threads and queues; only what preparation would need (face detection, parsing, file formats)
and what would carry pictures away (WebRTC, text to speech) is replaced by empty modules. Out: pictures a second, and
for the same inputs the difference of features, latents, faces and pasted pictures, number by number.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import json
import os
import sys
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.core import Core, Job, Options
from avatar.musetalk.demo import synthetic_frames, synthetic_speech
from avatar.musetalk.features import Context, FeatureStream, drain, whole_utterance
from avatar.musetalk.fidelity import compare, mouth, relative_l2
from avatar.musetalk.reference import blank_models
from benchmarks.gpu.plan import VARIANTS, Settings
from benchmarks.gpu.report import commit_of
from benchmarks.gpu.tasks import Save, _weights, as_dict

_FRAMES = 8
_Image = npt.NDArray[np.uint8]


def measure(settings: Settings, save: Save, name: str, layout: str) -> None:
    """One original: ``name`` is ``musetalk`` or ``livetalking``."""
    home = _home(settings)
    os.chdir(home)
    sys.path.insert(0, settings.originals[name])
    blank_models(settings.shapes, "meta")  # diffusers looks about for what is installed: before anything is replaced
    torch.backends.cudnn.benchmark = False
    out: dict[str, Any] = {"commit": commit_of(settings.originals[name])}
    if name == "musetalk":
        _musetalk(settings, save, out, layout)
    else:
        _livetalking(settings, save, out, layout)


# What both need: models in the layout of their download, and an avatar in theirs.


def _home(settings: Settings) -> Path:
    """A folder with ``models/`` as MuseTalk's download leaves it, of the weights that this run uses."""
    home = settings.folder / "originals"
    models = home / "models"
    if (models / "ready").exists():
        return home
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    shapes, weights = settings.shapes, _weights(settings)
    (models / "musetalkV15").mkdir(parents=True, exist_ok=True)
    (models / "musetalkV15" / "musetalk.json").write_text(json.dumps(shapes.unet.as_diffusers()))
    torch.save({key: value.cpu() for key, value in weights.unet.items()}, models / "musetalkV15" / "unet.pth")
    _, vae, _ = blank_models(shapes, "cpu")
    vae.load_state_dict({key: value.cpu() for key, value in weights.vae.items()})
    vae.save_pretrained(models / "sd-vae")  # type: ignore[operator]
    width, heads = shapes.whisper.width, shapes.whisper.heads
    whisper = WhisperModel(
        WhisperConfig(
            d_model=width, encoder_layers=shapes.whisper.layers, encoder_attention_heads=heads, encoder_ffn_dim=4 *
            width, decoder_layers=1, decoder_attention_heads=heads, decoder_ffn_dim=4 * width, vocab_size=8,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )
    )  # fmt: skip
    whisper.encoder.load_state_dict({key: value.cpu() for key, value in weights.whisper.items()})
    whisper.save_pretrained(models / "whisper")
    WhisperFeatureExtractor().save_pretrained(models / "whisper")
    (models / "ready").touch()
    return home


class _Identity:
    """The same identity in both forms: ours, and the originals' lists of frames, boxes, masks and latents."""

    def __init__(self, settings: Settings) -> None:
        self.frames = synthetic_frames(settings.shapes, _FRAMES, *settings.picture)
        self.pictures = [_bgr_of(frame.body) for frame in self.frames]
        self.boxes = [frame.box for frame in self.frames]
        self.crops = [_crop(frame) for frame in self.frames]
        self.masks = [_large_mask(frame, crop) for frame, crop in zip(self.frames, self.crops, strict=True)]

    def latents(self, settings: Settings) -> list[Tensor]:
        return [torch.from_numpy(frame.latents)[None].to(settings.device) for frame in self.frames]

    def fill(self, avatar: Any, settings: Settings) -> None:
        """Set what their preparation would have loaded."""
        avatar.frame_list_cycle = self.pictures
        avatar.coord_list_cycle = self.boxes
        avatar.mask_list_cycle = self.masks
        avatar.mask_coords_list_cycle = self.crops
        avatar.input_latent_list_cycle = self.latents(settings)


def _crop(frame: AvatarFrame) -> list[int]:
    """The square 1.5 times the box that both originals paste through, kept within the picture."""
    left, top, right, bottom = frame.box
    half = int(max(right - left, bottom - top) // 2 * 1.5)
    x, y = (left + right) // 2, (top + bottom) // 2
    return [max(0, x - half), max(0, y - half), min(frame.width, x + half), min(frame.height, y + half)]


def _large_mask(frame: AvatarFrame, crop: list[int]) -> _Image:
    left, top, right, bottom = frame.box
    mask = np.zeros((crop[3] - crop[1], crop[2] - crop[0]), dtype=np.uint8)
    mask[top - crop[1] : bottom - crop[1], left - crop[0] : right - crop[0]] = frame.mask
    return np.repeat(mask[..., None], 3, axis=2)


def _bgr_of(planes: Planes) -> _Image:
    """I420 (BT.601, limited range) to BGR with each chroma sample held over its pixels."""
    from avatar.musetalk.reference import _rgb_of

    height = planes.shape[0] * 2 // 3
    rgb = _rgb_of(planes.astype(np.float64), height, planes.shape[1])
    return np.ascontiguousarray(np.clip(np.rint(rgb), 0, 255).astype(np.uint8)[..., ::-1])


def _i420_of_bgr(picture: _Image) -> Planes:
    from avatar.musetalk.reference import _i420_of

    return _i420_of(picture[..., ::-1].astype(np.float64))


def _empty(name: str, **contents: object) -> None:
    """Put an empty module in the place of one that is not needed (or not there)."""
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for key, value in contents.items():
        setattr(module, key, value)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def _unless_there(name: str, **contents: object) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        _empty(name, **contents)


def _class_within(value: Any) -> type:
    """The class itself, where ``torch.no_grad()`` was put on a class, which torch wraps in functions."""
    if inspect.isclass(value):
        return value
    cells = inspect.unwrap(value).__closure__ or ()
    return next(cell.cell_contents for cell in cells if inspect.isclass(cell.cell_contents))


class _Unused:
    """Stands for what is imported by name and not called on this path."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass


def _half_on_cuda(settings: Settings, *modules: torch.nn.Module) -> torch.dtype:
    dtype = torch.float16 if settings.cuda else torch.float32
    for module in modules:
        module.to(settings.device, dtype)
    return dtype


class _Tap:
    """Keeps what a module gave, so that latents can be compared; a forward hook of PyTorch's own."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.taken: list[Tensor] = []
        self._handle = module.register_forward_hook(self._take)

    def _take(self, module: torch.nn.Module, inputs: object, output: Any) -> None:
        self.taken.append(output.sample.detach().float().cpu())

    def close(self) -> Tensor:
        self._handle.remove()
        return torch.cat(self.taken)


class _Ours:
    """Our core on the same inputs: the numbers to compare with."""

    def __init__(self, settings: Settings, layout: str, identity: _Identity) -> None:
        self.core = Core(
            settings.shapes, _weights(settings), settings.device, Options(batch_sizes=(_FRAMES,), **VARIANTS[layout])
        )
        self.avatar = self.core.avatar(identity.frames)

    def differences(self, heard: Tensor, latents: Tensor, faces: _Image, pictures: list[_Image]) -> dict[str, Any]:
        """The same features and avatar frames 0, 1, ... through our core, against what an original made of them."""
        count = min(_FRAMES, len(pictures), len(latents))
        own = self.core.render([Job(heard[n].float().to(self.core.device), self.avatar, n) for n in range(count)])
        lane = self.core.lanes[_FRAMES]
        ours = np.stack([picture for picture in own if picture is not None])
        theirs = np.stack([_i420_of_bgr(picture) for picture in pictures[:count]])
        rows = theirs.shape[1] * 2 // 3
        patch = self.avatar.patches[0].part
        part = (slice(None), slice(patch.top, patch.bottom), slice(patch.left, patch.right))
        return {
            "latents, relative L2": relative_l2(lane.latents[:count].float().cpu(), latents[:count]),
            "faces, generated half": as_dict(
                compare(lane.faces[:count].cpu().numpy()[:, mouth(faces).shape[1] :], mouth(faces[:count]))
            ),
            "pictures, luma": as_dict(compare(ours[:, :rows], theirs[:, :rows])),
            "pictures, luma of the patch": as_dict(compare(ours[part], theirs[part])),
        }


# MuseTalk


def _musetalk(settings: Settings, save: Save, out: dict[str, Any], layout: str) -> None:
    _empty("musetalk.utils.preprocessing", get_landmark_and_bbox=None, read_imgs=None)
    _empty("musetalk.utils.face_parsing", FaceParsing=_Unused)
    _unless_there("omegaconf", OmegaConf=_Unused)
    _empty("librosa", load=_load_wav)
    _unless_there("torchvision", transforms=None)
    _unless_there("torchvision.transforms", Normalize=_Unused)
    loop: Any = importlib.import_module("scripts.realtime_inference")
    from transformers import WhisperModel

    device = torch.device(settings.device)
    vae, unet, pe = loop.load_all_model(
        unet_model_path="models/musetalkV15/unet.pth", vae_type="sd-vae",
        unet_config="models/musetalkV15/musetalk.json", device=device,
    )  # fmt: skip
    whisper = WhisperModel.from_pretrained("models/whisper").eval().requires_grad_(False)
    dtype = _half_on_cuda(settings, pe, vae.vae, unet.model, whisper)
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

    identity = _Identity(settings)
    # Its __init__ prepares from a video; the class itself lies within torch.no_grad's wrapper.
    avatar: Any = object.__new__(_class_within(loop.Avatar))
    identity.fill(avatar, settings)
    avatar.avatar_path, avatar.video_out_path, avatar.idx = "avatar", "avatar", 0

    ours = _Ours(settings, layout, identity)
    save(out)
    pcm = synthetic_speech(8.0 if settings.cuda else 1.6, seed=11)
    heard = _store_wav("compare.wav", pcm)
    features, length = loop.audio_processor.get_audio_feature(heard, weight_dtype=dtype)
    theirs = loop.audio_processor.get_whisper_chunk(features, device, dtype, whisper, length, fps=25)
    out["features"] = _feature_differences(ours.core, theirs.float(), pcm)
    save(out)

    avatar.batch_size = _FRAMES
    short = _store_wav("short.wav", pcm[: 2 * _FRAMES * 640])
    tap = _Tap(unet.model)
    faces: list[_Image] = []
    decode = vae.decode_latents

    def decode_and_keep(latents: Tensor) -> _Image:
        made: _Image = decode(latents)
        faces.extend(made)
        return made

    vae.decode_latents = decode_and_keep
    avatar.inference(short, None, 25, False)
    vae.decode_latents = decode
    import cv2

    pictures = [np.asarray(cv2.imread(f"avatar/tmp/{n:08d}.png"), dtype=np.uint8) for n in range(_FRAMES)]
    chunk = loop.audio_processor.get_whisper_chunk(
        *(lambda got: (got[0], device, dtype, whisper, got[1]))(
            loop.audio_processor.get_audio_feature(short, weight_dtype=dtype)
        ),
        fps=25,
    )
    rgb = np.stack(faces)[..., ::-1]
    out["differences"] = ours.differences(chunk, tap.close(), np.ascontiguousarray(rgb), pictures)
    del ours
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


def _feature_differences(core: Core, theirs: Tensor, pcm: npt.NDArray[np.int16]) -> dict[str, float]:
    """Relative L2 of our features, offline and streamed, against theirs over the whole of the speech."""
    offline = whole_utterance(core.encoder, pcm)
    out = {"whole utterance": relative_l2(offline, theirs)}
    for context in Context:
        stream = FeatureStream(core.encoder, context)
        stream.push(pcm)
        stream.end()
        streamed = torch.cat([rows for _, rows in drain(stream)])
        out[f"streamed, {context.value}"] = relative_l2(streamed[: len(theirs)], theirs)
    return out


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


# LiveTalking


class _Counter:
    """In the place of its WebRTC output: counts the pictures and when they came."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.times = wanted, list[float]()
        self.all_there = threading.Event()

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def push_video_frame(self, picture: _Image) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) >= self.wanted:
            self.all_there.set()

    def push_audio_frame(self, samples: object, userdata: object) -> None:
        pass


def _livetalking(settings: Settings, save: Save, out: dict[str, Any], layout: str) -> None:
    replaced: dict[str, dict[str, object]] = {
        "resampy": {},
        "soundfile": {},
        "av": {"AudioFrame": _Unused, "VideoFrame": _Unused},
        "torchvision": {"transforms": None},
        "torchvision.transforms": {"Normalize": _Unused},
    }
    for name, contents in replaced.items():
        _unless_there(name, **contents)
    importlib.import_module("utils.logger")  # as its app does, before it puts another `utils` on the path
    module = importlib.import_module("avatars.musetalk_avatar")
    from queue import Queue

    utils = importlib.import_module("avatars.musetalk.utils.utils")
    whisper_asr = importlib.import_module("avatars.audio_features.whisper")
    vae, unet, pe = utils.load_all_model(device=torch.device(settings.device))
    ear = importlib.import_module("avatars.musetalk.whisper.audio2feature").Audio2Feature(model_path="models/whisper")
    _half_on_cuda(settings, pe, vae.vae, unet.model)

    identity = _Identity(settings)
    size = 16 if settings.cuda else _FRAMES
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

    ours = _Ours(settings, layout, identity)
    heard = whole_utterance(ours.core.encoder, synthetic_speech(size / 25 + 0.1, seed=11))[:size]
    tap = _Tap(unet.model)
    with torch.no_grad():
        faces = avatar.inference_batch(0, list(heard.cpu().numpy()))
        pictures = [avatar.paste_back_frame(faces[n], n) for n in range(_FRAMES)]
    out["differences"] = ours.differences(heard, tap.close(), np.ascontiguousarray(faces[..., ::-1]), pictures)
    del ours
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


def _without_gradients(run: Callable[[threading.Event], None]) -> Callable[[threading.Event], None]:
    """no_grad holds for one thread; in the original it is set around the whole."""

    def inner(quit_event: threading.Event) -> None:
        with torch.no_grad():
            run(quit_event)

    return inner
