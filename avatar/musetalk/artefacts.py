"""Where compiled kernels are kept between starts. In: a folder. Out: the environment that Triton and Inductor read.

Triton's kernels (the fused ones and Inductor's) and Inductor's graphs are keyed by source, shapes, device and version,
so a folder can be shared by versions and is safe to delete. CUDA graphs are captured again at each start, which takes
little.
"""

from __future__ import annotations

import os
from pathlib import Path


def keep_in(folder: Path) -> None:
    """Keep compiled artefacts in ``folder``; to be called before the first kernel is compiled. What is set already
    stays."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")
