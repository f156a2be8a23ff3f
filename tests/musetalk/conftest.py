from __future__ import annotations

import os

import pytest

from avatar.musetalk.config import TINY, WhisperConfig

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # two that share cores with others wait for each other


@pytest.fixture(scope="session")
def tiny_weights():  # type: ignore[no-untyped-def]
    from avatar.musetalk.synthetic import synthetic_weights

    return synthetic_weights(TINY)


@pytest.fixture(scope="session")
def ear():  # type: ignore[no-untyped-def]
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
