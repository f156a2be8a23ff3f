"""The MuseTalk core's tests. They need torch and diffusers, which the base install does not have."""

import pytest

_REASON = "needs the extra musetalk (torch, diffusers): pip install 'mien[musetalk]'"
pytest.importorskip("torch", reason=_REASON)
pytest.importorskip("diffusers", reason=_REASON)
