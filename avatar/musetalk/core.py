"""The heart: a batch of (audio features, avatar frame) in, a batch of whole I420 pictures out, on one device.

No sessions, segments or clocks: every job stands by itself and what it yields does not depend on its batch (but for
rounding). One thread submits; `Batch.pictures` may be called from another. On CUDA, a batch is: gather the inputs, one
captured graph for the UNet, one for the decoder, one kernel that pastes the boxes that change, one copy into pinned
memory on a stream of its own, so that it overlaps the next batch's compute. The host puts the box into the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk import features
from avatar.musetalk.admission import Vram
from avatar.musetalk.avatars import AvatarError, AvatarFrame
from avatar.musetalk.batches import IN_FLIGHT, Avatar, Batch, CoreError, Job, Slot
from avatar.musetalk.config import DecoderTier, MuseTalkConfig
from avatar.musetalk.decoder import ExactDecoder, TinyDecoder
from avatar.musetalk.features import FeatureStream
from avatar.musetalk.jobs import OutOfMemory
from avatar.musetalk.lanes import Lane, compile_halves
from avatar.musetalk.layers import Build
from avatar.musetalk.paste import Patch, offsets, paste_one, places
from avatar.musetalk.positions import positions
from avatar.musetalk.unet import UNet
from avatar.musetalk.weights import ModelWeights, Weights, WeightsError
from avatar.musetalk.whisper import WhisperEncoder
from avatar.musetalk.windows import Block

BATCH_SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Options:
    """How the core computes; nothing here changes what, beyond rounding (see `docs/musetalk.md`).

    Args:
        decoder: the tier, by name.
        dtype: of both networks; None: fp16 on CUDA, fp32 elsewhere. The speech encoder is always fp32.
        fused: Triton's and cuDNN's fused kernels (CUDA only).
        compiled: `blocks`: the transformers' halves by torch.compile; `whole`: both networks (then not ``fused``).
        graphs: capture CUDA graphs, the largest batch first, over one memory pool.
        search: let cuDNN time its algorithms at start instead of choosing by rule.
        cudnn_attention: let PyTorch choose cuDNN's attention, which it prefers on some cards; it compiles a plan for
            each shape at each start, and nothing keeps them.
    """

    decoder: DecoderTier = "exact"
    dtype: torch.dtype | None = None
    fused: bool = True
    fold_upsampling: bool = True
    compiled: Literal["none", "blocks", "whole"] = "none"
    graphs: bool = True
    search: bool = False
    cudnn_attention: bool = False
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    def on(self, device: torch.device) -> Options:
        """The same, without what the device does not have."""
        if device.type == "cuda":
            return replace(self, dtype=self.dtype or torch.float16, fused=self.fused and self.compiled != "whole")
        return replace(self, dtype=self.dtype or torch.float32, fused=False, graphs=False, search=False)


def _unmarked(stage: str) -> None:
    pass


class Core:
    """Both networks on one device, ready for batches of the given sizes.

    Args:
        weights: see `weights.load_weights` and `synthetic.synthetic_weights`.

    Raises:
        WeightsError: the weights do not fit the config, or the tier's are missing.
    """

    def __init__(
        self, config: MuseTalkConfig, weights: ModelWeights, device: torch.device | str, options: Options | None = None
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.options = (options or Options()).on(self.device)
        cuda = self.device.type == "cuda"
        assert self.options.dtype is not None
        build = Build(self.device, self.options.dtype, self.options.fused, self.options.fold_upsampling)
        self.encoder = WhisperEncoder(config.whisper)
        self.encoder.load_state_dict(dict(weights.whisper), strict=True)
        self.encoder = self.encoder.to(self.device).float().eval().requires_grad_(False)
        self.unet = UNet(build, config.unet, Weights(weights.unet)).eval()
        self.decoder = _decoder(build, config, weights, self.options.decoder)
        if self.options.compiled == "blocks":
            compile_halves(self.unet)
        self._positions = positions(config.context_tokens, config.whisper.width).to(self.device)
        self._compute = torch.cuda.Stream(self.device) if cuda else None
        self._copy = torch.cuda.Stream(self.device) if cuda else None
        self._slots = [Slot(self.device, max(self.options.batch_sizes)) for _ in range(IN_FLIGHT)]
        torch.backends.cudnn.benchmark = self.options.search
        torch.backends.cuda.enable_cudnn_sdp(self.options.cudnn_attention)
        self.lanes = self._prepare_lanes()

    def _prepare_lanes(self) -> dict[int, Lane]:
        lanes: dict[int, Lane] = {}
        pool = torch.cuda.graph_pool_handle() if self.options.graphs else None
        with self.on_stream(), torch.inference_mode():
            for size in sorted(self.options.batch_sizes, reverse=True):
                lanes[size] = Lane(self.unet, self.decoder, self.config, self.device, size, self.options)
                lanes[size].prepare(pool)
        return lanes

    def on_stream(self) -> AbstractContextManager[object]:
        """Work queued inside runs in order with the core's own."""
        return nullcontext() if self._compute is None else torch.cuda.stream(self._compute)

    def avatar(self, frames: Sequence[AvatarFrame], *, keep_stems: bool = True) -> Avatar:
        """Bring an identity onto the device.

        Args:
            keep_stems: compute what depends on the frame alone once (2 MB a frame in fp16, 3.5% of the UNet's work).

        Raises:
            AvatarError: a frame does not fit the core.
        """
        if not frames:
            raise AvatarError("an avatar needs at least one frame")
        side = self.config.latent_px
        for n, frame in enumerate(frames):
            if frame.latents.shape != (self.config.unet.in_channels, side, side):
                raise AvatarError(
                    f"frame {n}: latents must be {(self.config.unet.in_channels, side, side)}, "
                    f"not {frame.latents.shape}"
                )
            if frame.first_face_row * self.config.face_px - 1.5 < self.config.first_row:
                raise AvatarError(
                    f"frame {n}: the mask shows the face from {frame.first_face_row:.0%} of its height on, above row "
                    f"{self.config.first_row} of {self.config.face_px} nothing is computed: prepare a lower mask"
                )
        with self.on_stream(), torch.inference_mode():
            latents = torch.from_numpy(np.stack([frame.latents for frame in frames])).to(
                self.device, self.options.dtype
            )
            stems = None
            if keep_stems:
                stems = torch.cat([self.unet.stem(part).transpose(0, 1) for part in latents.split(16)]).contiguous()
            patches = tuple(Patch.of(frame, self.device) for frame in frames)
        if self._compute is not None:
            self._compute.synchronize()
        return Avatar(latents, stems, patches, tuple(frame.body for frame in frames))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(sorted(self.lanes))

    def listen(self) -> FeatureStream:
        """A conversation's segment, in blocks of one picture: the least lookahead, and the same for every picture."""
        return FeatureStream(self.encoder, largest_block=1)

    def vram(self) -> Vram | None:
        """Of the whole card, whoever uses it; None on a CPU."""
        if self.device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        return Vram(total - free, total)

    def features(self, streams: Sequence[FeatureStream]) -> list[tuple[Block, Tensor]]:
        """The next block of each stream (made with ``self.encoder``), in one call of the speech encoder."""
        with self.on_stream():
            out = features.compute(streams)
        if self._compute is not None:
            caller = torch.cuda.current_stream(self.device)
            caller.wait_stream(self._compute)
            for _, rows in out:
                rows.record_stream(caller)
        return out

    def submit(self, jobs: Sequence[Job], mark: Callable[[str], None] = _unmarked) -> Batch:
        """Start a batch; returns without waiting for the device.

        Args:
            mark: called as each stage has been queued, with its name, on the stage's stream; for measuring.

        Raises:
            CoreError: more jobs than the largest batch, a job that fits neither core nor avatar, or all output buffers
                are waiting for their `Batch.pictures`.
            OutOfMemory: a smaller batch may fit.
        """
        try:
            return self._submit(jobs, mark)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"no memory on {self.device} for a batch of {len(jobs)}: {error}") from error

    def _submit(self, jobs: Sequence[Job], mark: Callable[[str], None]) -> Batch:
        size = next((size for size in sorted(self.lanes) if size >= len(jobs)), None)
        if not jobs or size is None:
            raise CoreError(f"a batch has 1 to {max(self.lanes)} jobs, not {len(jobs)}: split it")
        slot = next((slot for slot in self._slots if slot.free), None)
        if slot is None:
            raise CoreError(f"{IN_FLIGHT} batches are waiting to be read: call pictures() of the oldest first")
        for n, job in enumerate(jobs):
            self._check(n, job)
        lane = self.lanes[size]
        self._take_over(jobs)
        patches = [job.avatar.patches[job.frame] for job in jobs]
        starts = offsets(patches)
        length = starts[-1] + len(jobs)
        with self.on_stream(), torch.inference_mode():
            mark("start")
            self._gather(lane, [*jobs, *[jobs[-1]] * (size - len(jobs))])
            mark("gather")
            lane.run_unet()
            mark("unet")
            lane.run_decoder()
            mark("decoder")
            slot.grow(length)
            self._paste(lane, patches, starts, slot)
            slot.on_device[starts[-1] : length] = lane.finite[: len(jobs)]
            mark("paste")
            self._copy_out(slot, length, mark)
        slot.free = False
        return Batch(list(jobs), slot, starts)

    def render(self, jobs: Sequence[Job]) -> list[Planes | None]:
        """One batch from beginning to end; see `Batch.pictures`."""
        return self.submit(jobs).pictures()

    def _check(self, n: int, job: Job) -> None:
        """Features of another shape could be broadcast, and a frame counted from the end: both would go unnoticed."""
        shape = (self.config.context_tokens, self.config.whisper.width)
        if job.features.shape != shape:
            raise CoreError(f"job {n}: a picture's features are {shape}, not {tuple(job.features.shape)}")
        if not 0 <= job.frame < len(job.avatar.patches):
            raise CoreError(f"job {n}: the avatar has frames 0 to {len(job.avatar.patches) - 1}, not {job.frame}")

    def _take_over(self, jobs: Sequence[Job]) -> None:
        """Features may come from any stream: ours waits for the caller's, and their memory is kept until it is done."""
        if self._compute is not None:
            self._compute.wait_stream(torch.cuda.current_stream(self.device))
            for job in jobs:
                if job.features.is_cuda:
                    job.features.record_stream(self._compute)

    def _gather(self, lane: Lane, jobs: Sequence[Job]) -> None:
        heard = torch.stack([job.features.to(self.device, non_blocking=True) for job in jobs]) + self._positions
        lane.audio.copy_(heard)
        if all(job.avatar.stems is not None for job in jobs):
            torch.stack([job.avatar.stems[job.frame] for job in jobs if job.avatar.stems is not None], 1, out=lane.stem)
        else:
            lane.stem.copy_(self.unet.stem(torch.stack([job.avatar.latents[job.frame] for job in jobs])))

    def _paste(self, lane: Lane, patches: Sequence[Patch], starts: Sequence[int], slot: Slot) -> None:
        if self.options.fused:
            from avatar.musetalk import kernels

            slot.table[: len(patches)] = places(patches, starts[:-1])
            slot.table_on_device.copy_(slot.table, non_blocking=True)
            kernels.paste(
                lane.faces[: len(patches)],
                slot.table_on_device,
                slot.on_device,
                max(patch.part.area for patch in patches),
            )
            return
        for face, patch, start in zip(lane.faces, patches, starts[:-1], strict=False):
            paste_one(face, patch, slot.on_device[start : start + patch.size])

    def _copy_out(self, slot: Slot, length: int, mark: Callable[[str], None]) -> None:
        if self._compute is None or self._copy is None or slot.computed is None or slot.copied is None:
            slot.on_host[:length] = slot.on_device[:length]
            mark("copy")
            return
        slot.computed.record(self._compute)
        with torch.cuda.stream(self._copy):
            self._copy.wait_event(slot.computed)
            slot.on_host[:length].copy_(slot.on_device[:length], non_blocking=True)
            slot.copied.record(self._copy)
            mark("copy")


def _decoder(
    build: Build, config: MuseTalkConfig, weights: ModelWeights, tier: DecoderTier
) -> ExactDecoder | TinyDecoder:
    if tier == "exact":
        # The encoding half belongs to preparation.
        own = {key: value for key, value in weights.vae.items() if not key.startswith(("encoder.", "quant_conv."))}
        return ExactDecoder(build, config.decoder, Weights(own)).eval()
    if weights.tiny_decoder is None:
        raise WeightsError("the tiny tier needs tiny_decoder weights: load them with tiny=True")
    return TinyDecoder(build, config.tiny_decoder, Weights(weights.tiny_decoder), config.first_row).eval()
