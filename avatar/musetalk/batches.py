"""Pictures on their way out: a batch that has been submitted, and the output buffer that it uses until it is read.

In: pasted patches on the device, copied to pinned memory by the core. Out: whole pictures on the host. The buffer of a
batch is given back when its pictures have been taken, and only then written again; so no copy is ever overtaken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk.avatars import place
from avatar.musetalk.jobs import CoreError as CoreError
from avatar.musetalk.jobs import Job as Job
from avatar.musetalk.paste import Patch

IN_FLIGHT = 3
"""Output buffers: one being computed, one being copied, one being read."""


@dataclass(frozen=True, slots=True, eq=False)
class Avatar:
    """An identity on the core's device; made by `Core.avatar`.

    Args:
        stems: for each frame [3, side * side, channels]; or, where they are not kept, None, and ``latents`` serve.
        latents: [frames, 8, side, side].
        patches: what pasting needs, for each frame.
        bodies: the whole pictures, on the host.
    """

    latents: Tensor
    stems: Tensor | None
    patches: tuple[Patch, ...]
    bodies: tuple[Planes, ...]


class Slot:
    """One output buffer: on the device, in pinned memory, and the event that says the copy is done."""

    def __init__(self, device: torch.device, jobs: int) -> None:
        self._cuda = device.type == "cuda"
        self.table = torch.zeros(jobs, 8, dtype=torch.int64, pin_memory=self._cuda)
        self.table_on_device = self.table.to(device)
        self.on_device = torch.empty(0, dtype=torch.uint8, device=device)
        self.on_host = torch.empty(0, dtype=torch.uint8)
        self.computed = torch.cuda.Event() if self._cuda else None
        self.copied = torch.cuda.Event() if self._cuda else None
        self.free = True

    def grow(self, length: int) -> None:
        """Hold at least so many bytes; what was in it is lost."""
        if self.on_device.numel() < length:
            length = 1 << (length - 1).bit_length()
            self.on_device = torch.empty(length, dtype=torch.uint8, device=self.on_device.device)
            self.on_host = torch.empty(length, dtype=torch.uint8, pin_memory=self._cuda)


class Batch:
    """A batch on its way: ``pictures`` waits for it and gives its buffer back."""

    def __init__(self, jobs: Sequence[Job], slot: Slot, starts: Sequence[int]) -> None:
        self._jobs, self._slot, self._starts = jobs, slot, starts
        self._read = False

    def done(self) -> bool:
        """Whether ``pictures`` would return without waiting for the device."""
        return self._slot.copied is None or self._slot.copied.query()

    def pictures(self) -> list[Planes | None]:
        """For each job its picture, I420 [height * 3 // 2, width]; None where the network gave something not finite.

        Raises:
            CoreError: called a second time; the buffer may hold another batch by then.
        """
        if self._read:
            raise CoreError("the pictures of this batch were taken before: keep what the first call gave")
        self._read = True
        try:
            return self._taken()
        finally:  # a device that failed leaves a buffer that the next batch may have
            self._slot.free = True

    def _taken(self) -> list[Planes | None]:
        if self._slot.copied is not None:
            self._slot.copied.synchronize()
        pixels = self._slot.on_host.numpy()
        finite = pixels[self._starts[-1] : self._starts[-1] + len(self._jobs)]
        out: list[Planes | None] = []
        for job, start, good in zip(self._jobs, self._starts[:-1], finite, strict=True):
            patch = job.avatar.patches[job.frame]
            body = job.avatar.bodies[job.frame]
            out.append(place(body, patch.part, pixels[start : start + patch.size]) if good else None)
        return out
