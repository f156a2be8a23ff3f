"""Training proper: shards in, a trained `Network` out. Seeded; one or two threads."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.mouth.data import OUTPUTS
from training.mouth.network import BEHIND, SILENCE, Network

CROP = 200
"""Steps (20 ms) of a training example: 4 s."""
BATCH = 32
PEAK_RATE, REFINING_RATE = 3e-3, 1e-3
WARM_UP, REFINING_WARM_UP = 100, 30
MASKS = 2
"""Bands of frequencies that are hidden from the network in each example."""
WEIGHTS = {"opening": 4.0, "width": 3.0, "rounding": 6.0, "tongue": 1.0, "effort": 0.7}
CLASSES = {"closure": 0.5, "teeth": 0.4, "speech": 0.2}
POSITIVE = {"closure": 2.0, "teeth": 2.0, "speech": 1.0}
VELOCITY = 4.0
LOGGED = 40
AVERAGED = 0.997
"""The network that is kept is a running mean of the trained one: this much of it stays at each step."""


@dataclass(frozen=True, eq=False)
class Examples:
    """All shards, flat, with where each hearing begins."""

    frames: npt.NDArray[np.float16]
    targets: npt.NDArray[np.float16]
    frame_starts: npt.NDArray[np.int64]
    target_starts: npt.NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path) -> Examples:
        shards = [np.load(path) for path in sorted(folder.glob("shard*.npz"))]

        def joined(name: str) -> npt.NDArray[np.float16]:
            return np.concatenate([shard[name] for shard in shards])

        def starts(name: str) -> npt.NDArray[np.int64]:
            return np.concatenate([[0], np.cumsum(np.concatenate([shard[name] for shard in shards]))])

        return cls(joined("frames"), joined("targets"), starts("frame_counts"), starts("target_counts"))

    def batch(self, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """frames [BATCH, 2 * CROP, MELS], targets [BATCH, CROP, outputs]: hearings joined to fill each example."""
        count = len(self.frame_starts) - 1
        frames = np.full((BATCH, 2 * CROP, self.frames.shape[1]), SILENCE, np.float32)
        targets = np.zeros((BATCH, CROP, self.targets.shape[1]), np.float32)
        for row in range(BATCH):
            filled = 0
            while filled < CROP:
                k = int(random.integers(count))
                heard = self.frames[self.frame_starts[k] : self.frame_starts[k + 1]]
                wanted = self.targets[self.target_starts[k] : self.target_starts[k + 1]]
                # Half the time from its start, as segments are heard; otherwise from anywhere, at either parity.
                skip = int(random.integers(len(heard) // 2)) if filled == 0 and random.random() < 0.4 else 0
                skip = skip // 2 * 2
                steps = min(CROP - filled, (len(heard) - skip) // 2)
                frames[row, 2 * filled : 2 * (filled + steps)] = heard[skip : skip + 2 * steps]
                # Target m is told by step m + BEHIND.
                first, last = filled + BEHIND, min(CROP, filled + BEHIND + steps)
                if last > first:
                    part = wanted[skip // 2 : skip // 2 + last - first]
                    targets[row, first : first + len(part)] = part
                filled += max(1, steps)
            for _ in range(MASKS):
                wide = int(random.integers(0, 9))
                low = int(random.integers(0, frames.shape[2] - wide))
                if random.random() < 0.5:
                    frames[row, :, low : low + wide] = -0.8
        return torch.from_numpy(frames), torch.from_numpy(targets)


def loss_of(told: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squares for curves and their velocities, cross entropy for what is there or not."""
    told, wanted = told[:, 2 * BEHIND :], wanted[:, 2 * BEHIND :]
    loss = torch.zeros(())
    for index, name in enumerate(OUTPUTS):
        a, b = told[..., index], wanted[..., index]
        if name in CLASSES:
            positive = torch.tensor(POSITIVE[name])
            loss = loss + CLASSES[name] * nn.functional.binary_cross_entropy_with_logits(a, b, pos_weight=positive)
        else:
            moved = (a[:, 1:] - a[:, :-1]) - (b[:, 1:] - b[:, :-1])
            loss = loss + WEIGHTS[name] * (((a - b) ** 2).mean() + VELOCITY * (moved**2).mean())
    return loss


def fit(
    folder: Path, seed: int, steps: int, start: Network | None = None, threads: int = 1
) -> tuple[Network, list[float]]:
    """The network and its mean loss over every `LOGGED` steps.

    Args:
        start: trained already, to be trained further at a lower rate; it stays as it is.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    random = np.random.default_rng(seed)
    examples = Examples.read(folder)
    network = Network() if start is None else copy.deepcopy(start).train()
    peak, warm_up = (PEAK_RATE, WARM_UP) if start is None else (REFINING_RATE, REFINING_WARM_UP)
    mean = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    losses: list[float] = []
    window: list[float] = []
    began = time.monotonic()
    for step in range(steps):
        rate = peak * min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        frames, targets = examples.batch(random)
        loss = loss_of(network(frames), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        stays = min(AVERAGED, (step + 1) / (step + 20))
        with torch.no_grad():
            for kept, value in zip(mean.parameters(), network.parameters(), strict=True):
                kept.lerp_(value, 1.0 - stays)
        window.append(float(loss.detach()))
        if len(window) == LOGGED or step == steps - 1:
            losses.append(sum(window) / len(window))
            window.clear()
            print(f"step {step + 1}: loss {losses[-1]:.4f}, {time.monotonic() - began:.0f} s", flush=True)
    return mean.eval(), losses
