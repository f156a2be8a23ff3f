"""Faces into their patches, on the device: bilinear resize, feathered blend, I420 out. Only what changes is computed.

The blend is MuseTalk's (resize rounded to 8 bits, then linear by the mask), done in YUV: with each chroma sample of the
body held over its 2 x 2 pixels this equals blending in RGB and converting, and unchanged pixels stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatar.musetalk.avatars import AvatarFrame, Rectangle


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One avatar frame's patch on the device.

    Args:
        part: where in the picture.
        left, top: the patch's edge counted from the face box's, px; may be -1.
        pixels: uint8, flat: Y, U, V of the body, then the mask.
    """

    part: Rectangle
    left: int
    top: int
    box_width: int
    box_height: int
    pixels: Tensor

    @classmethod
    def of(cls, frame: AvatarFrame, device: torch.device) -> Patch:
        left, top, right, bottom = frame.box
        pixels = torch.from_numpy(frame.patch_bytes()).to(device)
        part = frame.patch
        return cls(part, part.left - left, part.top - top, right - left, bottom - top, pixels)

    @property
    def size(self) -> int:
        """Bytes of the pasted patch."""
        return self.part.area * 3 // 2


def offsets(patches: Sequence[Patch]) -> list[int]:
    """Where each pasted patch begins in the batch's flat output, and last the whole length; aligned to 16 bytes."""
    out = [0]
    for patch in patches:
        out.append(out[-1] + -(-patch.size // 16) * 16)
    return out


def places(patches: Sequence[Patch], starts: Sequence[int]) -> Tensor:
    """The Triton kernel's table: int64 [batch, 8], on the CPU."""
    return torch.tensor(
        [
            [p.pixels.data_ptr(), p.left, p.top, p.box_width, p.box_height, p.part.width, p.part.height, start]
            for p, start in zip(patches, starts, strict=True)
        ],
        dtype=torch.int64,
    )


_TO_YUV = torch.tensor([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = torch.tensor([16.0, 128.0, 128.0])


def paste_one(face: Tensor, patch: Patch, out: Tensor) -> None:
    """Plain PyTorch for one picture: ``face`` uint8 [side, side, 3] RGB into ``out`` uint8 [patch.size]."""
    part = patch.part
    image = face.permute(2, 0, 1)[None].float()
    sized = functional.interpolate(
        image, size=(patch.box_height, patch.box_width), mode="bilinear", align_corners=False
    )
    right = max(0, patch.left + part.width - patch.box_width)
    below = max(0, patch.top + part.height - patch.box_height)
    sized = functional.pad(sized, (max(0, -patch.left), right, max(0, -patch.top), below), mode="replicate")
    top, left = max(0, patch.top), max(0, patch.left)
    rgb = (sized[0, :, top : top + part.height, left : left + part.width] + 0.5).floor().permute(1, 2, 0)
    yuv = rgb @ _TO_YUV.to(rgb.device).T + _OFFSET.to(rgb.device)
    area = part.area
    luma, chroma, mask = patch.pixels.split([area, area // 2, area])
    share = mask.view(part.height, part.width).float() / 255
    body = luma.view(part.height, part.width).float()
    y = body + share * (yuv[..., 0] - body)
    chroma_body = chroma.view(2, part.height // 2, part.width // 2).float()
    wide = chroma_body.repeat_interleave(2, 1).repeat_interleave(2, 2)
    change = functional.avg_pool2d(share * (yuv[..., 1:].permute(2, 0, 1) - wide), 2)
    pixels = torch.cat([y.flatten(), (chroma_body + change).flatten()])
    out.copy_((pixels + 0.5).floor().clamp(0, 255).to(torch.uint8))
