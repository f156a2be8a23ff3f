"""One fixed batch size: its input and output memory and the two networks over it, captured where wanted.

In: ``stem`` and ``audio``, written by the core. Out: ``latents``, ``faces`` and ``finite``, valid until the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from avatar.musetalk.config import MuseTalkConfig
from avatar.musetalk.decoder import as_face
from avatar.musetalk.layers import hear, look
from avatar.musetalk.unet import UNet

if TYPE_CHECKING:
    from avatar.musetalk.core import Options

_WARM_UPS = 3
_COMPILED_SHAPES = 64
"""torch.compile keeps 8 programs a function unless told: here each resolution and batch size is one."""


class Lane:
    """``prepare`` once, then write the inputs and run the UNet and the decoder. All on the caller's current stream."""

    def __init__(
        self, unet: UNet, decoder: nn.Module, config: MuseTalkConfig, device: torch.device, size: int, options: Options
    ) -> None:
        self.size = size
        tokens, side = config.latent_px**2, config.latent_px
        self.stem = torch.randn(3, size, tokens, config.unet.channels[0], device=device).to(options.dtype)
        self.audio = torch.randn(size, config.context_tokens, config.whisper.width, device=device).to(options.dtype)
        self.latents = torch.empty(size, config.unet.out_channels, side, side, dtype=options.dtype, device=device)
        self.faces = torch.empty(size, config.face_px, config.face_px, 3, dtype=torch.uint8, device=device)
        self.finite = torch.empty(size, dtype=torch.uint8, device=device)
        self._unet: Callable[..., Tensor] = unet
        self._decoder: Callable[..., Tensor] = decoder
        if options.compiled == "whole":
            torch._dynamo.config.recompile_limit = _COMPILED_SHAPES
            self._unet, self._decoder = (torch.compile(module, dynamic=False) for module in (unet, decoder))
        self._captured = options.graphs
        self._graphs: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None

    def prepare(self, pool: object) -> None:
        """Warm up (which compiles what is to be compiled) and capture."""
        if not self.stem.is_cuda:
            return
        for _ in range(_WARM_UPS):
            self._hear()
            self._show()
        torch.cuda.current_stream().synchronize()
        if self._captured:
            graphs = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
            for graph, part in zip(graphs, (self._hear, self._show), strict=True):
                with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):  # type: ignore[arg-type]
                    part()
            self._graphs = graphs

    def run_unet(self) -> None:
        """From what ``stem`` and ``audio`` hold to ``latents``."""
        if self._graphs is None:
            self._hear()
        else:
            self._graphs[0].replay()

    def run_decoder(self) -> None:
        """From ``latents`` to ``faces`` and ``finite``."""
        if self._graphs is None:
            self._show()
        else:
            self._graphs[1].replay()

    def _hear(self) -> None:
        self.latents.copy_(self._unet(self.stem, self.audio))

    def _show(self) -> None:
        image = self._decoder(self.latents)
        self.faces.copy_(as_face(image))
        self.finite.copy_(torch.isfinite(image.flatten(1)).all(dim=1))


def compile_halves(unet: UNet) -> None:
    """Replace the transformers' two halves by compiled ones; one program serves all blocks of a shape."""
    torch._dynamo.config.recompile_limit = _COMPILED_SHAPES
    halves = torch.compile(look, dynamic=False), torch.compile(hear, dynamic=False)
    for transformer in unet.transformers:
        transformer.halves = halves
