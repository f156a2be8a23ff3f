"""MuseTalk's own realtime loop and LiveTalking's, measured on this machine at the same weights, and compared with ours.

In: a checkout of each by a path; nothing of theirs is part of this repository. Each runs in a process of its own, its
own code unchanged, its own threads and queues; only what preparation would need (face detection, parsing, file formats)
and what would carry pictures away (WebRTC, text to speech) is replaced by empty modules. Out: pictures a second, and
for the same inputs the difference of features, latents, faces and pasted pictures, number by number.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import Save, Settings
from benchmarks.gpu.report import commit_of

CHECKOUTS = {
    "musetalk": ("TMElyralab/MuseTalk", "scripts/realtime_inference.py"),
    "livetalking": ("lipku/LiveTalking", "avatars/musetalk_avatar.py"),
}
"""Of each: the repository, and a file that tells a checkout of it from another folder."""
NEEDED = ("cv2", "diffusers", "einops", "tqdm", "transformers")
"""What their code imports on this path and nothing can stand for."""


class NoOriginal(Exception):
    """There is no checkout at the path given, or what its code needs is not installed."""


def check(name: str, path: Path) -> None:
    """Say what is wrong before anything is measured.

    Raises:
        NoOriginal: see there.
    """
    repository, file = CHECKOUTS[name]
    if not (path / file).is_file():
        raise NoOriginal(
            f"--{name} {path}: no checkout of {repository} is there ({file} is missing): "
            f"clone https://github.com/{repository} and give its folder"
        )
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        raise NoOriginal(
            f"--{name}: its code needs {', '.join(missing)}, not installed here: install them to measure it"
        )


def measure(settings: Settings, save: Save, name: str, layout: str) -> None:
    """One original: ``name`` is ``musetalk`` or ``livetalking``."""
    from avatar.musetalk.reference import blank_models
    from benchmarks.gpu.originals.inputs import home_of

    path = settings.originals[name]
    check(name, Path(path))
    home = home_of(settings)
    os.chdir(home)
    sys.path.insert(0, path)
    blank_models(settings.shapes, "meta")  # diffusers looks about for what is installed: before anything is replaced
    out: dict[str, Any] = {"commit": commit_of(path)}
    if name == "musetalk":
        from benchmarks.gpu.originals.musetalk import musetalk

        musetalk(settings, save, out, layout)
    else:
        from benchmarks.gpu.originals.livetalking import livetalking

        livetalking(settings, save, out, layout)
