"""An identity prepared for MuseTalk, on disk and back: parts of a portrait that other renderers ignore. No torch.

In a portrait's folder (`avatar/portrait.py`) three roles more: `musetalk` (JSON: how many pictures, of which size),
`musetalk-frames` (MP4, H.264: the pictures), `musetalk-tensors` (safetensors: boxes, landmarks, masks and, if weights
were there when it was prepared, latents). Everything is bounded and compared before it is used.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import av
import av.error
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar.frames import FPS, Planes
from avatar.musetalk.avatars import AvatarError, AvatarFrame
from avatar.musetalk.config import MuseTalkConfig
from avatar.musetalk.portrait_landmarks import COUNT, Box
from avatar.portrait import PortraitError, part_content, read_manifest

if TYPE_CHECKING:
    from avatar.musetalk.portrait_latents import LatentEncoder

Cycle = Literal["ping-pong", "loop"]
"""How the pictures follow each other: forth and back, or from the last one to the first."""
ABOUT, FRAMES, TENSORS = "musetalk", "musetalk-frames", "musetalk-tensors"
"""Roles in the manifest."""
MOST_FRAMES = 3000
LARGEST_PX = 1024
LARGEST_ABOUT_BYTES, LARGEST_FRAMES_BYTES, LARGEST_TENSORS_BYTES = 1 << 16, 1 << 30, 4 << 30
CRF = "10"
"""x264's quality: no difference to the picture can be seen."""
_BT601, _LIMITED_RANGE = 6, 1


