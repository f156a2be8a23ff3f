"""A prepared identity as the core takes it: one entry for each frame of its idle cycle. No torch in what is public.

In: what preparation made (latents, face box, feathered mask, the picture itself). Out: checked values, and the *patch*:
the even-aligned rectangle that pasting can change. Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from avatar.frames import MienError, Planes


class AvatarError(MienError):
    """A prepared frame is inconsistent in itself or does not fit the core."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def area(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, eq=False)
class AvatarFrame:
    """One frame of an identity.

    Args:
        body: the whole picture, I420 [height * 3 // 2, width], even sides.
        box: the face box in the picture (left, top, right, bottom), right and bottom exclusive, within the picture.
        mask: uint8 [box height, box width]; how much of the generated face shows (feathered, 0 at unchanged pixels).
        latents: fp32 [8, side, side]: the masked and the reference face, encoded and scaled.
    """

    body: Planes
    box: tuple[int, int, int, int]
    mask: npt.NDArray[np.uint8]
    latents: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        rows, width = self.body.shape
        if self.body.dtype != np.uint8 or rows % 3 or width % 2 or (rows * 2 // 3) % 2:
            raise AvatarError(f"a body is uint8 I420 with even sides, not {self.body.dtype} {self.body.shape}")
        left, top, right, bottom = self.box
        if not (0 <= left < right <= width and 0 <= top < bottom <= rows * 2 // 3):
            raise AvatarError(f"the face box {self.box} does not lie in the picture of {width} x {rows * 2 // 3} px")
        if self.mask.dtype != np.uint8 or self.mask.shape != (bottom - top, right - left):
            raise AvatarError(
                f"the mask must be uint8 {(bottom - top, right - left)}, not {self.mask.dtype} {self.mask.shape}"
            )
        if not self.mask.any():
            raise AvatarError("the mask is empty: nothing of the generated face would show; prepare the frame again")

    @property
    def height(self) -> int:
        return int(self.body.shape[0]) * 2 // 3

    @property
    def width(self) -> int:
        return int(self.body.shape[1])

    @cached_property
    def patch(self) -> Rectangle:
        """The smallest even-aligned rectangle that holds all pixels the mask lets change."""
        left, top, _, _ = self.box
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return Rectangle(
            (left + int(columns[0])) // 2 * 2,
            (top + int(rows[0])) // 2 * 2,
            -(-(left + int(columns[-1]) + 1) // 2) * 2,
            -(-(top + int(rows[-1]) + 1) // 2) * 2,
        )

    @cached_property
    def first_face_row(self) -> float:
        """The uppermost row of the generated face that shows, as a share of its height."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        return max(0.0, (float(rows[0]) + 0.5) / self.mask.shape[0])

    def patch_bytes(self) -> npt.NDArray[np.uint8]:
        """What pasting needs of the picture: the patch as I420, then its mask, flat; 2.5 bytes a pixel."""
        patch = self.patch
        left, top, right, bottom = self.box
        mask = np.zeros((patch.height, patch.width), dtype=np.uint8)
        inner = Rectangle(
            max(left, patch.left), max(top, patch.top), min(right, patch.right), min(bottom, patch.bottom)
        )
        mask[inner.top - patch.top : inner.bottom - patch.top, inner.left - patch.left : inner.right - patch.left] = (
            self.mask[inner.top - top : inner.bottom - top, inner.left - left : inner.right - left]
        )
        return np.concatenate([plane.ravel() for plane in planes_of(self.body, patch)] + [mask.ravel()])


def planes_of(picture: Planes, part: Rectangle) -> tuple[npt.NDArray[np.uint8], ...]:
    """Views of the part's Y, U and V in an I420 picture; the part is even-aligned."""
    rows, width = picture.shape
    height = rows * 2 // 3
    u, v = picture[height:].reshape(2, height // 2, width // 2)
    half = (slice(part.top // 2, part.bottom // 2), slice(part.left // 2, part.right // 2))
    return picture[part.top : part.bottom, part.left : part.right], u[half], v[half]


def place(body: Planes, part: Rectangle, pixels: npt.NDArray[np.uint8]) -> Planes:
    """A copy of ``body`` in which the part shows ``pixels`` (its Y, U and V, flat)."""
    picture = body.copy()
    offset = 0
    for plane in planes_of(picture, part):
        plane[:] = pixels[offset : offset + plane.size].reshape(plane.shape)
        offset += plane.size
    return picture
