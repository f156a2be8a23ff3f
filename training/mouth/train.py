"""One network from data to its file: what a process of ``python -m training.mouth`` does for one seed."""

from __future__ import annotations

import json
import time
from pathlib import Path

from training.mouth.export import export, restored
from training.mouth.fit import fit


def train(out: Path, data: Path, seed: int, steps: int, start: Path | None) -> None:
    """One network, on one core: writes its weights, and what is to know of them beside.

    Raises:
        WeightsError: there is nothing to start from in that file.
    """
    began = time.monotonic()
    network, losses = fit(data, seed, steps, None if start is None else restored(start))
    weights = out / f"{'ear' if start is None else 'refined'}-{seed}.npz"
    export(network, weights)
    facts = {
        "seed": seed,
        "steps": steps,
        "start": None if start is None else start.name,
        "training_s": round(time.monotonic() - began, 1),
        "processor_s": round(time.process_time(), 1),
        "bytes": weights.stat().st_size,
        "losses": [round(loss, 4) for loss in losses],
    }
    weights.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{weights}: {facts['bytes']} bytes, trained in {facts['training_s']:.0f} s", flush=True)
