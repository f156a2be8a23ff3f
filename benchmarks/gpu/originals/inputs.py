"""What both originals are given: models as their download leaves them, one identity in their form and in ours.

Also what stands in the place of modules that this path does not need, and the comparison with our core on the same
inputs.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.batches import Job
from avatar.musetalk.core import Core, Options
from avatar.musetalk.demo import synthetic_frames
from avatar.musetalk.features import Context, FeatureStream, drain, whole_utterance
from avatar.musetalk.fidelity import as_dict, compare, mouth, relative_l2
from avatar.musetalk.reference import blank_models
from benchmarks.gpu.plan import VARIANTS, Settings
from benchmarks.gpu.prepare import weights_of

FRAMES = 8
"""Frames of the identity, and pictures that are compared."""
Image = npt.NDArray[np.uint8]


def home_of(settings: Settings) -> Path:
    """A folder with ``models/`` as MuseTalk's download leaves it, of the weights that this run uses."""
    home = settings.folder / "originals"
    models = home / "models"
    if (models / "ready").exists():
        return home
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    shapes, weights = settings.shapes, weights_of(settings)
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


class Identity:
    """The same identity in both forms: ours, and the originals' lists of frames, boxes, masks and latents."""

    def __init__(self, settings: Settings) -> None:
        self.frames = synthetic_frames(settings.shapes, FRAMES, *settings.picture)
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


def _large_mask(frame: AvatarFrame, crop: list[int]) -> Image:
    left, top, right, bottom = frame.box
    mask = np.zeros((crop[3] - crop[1], crop[2] - crop[0]), dtype=np.uint8)
    mask[top - crop[1] : bottom - crop[1], left - crop[0] : right - crop[0]] = frame.mask
    return np.repeat(mask[..., None], 3, axis=2)


def _bgr_of(planes: Planes) -> Image:
    """I420 (BT.601, limited range) to BGR with each chroma sample held over its pixels."""
    from avatar.musetalk.reference import _rgb_of

    height = planes.shape[0] * 2 // 3
    rgb = _rgb_of(planes.astype(np.float64), height, planes.shape[1])
    return np.ascontiguousarray(np.clip(np.rint(rgb), 0, 255).astype(np.uint8)[..., ::-1])


def _i420_of_bgr(picture: Image) -> Planes:
    from avatar.musetalk.reference import _i420_of

    return _i420_of(picture[..., ::-1].astype(np.float64))


def empty_module(name: str, **contents: object) -> None:
    """Put an empty module in the place of one that is not needed (or not there)."""
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for key, value in contents.items():
        setattr(module, key, value)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def empty_unless_there(name: str, **contents: object) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        empty_module(name, **contents)


def class_within(value: Any) -> type:
    """The class itself, where ``torch.no_grad()`` was put on a class, which torch wraps in functions."""
    if inspect.isclass(value):
        return value
    cells = inspect.unwrap(value).__closure__ or ()
    return next(cell.cell_contents for cell in cells if inspect.isclass(cell.cell_contents))


class Unused:
    """Stands for what is imported by name and not called on this path."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass


def half_on_cuda(settings: Settings, *modules: torch.nn.Module) -> torch.dtype:
    dtype = torch.float16 if settings.cuda else torch.float32
    for module in modules:
        module.to(settings.device, dtype)
    return dtype


def as_torch_starts() -> None:
    """PyTorch's own choices, which their code leaves alone and a core of ours has set."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_cudnn_sdp(True)


class Tap:
    """Keeps what a module gave, so that latents can be compared; a forward hook of PyTorch's own."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.taken: list[Tensor] = []
        self._handle = module.register_forward_hook(self._take)

    def _take(self, module: torch.nn.Module, inputs: object, output: Any) -> None:
        self.taken.append(output.sample.detach().float().cpu())

    def close(self) -> Tensor:
        self._handle.remove()
        return torch.cat(self.taken)


class Ours:
    """Our core on the same inputs: the numbers to compare with."""

    def __init__(self, settings: Settings, layout: str, identity: Identity) -> None:
        self.core = Core(
            settings.shapes, weights_of(settings), settings.device, Options(batch_sizes=(FRAMES,), **VARIANTS[layout])
        )
        self.avatar = self.core.avatar(identity.frames)

    def differences(self, heard: Tensor, latents: Tensor, faces: Image, pictures: list[Image]) -> dict[str, Any]:
        """The same features and avatar frames 0, 1, ... through our core, against what an original made of them."""
        count = min(FRAMES, len(pictures), len(latents))
        own = self.core.render([Job(heard[n].float().to(self.core.device), self.avatar, n) for n in range(count)])
        lane = self.core.lanes[FRAMES]
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


def feature_differences(core: Core, theirs: Tensor, pcm: npt.NDArray[np.int16]) -> dict[str, float]:
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
