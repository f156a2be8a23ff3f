from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from avatar.musetalk.config import TINY, WhisperConfig

if TYPE_CHECKING:
    from avatar.musetalk.weights import ModelWeights
    from avatar.musetalk.whisper import WhisperEncoder


_MISSING = [name for name in ("torch", "diffusers") if importlib.util.find_spec(name) is None]
_WITHOUT_TORCH = (
    "test_imports.py",
    "test_windows.py",
    "test_scheduler.py",
    "test_engine.py",
    "test_renderer.py",
    "test_mouths.py",
)


class _Skipped(pytest.Module):
    """A test file that cannot even be imported here."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(f"needs the extra musetalk ({', '.join(_MISSING)} not installed)", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if _MISSING and module_path.parent == Path(__file__).parent and module_path.name not in _WITHOUT_TORCH:
        return _Skipped.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    if not _MISSING:
        import torch

        torch.set_num_threads(1)  # two that share cores with others wait for each other


@pytest.fixture(scope="session")
def tiny_weights() -> ModelWeights:
    from avatar.musetalk.synthetic import synthetic_weights

    return synthetic_weights(TINY)


@pytest.fixture(scope="session")
def ear() -> WhisperEncoder:
    """A speech encoder of Whisper's wiring, small, with random weights."""
    import torch

    from avatar.musetalk.synthetic import fill_whisper
    from avatar.musetalk.whisper import WhisperEncoder

    encoder = WhisperEncoder(WhisperConfig(width=32, layers=4, heads=2))
    encoder.load_state_dict(fill_whisper(encoder, torch.Generator().manual_seed(3)))
    return encoder.eval().requires_grad_(False)


@pytest.fixture
def cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA card on this machine")
    return "cuda"
