"""The base path never meets torch, and neither does what the scheduler and preparation build on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.media


def test_what_says_it_needs_no_torch_imports_none() -> None:
    names = "frames renderer playout segment musetalk.config musetalk.windows musetalk.avatars musetalk.artefacts"
    names += " musetalk.scheduler musetalk.tiers musetalk.admission musetalk.engine musetalk.renderer"
    imports = "; ".join(f"import avatar.{name}" for name in names.split())
    script = f"import sys; {imports}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
