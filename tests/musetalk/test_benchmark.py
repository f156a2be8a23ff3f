"""The GPU benchmark's own test: the whole command on a CPU with the tiny shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avatar.musetalk.config import MUSETALK_V15
from benchmarks.gpu.flops import gflop_per_picture
from benchmarks.gpu.plan import Settings

pytestmark = pytest.mark.media

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(400)  # every task of it, on a CPU
def test_the_whole_command_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--config", "tiny", "--sustain-s", "0.5"]
    command += ["--memory-batches", "10", "--out", str(tmp_path), "--name", "run"]
    done = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "run.json").read_text())
    tasks = report["tasks"]
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "done")
    assert set(tasks) >= {"prepare", "variant: plain", "stages: exact", "stages: tiny", "start", "memory"}
    for tier in ("exact", "tiny"):
        stages = tasks[f"stages: {tier}"]["result"]
        assert stages["gate"]["passes"]
        assert stages["sustained, features to host"]["fps"] > 0
        assert stages["sustained, features to host"]["not finite"] == 0
        assert set(stages["stages, ms"]["8"]) == {"gather", "unet", "decoder", "paste", "copy"}
    assert tasks["memory"]["result"]["batches"] == 10
    table = (tmp_path / "run.md").read_text()
    assert "Decoder tier: exact" in table
    assert report["environment"]["commit"] in table


def test_a_task_that_fails_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--config",
        "tiny",
        "--weights",
        str(tmp_path / "none"),
    ]
    command += ["--out", str(tmp_path), "--name", "run"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    task = json.loads((tmp_path / "run.json").read_text())["tasks"]["prepare"]
    assert task["state"] == "failed"
    assert "no weights at" in task["error"]


def test_arithmetic_is_what_was_counted_before() -> None:
    """GFLOP a picture at full size, on shapes alone."""
    counted = gflop_per_picture(MUSETALK_V15)
    assert counted["unet"] == pytest.approx(177.8, rel=1e-3)
    assert counted["decoder exact"] == pytest.approx(622.2, rel=1e-3)
    assert counted["decoder tiny"] == pytest.approx(35.3, rel=2e-3)
    assert counted["speech encoder, 30 s"] == pytest.approx(36.9, rel=2e-3)


def test_settings_travel_as_text() -> None:
    settings = Settings(device="cpu", config="tiny", scratch="x", originals={"musetalk": "y"}, batch_sizes=(1, 2))
    assert Settings.parse(settings.dump()) == settings
