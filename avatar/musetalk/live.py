"""The engine of this process: whether there can be one, and the one that all its conversations share.

In: the folder of the weights, a person to calibrate with. Out: an engine that is ready, or why there is none.
"""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.musetalk.engine import Engine
from avatar.musetalk.jobs import Unavailable
from avatar.musetalk.renderer import Person

if TYPE_CHECKING:
    from avatar.musetalk.jobs import PictureCore

PACKAGES = ("torch", "safetensors", "diffusers")
WEIGHTS = ("musetalkV15", "sd-vae", "whisper")
START_S = 600.0
"""The first start on a machine compiles; later ones find what was compiled."""

_lock = threading.Lock()
_engines: dict[Path, Engine] = {}


def unavailable(weights: Path | None = None) -> str | None:
    """Why MuseTalk cannot run here, as the rest of a sentence; None if it can. Imports torch where it is installed.

    Args:
        weights: their folder; None: not looked at.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} are not installed: pip install 'mien[musetalk]'"
    import torch

    if not torch.cuda.is_available():
        return "there is no CUDA card that PyTorch can use"
    if weights is not None:
        absent = [name for name in WEIGHTS if not (weights / name).is_dir()]
        if absent:
            return f"{weights} has no {', '.join(absent)}: fetch the weights with `mien download musetalk`"
    return None


def card() -> str | None:
    """The name of the CUDA card; None where there is none."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def shared_engine(weights: Path, person: Person) -> Engine:
    """The process's engine, begun by the first call, which blocks until it is ready (seconds; minutes the first time).

    Raises:
        Unavailable: it could not be begun; the reason is told.
    """
    with _lock:
        if weights not in _engines:
            reason = unavailable(weights)
            if reason is not None:
                raise Unavailable(f"MuseTalk cannot run here: {reason}")
            engine = Engine(lambda: _core(weights), person.identity)
            engine.start()
            status = engine.wait_ready(START_S)
            if status.state != "ready":
                engine.close()
                raise Unavailable(f"MuseTalk did not start: {status.reason or 'it took too long'}")
            _engines[weights] = engine
        return _engines[weights]


def _core(weights: Path) -> PictureCore:
    from avatar.musetalk.config import MUSETALK_V15
    from avatar.musetalk.core import Core
    from avatar.musetalk.weights import load_weights

    return Core(MUSETALK_V15, load_weights(weights), "cuda")
