"""Train the puppet's mouth, in two parts (training/mouth/README.md says how long they take).

``python -m training.mouth -o FOLDER --seed 3`` trains from nothing and writes ear-3.npz; ``python -m training.mouth -o
FOLDER --start FOLDER/ear-3.npz --kokoro FOLDER --seed 1`` trains that further with Kokoro's speakers: refined-1.npz.
Data that FOLDER does not have are made first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from avatar.frames import MienError
from training.mouth.data import REFINING, Amounts, make

STEPS, REFINING_STEPS = 2400, 900
DATA_SEED, REFINING_DATA_SEED = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.mouth", description="train the puppet's mouth")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for data, weights and the log")
    parser.add_argument(
        "--seed", type=int, action="append", default=[], help="of the network (repeatable; 1); the data have their own"
    )
    parser.add_argument("--start", type=Path, help="the second part: weights to be trained further")
    parser.add_argument("--kokoro", type=Path, help="folder of Kokoro's model and voices, for the second part")
    parser.add_argument("--at-once", type=int, default=1, help="so many seeds are trained side by side, a core each")
    parser.add_argument("--steps", type=int, help=f"{STEPS}, or {REFINING_STEPS} in the second part")
    options = parser.parse_args(arguments)
    try:
        import torch  # noqa: F401 - only to say clearly what is missing
    except ImportError:
        print(
            "training.mouth: torch is missing: install the development dependencies (scripts/install dev)",
            file=sys.stderr,
        )
        return 2
    from training.mouth.train import train

    second = options.start is not None
    data = options.out / ("data-refining" if second else "data")
    began = time.monotonic()
    try:
        if not list(data.glob("shard*.npz")):
            if second and options.kokoro is None:
                raise MienError(
                    "the second part needs Kokoro's voices: give their folder with --kokoro (training/mouth/README.md "
                    "says how to get it)"
                )
            make(
                data,
                REFINING_DATA_SEED if second else DATA_SEED,
                REFINING if second else Amounts(),
                options.kokoro if second else None,
            )
    except MienError as error:
        print(f"training.mouth: {error}", file=sys.stderr)
        return 2
    print(f"{data}: ready after {time.monotonic() - began:.0f} s", flush=True)
    steps = options.steps or (REFINING_STEPS if second else STEPS)
    todo = [(options.out, data, seed, steps, options.start) for seed in options.seed or [1]]
    try:
        if options.at_once == 1:
            for one in todo:
                train(*one)
        else:
            with multiprocessing.get_context("spawn").Pool(options.at_once) as pool:
                pool.starmap(train, todo, chunksize=1)
    except MienError as error:
        print(f"training.mouth: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
