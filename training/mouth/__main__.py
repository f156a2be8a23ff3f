"""Train the puppet's mouth: ``python -m training.mouth -o FOLDER --seed 1``.

Makes the data if FOLDER has none (four minutes on two cores), trains (ten minutes on one) and writes ear-SEED.npz.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from avatar.frames import MienError
from training.mouth.data import Amounts, make

STEPS = 2400
DATA_SEED = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.mouth", description="train the puppet's mouth")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for data, weights and the log")
    parser.add_argument("--seed", type=int, default=1, help="of the network; the data have a seed of their own")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        import torch  # noqa: F401 - only to say clearly what is missing
    except ImportError:
        print(
            "training.mouth: torch is missing: install the development dependencies (scripts/install dev)",
            file=sys.stderr,
        )
        return 2
    from training.mouth.export import export
    from training.mouth.fit import fit

    data = options.out / "data"
    began = time.monotonic()
    try:
        if not list(data.glob("shard*.npz")):
            make(data, DATA_SEED, Amounts())
    except MienError as error:
        print(f"training.mouth: {error}", file=sys.stderr)
        return 2
    made_s = time.monotonic() - began
    network, losses = fit(data, options.seed, options.steps, options.threads)
    weights = options.out / f"ear-{options.seed}.npz"
    export(network, weights)
    facts = {
        "seed": options.seed,
        "steps": options.steps,
        "data_s": round(made_s, 1),
        "training_s": round(time.monotonic() - began - made_s, 1),
        "bytes": weights.stat().st_size,
        "losses": [round(loss, 4) for loss in losses],
    }
    (options.out / f"ear-{options.seed}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{weights}: {facts['bytes']} bytes, trained in {facts['training_s']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
