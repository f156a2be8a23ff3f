"""The GPU benchmark's own test: the whole command on a CPU with the tiny shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.batches import Avatar
from avatar.musetalk.config import MUSETALK_V15
from avatar.musetalk.core import Core, Options
from avatar.musetalk.layers import Upsample
from benchmarks.gpu.__main__ import fallbacks
from benchmarks.gpu.flops import gflop_per_picture
from benchmarks.gpu.gate import gate
from benchmarks.gpu.plan import Settings
from benchmarks.gpu.prepare import weights_of

pytestmark = [pytest.mark.media, pytest.mark.timeout(600)]  # the whole command runs, once for all of them

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The whole command once: the folder of its results, with what it prepared in ``scratch``."""
    out = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--config", "tiny", "--sustain-s", "0.5"]
    command += ["--memory-batches", "10", "--commit", "0123abc", "--scratch", str(out / "scratch")]
    command += ["--out", str(out), "--name", "run"]
    done = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400
    )
    return out, done


def test_the_whole_command_runs_on_a_cpu(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = run
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "run.json").read_text())
    tasks = report["tasks"]
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "done")
    assert set(tasks) == {
        "prepare", "variant: plain", "variant: fused+graphs", "stages: exact", "stages: tiny", "memory",
        "start: artefacts kept", "start: nothing kept",
    }  # fmt: skip
    for tier in ("exact", "tiny"):
        stages = tasks[f"stages: {tier}"]["result"]
        assert stages["gate"]["passes"]
        assert stages["gate"]["controls"]["fail as they must"]
        assert stages["gate"]["controls"]["speech of 160 ms later, mouth, dB"] < 45
        assert stages["speech encoder alone against in a batch"]["passes"]
        assert ("against exact in fp32, mouth" in stages["gate"]) == (tier == "tiny")
        assert stages["sustained, features to host"]["fps"] > 0
        assert stages["sustained, features to host"]["not finite"] == 0
        assert set(stages["stages, ms"]["8"]) == {"gather", "unet", "decoder", "paste", "copy"}
    assert tasks["memory"]["result"]["batches"] == 10
    assert tasks["start: artefacts kept"]["result"]["first picture is finite"]
    assert report["environment"]["commit"] == "0123abc"
    table = (out / "run.md").read_text()
    assert "Tried without gain: " in table
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
    assert str(_ROOT) not in task["error"]


def test_an_original_that_is_not_there_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    for name, repository in (("musetalk", "TMElyralab/MuseTalk"), ("livetalking", "lipku/LiveTalking")):
        command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", f"--{name}", str(tmp_path)]
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "out")], cwd=_ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert f"no checkout of {repository} is there" in done.stderr
    assert not (tmp_path / "out").exists()


class _MaskedByHalf(Core):
    """Pastes half of what it should."""

    def avatar(self, frames: Sequence[AvatarFrame], *, keep_stems: bool = True) -> Avatar:
        return super().avatar([replace(frame, mask=frame.mask // 2) for frame in frames], keep_stems=keep_stems)


def test_the_gate_says_no_to_one_wrong_weight_phase_or_mask(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    settings = Settings(device="cpu", config="tiny", scratch=str(run[0] / "scratch"), batch_sizes=(1, 8))

    def core(kind: type[Core] = Core) -> Core:
        return kind(settings.shapes, weights_of(settings), "cpu", Options(batch_sizes=(1, 8)))

    assert gate(settings, core())["passes"]

    weight = core()
    weight.unet.conv_in.weight[0] *= 1.5
    assert not gate(settings, weight)["passes"]

    phase = core()
    upsample = next(part for part in phase.decoder.modules() if isinstance(part, Upsample))
    upsample.weight.copy_(upsample.weight.roll(len(upsample.weight) // 4, 0))
    result = gate(settings, phase)
    assert not result["passes"]
    assert result["latents, dB"] > 100, "the UNet was right, and the report tells the two apart"

    result = gate(settings, core(_MaskedByHalf))
    assert not result["passes"]
    assert result["mouth"]["psnr, dB"] > 80, "the faces were right, the pictures were not"
    assert result["paste, largest difference of 255"] > 1


def test_layouts_to_fall_back_to_end_with_one_without_fused_kernels() -> None:
    assert fallbacks(["fused+graphs+search", "fused+graphs", "fused", "graphs", "plain"]) == [
        "fused+graphs+search",
        "fused+graphs",
        "graphs",
    ]
    assert fallbacks(["graphs"]) == ["graphs"]


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
