"""Pictures of a face into what MuseTalk needs of them: bodies of one size, boxes, landmarks, masks and latents.

In: a square of each picture and the mesh in it. Out: `PreparedFrames`. Latents need the image model's weights; without
them everything else is made, and it is said why.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from avatar.frames import MienError, Planes
from avatar.musetalk.config import MUSETALK_V15
from avatar.musetalk.portrait_frames import Cycle, PreparedFrames, decoded, encoded
from avatar.musetalk.portrait_landmarks import Box, face_box, landmarks_68
from avatar.musetalk.portrait_mask import jaw_mask
from avatar.portrait_detect import FaceMesh

if TYPE_CHECKING:
    from avatar.musetalk.portrait_latents import LatentEncoder

Bytes = npt.NDArray[np.uint8]

EXTRA = ("torch", "diffusers", "safetensors")


class NotForMuseTalk(MienError):
    """What MuseTalk needs cannot be made: what is missing, and what to do."""


def open_encoder(weights: Path, device: str | None = None) -> LatentEncoder:
    """The image model from the weights' folder, on the GPU where there is one.

    Raises:
        NotForMuseTalk: its packages or its weights are not there.
        WeightsError: the weights are damaged or another model's.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise NotForMuseTalk(f"{', '.join(missing)} not installed: pip install 'mien[musetalk]'")
    import torch

    from avatar.musetalk.portrait_latents import LatentEncoder
    from avatar.musetalk.weights import VAE, load_vae

    if not any((weights / name).is_file() for name in VAE):
        raise NotForMuseTalk(f"no {VAE[0]} in {weights}: mien download musetalk")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return LatentEncoder(MUSETALK_V15, load_vae(weights), device)


def prepared_frames(
    pictures: Iterable[tuple[Bytes, FaceMesh]],
    crop: tuple[int, int, int],
    size_px: int,
    encoder: LatentEncoder | None,
    progress: Callable[[int], None],
    order: Cycle = "ping-pong",
) -> PreparedFrames:
    """All pictures of an idle cycle, each once.

    Args:
        pictures: BGR, and the face's mesh in px of it.
        crop: left, top and side of the square that becomes the picture.
        size_px: its side when finished; even.
        encoder: makes the latents; None: there are none.
        progress: told how many pictures are done.
        order: how they follow each other.

    Raises:
        NotForMuseTalk: safetensors is not installed, or a face lies outside the square.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise NotForMuseTalk("safetensors not installed: pip install 'mien[musetalk]'")
    bodies: list[Planes] = []
    boxes: list[Box] = []
    masks, landmarks = [], []
    for n, (image, mesh) in enumerate(pictures):
        body, own = squared(image, mesh, crop, size_px)
        points = landmarks_68(own)
        box = face_box(points, size_px, size_px)
        mask = None if box is None else jaw_mask(own, box)
        if box is None or mask is None or not mask.any():
            raise NotForMuseTalk(f"the face leaves the picture at {n / 25:.1f} s: leave more room around it")
        bodies.append(body)
        boxes.append(box)
        masks.append(mask)
        landmarks.append(points)
        progress(n + 1)
    # The latents are those of the pictures as they will be read back.
    mp4 = encoded(tuple(bodies))
    frames = PreparedFrames(mp4, decoded(mp4), tuple(boxes), tuple(masks), np.stack(landmarks), None, None, order)
    return frames if encoder is None else frames.with_latents(encoder)


def squared(image: Bytes, mesh: FaceMesh, crop: tuple[int, int, int], size_px: int) -> tuple[Planes, FaceMesh]:
    """The square of a picture at its finished size, as I420, and the mesh in px of it."""
    left, top, side = crop
    part = image[top : top + side, left : left + side]
    how = cv2.INTER_AREA if size_px <= side else cv2.INTER_CUBIC
    sized = cv2.resize(part, (size_px, size_px), interpolation=how)
    scale = np.float32(size_px / side)
    corner = np.array([left, top], np.float32)
    points = np.hstack([(mesh.points[:, :2] - corner) * scale, mesh.points[:, 2:] * scale]).astype(np.float32)
    body = np.asarray(cv2.cvtColor(sized, cv2.COLOR_BGR2YUV_I420), np.uint8)
    return body, FaceMesh(points, ((mesh.irises - corner) * scale).astype(np.float32), mesh.presence)


def square_for_all(
    square: tuple[int, int, int], meshes: Iterable[FaceMesh], width: int, height: int
) -> tuple[int, int, int]:
    """The square, grown and moved as little as needed for every face, with some room, to stay in it where it can."""
    left, top, side = square
    points = np.concatenate([mesh.points[:, :2] for mesh in meshes])
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.1 * float((high - low).max())
    wanted = float((high - low).max()) + 2 * room
    middle_x, middle_y = left + side / 2, top + side / 2
    side = min(max(side, int(wanted)), width, height) // 2 * 2
    left = round(min(max(middle_x - side / 2, float(high[0]) + room - side), float(low[0]) - room))
    top = round(min(max(middle_y - side / 2, float(high[1]) + room - side), float(low[1]) - room))
    return max(0, min(left, width - side)), max(0, min(top, height - side)), side