class _About(BaseModel):
    """`musetalk.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1]
    frames: Annotated[int, Field(ge=1, le=MOST_FRAMES)]
    width: Annotated[int, Field(ge=64, le=LARGEST_PX, multiple_of=2)]
    height: Annotated[int, Field(ge=64, le=LARGEST_PX, multiple_of=2)]
    fps: Literal[25]
    cycle: Cycle
    landmarks: Literal["ibug-68"]
    model: Annotated[str, Field(max_length=40)] | None
    """Whose latents they are; None: there are none."""


@dataclass(frozen=True, eq=False)
class PreparedFrames:
    """All pictures of an identity, each once.

    Args:
        mp4: the pictures as they lie on disk, see `encoded`.
        bodies: the same, decoded: I420 [height * 3 // 2, width] each.
        boxes: one a picture. masks: uint8 [box height, box width] each.
        landmarks: float32 [frames, 68, 2], px.
        latents: float32 [frames, 8, side, side], or None where no weights were there.
        model: the config's name that the latents belong to.
        order: how they follow each other.
    """

    mp4: bytes
    bodies: tuple[Planes, ...]
    boxes: tuple[Box, ...]
    masks: tuple[npt.NDArray[np.uint8], ...]
    landmarks: npt.NDArray[np.float32]
    latents: npt.NDArray[np.float32] | None
    model: str | None
    order: Cycle = "ping-pong"

    @property
    def cycle(self) -> list[int]:
        """Which picture each tick of the idle cycle shows; then it begins again."""
        count = len(self.bodies)
        if self.order == "loop":
            return list(range(count))
        return [frame_at(tick, count) for tick in range(cycle_length(count))]

    def with_latents(self, encoder: LatentEncoder) -> PreparedFrames:
        """The same with latents of this encoder."""
        latents = np.stack(list(encoder.latents(zip(self.bodies, self.boxes, strict=True))))
        return replace(self, latents=latents, model=encoder.config.name)

    def avatar_frames(self, config: MuseTalkConfig) -> list[AvatarFrame]:
        """The pictures as the core takes them; `cycle` says which of them a tick shows.

        Raises:
            AvatarError: there are no latents, or they are another model's.
        """
        if self.latents is None:
            raise AvatarError(
                "the portrait was prepared without weights and has no latents: fetch them with `mien download "
                "musetalk`, then prepare it again"
            )
        if self.model != config.name:
            raise AvatarError(f"the portrait's latents are those of {self.model}, not of {config.name}")
        return [
            AvatarFrame(body, box, mask, latents)
            for body, box, mask, latents in zip(self.bodies, self.boxes, self.masks, self.latents, strict=True)
        ]


def cycle_length(frames: int) -> int:
    """Ticks after which a cycle that runs forth and back begins again: neither end is shown twice."""
    return max(1, 2 * frames - 2)


def frame_at(tick: int, frames: int) -> int:
    """Which picture the cycle shows at a tick."""
    place = tick % cycle_length(frames)
    return place if place < frames else 2 * frames - 2 - place


def has_musetalk(folder: Path) -> bool:
    """Whether a portrait has these parts at all.

    Raises:
        PortraitError: it is no portrait.
    """
    return ABOUT in read_manifest(folder).parts


def latents_of(folder: Path) -> str | None:
    """The config's name that a portrait's latents belong to; None: it has none.

    Raises:
        PortraitError: it is no portrait, or was not prepared for MuseTalk.
    """
    return _about(folder).model


def _about(folder: Path) -> _About:
    manifest = read_manifest(folder)
    if ABOUT not in manifest.parts:
        raise PortraitError(f"{folder} was not prepared for MuseTalk: prepare it again with --for musetalk")
    try:
        return _About.model_validate_json(part_content(folder, manifest, ABOUT, LARGEST_ABOUT_BYTES))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise PortraitError(f"{folder / manifest.parts[ABOUT]}: {place}: {problem['msg']}") from None


def parts_of(frames: PreparedFrames) -> dict[str, tuple[str, bytes]]:
    """The files by their roles, for `save_portrait`."""
    from safetensors.numpy import save

    height, width = frames.bodies[0].shape[0] * 2 // 3, frames.bodies[0].shape[1]
    about = _About(
        version=1,
        frames=len(frames.bodies),
        width=width,
        height=height,
        fps=25,
        cycle=frames.order,
        landmarks="ibug-68",
        model=frames.model if frames.latents is not None else None,
    )
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "boxes": np.array(frames.boxes, np.int32),
        "landmarks": frames.landmarks,
        "masks": np.concatenate([mask.ravel() for mask in frames.masks]),
    }
    if frames.latents is not None:
        tensors["latents"] = np.ascontiguousarray(frames.latents)
    return {
        ABOUT: ("musetalk.json", about.model_dump_json(indent=1).encode() + b"\n"),
        FRAMES: ("musetalk.mp4", frames.mp4),
        TENSORS: ("musetalk.safetensors", save(tensors)),
    }


def load_frames(folder: Path, config: MuseTalkConfig) -> PreparedFrames:
    """Read and check what a portrait holds for MuseTalk. Blocking.

    Args:
        config: whose latents are expected.

    Raises:
        PortraitError: the portrait was not prepared for it, was changed since, or does not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    about = _about(folder)
    manifest = read_manifest(folder)
    try:
        tensors = load(part_content(folder, manifest, TENSORS, LARGEST_TENSORS_BYTES))
    except (SafetensorError, ValueError, KeyError) as error:
        raise PortraitError(f"{folder / manifest.parts[TENSORS]} cannot be read ({error}): prepare it again") from None
    count = about.frames
    side = config.latent_px
    boxes = _tensor(folder, tensors, "boxes", np.int32, (count, 4))
    landmarks = _tensor(folder, tensors, "landmarks", np.float32, (count, COUNT, 2))
    latents = None
    if about.model is not None:
        latents = _tensor(folder, tensors, "latents", np.float32, (count, config.unet.in_channels, side, side))
    for left, top, right, bottom in boxes.tolist():
        if not (0 <= left < right <= about.width and 0 <= top < bottom <= about.height):
            raise PortraitError(f"{folder}: a face box lies outside its picture: prepare it again")
    sizes = ((boxes[:, 2] - boxes[:, 0]).astype(np.int64) * (boxes[:, 3] - boxes[:, 1])).tolist()
    flat = _tensor(folder, tensors, "masks", np.uint8, (sum(sizes),))
    masks, start = [], 0
    for (left, top, right, bottom), size in zip(boxes.tolist(), sizes, strict=True):
        masks.append(flat[start : start + size].reshape(bottom - top, right - left))
        start += size
    mp4 = part_content(folder, manifest, FRAMES, LARGEST_FRAMES_BYTES)
    return PreparedFrames(
        mp4=mp4,
        bodies=_decoded(folder, mp4, about),
        boxes=tuple((a, b, c, d) for a, b, c, d in boxes.tolist()),
        masks=tuple(masks),
        landmarks=landmarks,
        latents=latents,
        model=about.model,
        order=about.cycle,
    )


def _tensor(
    folder: Path, tensors: Mapping[str, npt.NDArray[Any]], name: str, kind: type[np.generic], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != kind or tensor.shape != shape or not bool(np.isfinite(tensor).all()):
        what = "is missing" if tensor is None else f"is {tensor.dtype} {tensor.shape}"
        raise PortraitError(f"{folder}: {name} {what}, not finite {np.dtype(kind)} {shape}: prepare it again")
    return tensor


def encoded(bodies: tuple[Planes, ...]) -> bytes:
    """I420 pictures as an MP4 file."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": CRF, "preset": "medium", "bf": "0"})
        stream.width, stream.height = bodies[0].shape[1], bodies[0].shape[0] * 2 // 3
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, FPS)
        codec = stream.codec_context
        codec.color_range = _LIMITED_RANGE
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT601
        for n, body in enumerate(bodies):
            image = av.VideoFrame.from_ndarray(body, format="yuv420p")
            image.pts, image.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return out.getvalue()


def decoded(content: bytes) -> tuple[Planes, ...]:
    """The pictures of `encoded`."""
    with av.open(io.BytesIO(content), "r", format="mp4") as container:
        return tuple(np.asarray(image.to_ndarray(format="yuv420p"), np.uint8) for image in container.decode(video=0))


def _decoded(folder: Path, content: bytes, about: _About) -> tuple[Planes, ...]:
    wrong = f"{folder}: its pictures are not {about.frames} of {about.width} x {about.height} px: prepare it again"
    bodies: list[Planes] = []
    try:
        with av.open(io.BytesIO(content), "r", format="mp4") as container:
            if len(container.streams.video) != 1:
                raise PortraitError(wrong)
            for image in container.decode(video=0):
                if (image.width, image.height) != (about.width, about.height) or len(bodies) == about.frames:
                    raise PortraitError(wrong)
                bodies.append(np.asarray(image.to_ndarray(format="yuv420p"), np.uint8))
    except (av.error.FFmpegError, OSError) as error:
        raise PortraitError(f"{folder}: its pictures cannot be decoded ({error}): prepare it again") from None
    if len(bodies) != about.frames:
        raise PortraitError(wrong)
    return tuple(bodies)
