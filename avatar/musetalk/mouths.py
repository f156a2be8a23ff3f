"""What is done with a generated mouth on the host: is it one at all, half of it, and the same one on the next frame.

In: whole I420 pictures and the prepared frames they were made on. Out: a reason why a picture must not be shown, or
another picture. No torch; quick, since all of it looks at the patch alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from avatar.frames import Planes
from avatar.musetalk.avatars import AvatarFrame, Rectangle, planes_of

BLOCK_PX = 8
"""A mouth opens over some blocks; skin stays skin over most."""
MOST_LUMA_OFF = 40.0
MOST_CHROMA_OFF = 14.0
"""Of 255: what the middle block may be off by from the prepared frame."""
MOST_ROUGHNESS, ROUGHNESS_SLACK = 3.0, 6.0
"""How much more detail within a block than in the prepared frame."""
LEAST_SHADING = 0.3
"""Of the prepared frame's differences between blocks: a face is no flat colour."""

EVERY = 2
"""Of the pixels of a row and of the rows: which are looked at."""

_Blocks = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Look:
    """The blocks of a patch that show the generated face, as far as it matters here."""

    shown: npt.NDArray[np.bool_]
    mean: _Blocks
    chroma: tuple[_Blocks, _Blocks]
    roughness: float

    @classmethod
    def of(cls, picture: Planes, frame: AvatarFrame, shown: npt.NDArray[np.bool_] | None = None) -> _Look:
        part = frame.patch
        count = part.height // BLOCK_PX, part.width // BLOCK_PX
        if shown is None:
            mask = frame.patch_bytes()[-part.area :].reshape(part.height, part.width)
            shown = np.asarray(_blocks(mask, count).mean(axis=(1, 3)) > 127)
        y, u, v = (_blocks(plane, count) for plane in planes_of(picture, part))
        rough = np.abs(y[..., 1:] - y[..., :-1]).mean(axis=(1, 3))[shown]
        half = [plane.mean(axis=(1, 3))[shown] for plane in (u, v)]
        return cls(
            shown,
            y.mean(axis=(1, 3))[shown],
            (half[0], half[1]),
            float(np.median(rough)) if rough.size else 0.0,
        )


_known: WeakKeyDictionary[AvatarFrame, _Look] = WeakKeyDictionary()
"""How prepared frames look themselves."""


def incoherence(picture: Planes, frame: AvatarFrame) -> str | None:
    """Why the generated mouth cannot be one, or None.

    The lower half of a face keeps its colour, its shading and about its amount of detail whatever it says. Grey or
    black output, noise, swapped colours and blocks in disorder do not.
    """
    if frame not in _known:
        _known[frame] = _Look.of(frame.body, frame)
    was = _known[frame]
    if not was.shown.any():
        return None  # too small to tell
    now = _Look.of(picture, frame, was.shown)
    mean, mean_before = now.mean, was.mean
    off = float(np.median(np.abs(mean - mean_before)))
    if off > MOST_LUMA_OFF:
        return f"its brightness is off by {off:.0f} of 255"
    for name, chroma, chroma_before in zip("UV", now.chroma, was.chroma, strict=True):
        off = float(np.median(np.abs(chroma - chroma_before)))
        if off > MOST_CHROMA_OFF:
            return f"its colour is off by {off:.0f} of 255 in {name}"
    rough, rough_before = now.roughness, was.roughness
    if rough > MOST_ROUGHNESS * rough_before + ROUGHNESS_SLACK:
        return f"it has {rough:.0f} of 255 of noise, the prepared frame {rough_before:.0f}"
    shading, shading_before = float(mean.std()), float(mean_before.std())
    if shading < LEAST_SHADING * shading_before and shading_before > 4:
        return f"it is flat: blocks differ by {shading:.1f} of 255, in the prepared frame by {shading_before:.1f}"
    if shading_before > 4 and mean.size >= 16 and float(np.corrcoef(mean, mean_before)[0, 1]) < 0.0:
        return "light and shadow are not where they were"
    return None


def eased(picture: Planes, frame: AvatarFrame, weight: float) -> Planes:
    """Between the prepared frame (0) and the generated mouth (1): how a mouth opens from rest, and eases shut.

    Args:
        picture: made on ``frame``; written to.
    """
    if weight >= 1.0:
        return picture
    share = round(256 * weight)
    for made, rest in zip(planes_of(picture, frame.patch), planes_of(frame.body, frame.patch), strict=True):
        made[:] = (rest.astype(np.int32) * (256 - share) + made.astype(np.int32) * share + 128) >> 8
    return picture


def carried(picture: Planes, made_on: AvatarFrame, onto: AvatarFrame) -> Planes:
    """The same mouth on another frame of the cycle: what it changed is moved along with the face box, and added."""
    out = onto.body.copy()
    left = (onto.box[0] + onto.box[2] - made_on.box[0] - made_on.box[2]) // 4 * 2
    top = (onto.box[1] + onto.box[3] - made_on.box[1] - made_on.box[3]) // 4 * 2
    patch = made_on.patch
    target = Rectangle(
        max(0, patch.left + left),
        max(0, patch.top + top),
        min(onto.width, patch.right + left),
        min(onto.height, patch.bottom + top),
    )
    if target.width <= 0 or target.height <= 0:
        return out
    source = Rectangle(target.left - left, target.top - top, target.right - left, target.bottom - top)
    for to, made, rest in zip(
        planes_of(out, target), planes_of(picture, source), planes_of(made_on.body, source), strict=True
    ):
        change = made.astype(np.int16) - rest
        to[:] = np.clip(to + change, 0, 255).astype(np.uint8)
    return out


def _blocks(plane: npt.NDArray[np.uint8], count: tuple[int, int]) -> _Blocks:
    """[rows, pixels, columns, pixels]: what is looked at of each block of a plane, of full or half size."""
    rows, columns = count
    side = min(plane.shape[0] // max(1, rows), BLOCK_PX)
    side = BLOCK_PX if side >= BLOCK_PX else BLOCK_PX // 2
    seen = plane[: rows * side : EVERY, : columns * side : EVERY]
    return seen.reshape(rows, side // EVERY, columns, side // EVERY).astype(np.float32)
