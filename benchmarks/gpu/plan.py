"""What a run of the benchmark is asked to do: settings that travel to each task's own process as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from avatar.musetalk.config import MUSETALK_V15, TINY, MuseTalkConfig, WhisperConfig

Save = Callable[[dict[str, Any]], None]
"""Takes what a task has measured so far; called whenever there is something new."""

CONFIGS = {
    "full": MUSETALK_V15,
    "tiny": TINY,
    # The originals' code has the width of whisper-tiny written in it.
    "tiny-384": replace(TINY, name="tiny-384", unet=replace(TINY.unet, context_width=384), whisper=WhisperConfig()),
}

VARIANTS: dict[str, dict[str, Any]] = {
    "fused+graphs": {},
    "fused": {"graphs": False},
    "graphs": {"fused": False},
    "plain": {"fused": False, "graphs": False, "fold_upsampling": False},
    "fused+graphs, upsampling not folded": {"fold_upsampling": False},
    "fused+graphs+cuDNN attention": {"cudnn_attention": True},
    "fused+graphs+search": {"search": True},
    "fused+graphs+compiled blocks": {"compiled": "blocks"},
    "graphs+compiled whole": {"compiled": "whole", "fused": False, "fold_upsampling": False},
}
"""Each is tried; the fastest that passes the gate is then measured in full. The first is what is expected to win."""
ON_CPU = ("plain", "fused+graphs")
"""A CPU has neither graphs nor the fused kernels, so the rest would repeat these (with and without folding)."""
LAST = ("graphs+compiled whole",)
"""Takes minutes to compile: tried when all else has been measured."""


KEPT = "compiled"
"""The folder, within the scratch folder, that all tasks keep compiled kernels in."""


@dataclass(frozen=True)
class Settings:
    """One run.

    Args:
        picture: width and height of the made-up identity, px.
        weights: a folder of real weights; None: random ones, made with ``seed``.
        memory_batches: how many batches the memory must stay flat over.
        originals: a checkout of each original that is to be measured.
    """

    device: str
    config: str
    scratch: str
    weights: str | None = None
    seed: int = 0
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16)
    picture: tuple[int, int] = (720, 1280)
    frames: int = 50
    sustain_s: float = 60.0
    heard_s: float = 20.0
    memory_batches: int = 10_000
    repeats: int = 30
    originals: dict[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> MuseTalkConfig:
        return CONFIGS[self.config]

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def folder(self) -> Path:
        return Path(self.scratch)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Settings:
        values = json.loads(text)
        for name in ("batch_sizes", "picture"):
            values[name] = tuple(values[name])
        return cls(**values)
