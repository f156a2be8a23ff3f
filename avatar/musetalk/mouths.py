"""What is done with a generated mouth on the host: is it one at all, half of it, and the same one on the next frame.

In: whole I420 pictures and the prepared frames they were made on. Out: a reason why a picture must not be shown, or
another picture. No torch; quick, since all of it looks at the patch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cv2
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


Check = Callable[[Planes, AvatarFrame], str | None]
"""Says why a picture must not be shown; None: it may be."""

_Means = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Look:
    """The blocks of a patch that show the generated face, as far as it matters here."""

    shown: npt.NDArray[np.bool_]
    mean: _Means
    chroma: tuple[_Means, _Means]
    roughness: float

    @classmethod
    def of(cls, picture: Planes, frame: AvatarFrame, shown: npt.NDArray[np.bool_] | None = None) -> _Look:
        part = frame.patch
        count = part.width // BLOCK_PX, part.height // BLOCK_PX
        if min(count) == 0:
            nothing = np.zeros(0, np.float32)
            return cls(np.zeros((0, 0), bool), nothing, (nothing, nothing), 0.0)
        if shown is None:
            mask = frame.patch_bytes()[-part.area :].reshape(part.height, part.width)
            shown = _means(mask, count, BLOCK_PX) > 127
        y, u, v = planes_of(picture, part)
        step = np.asarray(cv2.absdiff(y[:, 1:], y[:, :-1]), np.uint8)
        rough = _means(step, count, BLOCK_PX)[shown]
        return cls(
            shown,
            _means(y, count, BLOCK_PX)[shown],
            (_means(u, count, BLOCK_PX // 2)[shown], _means(v, count, BLOCK_PX // 2)[shown]),
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


def unfit(picture: Planes | None, frame: AvatarFrame, check: Check | None = incoherence) -> str | None:
    """Why a picture that the network gave must not be shown, or None.

    Args:
        picture: None: it was not finite.
        check: None: nothing else is looked at.
    """
    if picture is None:
        return "it is not finite"
    try:
        return None if check is None else check(picture, frame)
    except Exception as error:  # a frame that cannot be looked at is one conversation's
        return f"it could not be checked: {error!r}"


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
    """The same mouth on another frame of the cycle: moved along with the face box, and laid on through its mask."""
    out = onto.body.copy()
    right = round((onto.box[0] + onto.box[2] - made_on.box[0] - made_on.box[2]) / 2)
    down = round((onto.box[1] + onto.box[3] - made_on.box[1] - made_on.box[3]) / 2)
    patch = made_on.patch
    mask = made_on.patch_bytes()[-patch.area :].reshape(patch.height, patch.width)
    whole = Rectangle(0, 0, onto.width, onto.height)
    for n, (to, made) in enumerate(zip(planes_of(out, whole), planes_of(picture, patch), strict=True)):
        size = 1 if n == 0 else 2
        top, left = patch.top // size + round(down / size), patch.left // size + round(right / size)
        first = max(0, -top), max(0, -left)
        last = min(made.shape[0], to.shape[0] - top), min(made.shape[1], to.shape[1] - left)
        if first[0] >= last[0] or first[1] >= last[1]:
            continue
        part = slice(first[0], last[0]), slice(first[1], last[1])
        under = to[top + first[0] : top + last[0], left + first[1] : left + last[1]]
        share = mask[::size, ::size][part].astype(np.uint16)
        under[:] = (under * (255 - share) + made[part] * share + 127) // 255
    return out


def _means(plane: npt.NDArray[np.uint8], count: tuple[int, int], side: int) -> _Means:
    """float32 [rows, columns]: the mean of each whole block; ``count`` is columns and rows."""
    seen = plane[: count[1] * side, : count[0] * side]
    return np.asarray(cv2.resize(seen, count, interpolation=cv2.INTER_AREA), np.float32)
