"""What was measured, as JSON and as a table. Written again after each task, so that a run cut short leaves its
results."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
GOALS = {"exact": (590, 400), "tiny": (2200, 1500)}
"""Pictures a second sustained on an H200: the goal and the least."""
LATENCY_MS = (12, 25)
"""Of batches of 1 and 2, features to host copy: the goal and the most."""
START_S = 15
ORIGINALS_TIMES = 3


def environment(device: str, commit: str | None = None) -> dict[str, Any]:
    """Card, driver, versions and commit; without importing torch, which belongs to the tasks' processes.

    Args:
        commit: what is checked out, where git cannot tell.
    """
    out: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or commit_of(str(_ROOT)),
        "changed files": len((_output(["git", "-C", str(_ROOT), "status", "--porcelain"]) or "").splitlines()),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "device": device,
        "versions": {name: _version(name) for name in ("torch", "triton", "diffusers", "transformers", "numpy")},
    }
    if device.startswith("cuda"):
        query = "name,driver_version,memory.total,clocks.max.sm,power.limit"
        out["card"] = _output(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    return out


def commit_of(folder: str) -> str:
    """The commit that is checked out in ``folder``, or that it is not known (a copy without its history)."""
    return _output(["git", "-C", folder, "rev-parse", "--short=12", "HEAD"]) or "unknown"


def settings_without_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """What is worth keeping of a run's settings; where things lay on the machine is not."""
    kept = {key: value for key, value in settings.items() if key != "scratch"}
    return kept | {"originals": sorted(settings["originals"]), "weights": "real" if settings["weights"] else "random"}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write(report: dict[str, Any], out: Path, name: str) -> str:
    """Write ``name``.json and ``name``.md; returns the table."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    text = table(report)
    (out / f"{name}.md").write_text(text + "\n")
    return text


def table(report: dict[str, Any]) -> str:
    env, tasks = report["environment"], report["tasks"]
    lines = [
        f"# The MuseTalk core on {env.get('card') or env['device']}",
        "",
        f"{env['time']}, commit {env['commit']} ({env['changed files']} changed files), Python {env['python']}, "
        + ", ".join(f"{name} {version}" for name, version in env["versions"].items()),
        "",
    ]
    prepared = tasks.get("prepare", {}).get("result", {})
    lines += [f"- {key}: {json.dumps(value)}" for key, value in prepared.items()]
    lines += [
        "",
        "## Layouts of the exact tier",
        "",
        "| layout | gate | mouth PSNR | fps at the largest batch | state |",
    ]
    lines += ["| --- " * 5 + "|"]
    for name, task in tasks.items():
        if name.startswith("variant: "):
            lines.append(_variant_row(name.removeprefix("variant: "), task))
    lines += _without_gain(tasks)
    for tier in ("exact", "tiny"):
        if f"stages: {tier}" in tasks:
            lines += ["", f"## Decoder tier: {tier}", "", *_stage_lines(tier, tasks[f"stages: {tier}"], prepared)]
    for name, task in tasks.items():
        if name.startswith(("start", "memory", "original")):
            lines += ["", f"## {name}", "", f"- {task['state']}"]
            lines += [
                f"- {key}: {json.dumps(value)}" for key, value in task.get("result", {}).items() if key != "points"
            ]
            if name.startswith("original"):
                lines += _ratio(task.get("result", {}), tasks)
            if name.startswith("start"):
                lines.append(f"- with artefacts kept the first picture is wanted within {START_S} s")
    failed = {name: task for name, task in tasks.items() if task["state"] not in ("done", "started")}
    if failed:
        lines += ["", "## What did not run to its end", ""]
        lines += [
            f"- {name}: {task['state']}; {task.get('error', '').strip()[-300:]!r}" for name, task in failed.items()
        ]
    return "\n".join(lines)


def _ratio(original: dict[str, Any], tasks: dict[str, Any]) -> list[str]:
    """Our sustained rate from speech on, with the exact tier, over the original's best."""
    theirs = [value for key, value in original.items() if key.startswith("fps")]
    ours = tasks.get("stages: exact", {}).get("result", {}).get("sustained, speech to host", {}).get("fps")
    return (
        [f"- ours, from speech on, is {ours / max(theirs):.1f} times as fast (wanted: {ORIGINALS_TIMES})"]
        if theirs and ours
        else []
    )


def _without_gain(tasks: dict[str, Any]) -> list[str]:
    """What was tried and did not make the exact tier faster than the best layout that passes the gate."""
    speeds = {}
    for name, task in tasks.items():
        result = task.get("result", {})
        fps = [value for key, value in result.items() if key.startswith("fps")]
        if name.startswith("variant: ") and fps:
            speeds[name.removeprefix("variant: ")] = (fps[0], bool(result.get("gate", {}).get("passes")))
    passing = [name for name, (_, passes) in speeds.items() if passes]
    if not passing:
        return []
    best = max(passing, key=lambda name: speeds[name][0])
    rest = [
        f"{name} ({fps / speeds[best][0]:.2f} times as fast{'' if passes else ', does not pass the gate'})"
        for name, (fps, passes) in speeds.items()
        if name != best
    ]
    return ["", f"Fastest of those that pass: {best}. Tried without gain: {'; '.join(rest) or 'nothing else'}."]


def _variant_row(name: str, task: dict[str, Any]) -> str:
    result = task.get("result", {})
    gate = result.get("gate", {})
    speeds = [value for key, value in result.items() if key.startswith("fps")]
    return (
        f"| {name} | {gate.get('passes', '')} | {gate.get('mouth', {}).get('psnr, dB', '')} | "
        f"{speeds[0] if speeds else ''} | {task['state']} |"
    )


def _stage_lines(tier: str, task: dict[str, Any], prepared: dict[str, Any]) -> list[str]:
    result = task.get("result", {})
    lines = [f"- {task['state']}; layout: {result.get('variant')}"]
    for key in (
        "gate",
        "speech encoder alone against in a batch",
        "patch, px",
        "speech encoder, ms",
        "sustained, features to host",
        "sustained, speech to host",
        "memory, MB",
    ):
        if key in result:
            lines.append(f"- {key}: {json.dumps(result[key])}")
    if "sustained, features to host" in result:
        goal, least = GOALS[tier]
        lines.append(f"- on an H200 the goal is {goal} and the least {least} pictures a second")
    by_size = result.get("stages, ms", {})
    if by_size:
        names = list(next(iter(by_size.values())))
        lines += [
            f"- for batches of 1 and 2 the goal is {LATENCY_MS[0]} ms and the most {LATENCY_MS[1]} ms (p50 below)",
            "- share of peak: what MuseTalk's own layers need for these pictures (gflop above) at the card's measured "
            "fp16 rate, over the time of unet and decoder",
            "",
            "| batch | " + " | ".join(f"{name}, ms" for name in names) + " | p50, ms | p95, ms | share of peak |",
        ]
        lines += ["| --- " * (len(names) + 4) + "|"]
        for size, stages in by_size.items():
            latency = result["latency, ms"][size]
            row = [str(size), *(str(stages[name]) for name in names), str(latency["p50"]), str(latency["p95"])]
            lines.append("| " + " | ".join([*row, _share_of_peak(int(size), stages, tier, prepared)]) + " |")
    return lines


def _share_of_peak(size: int, stages: dict[str, float], tier: str, prepared: dict[str, Any]) -> str:
    """What MuseTalk's own layers need for these pictures, over the card's measured fp16 rate, over the networks'
    time."""
    peak = prepared.get("ceilings", {}).get("fp16 product, TFLOP/s")
    gflop = prepared.get("gflop")
    if not peak or not gflop:
        return ""
    least_ms = size * (gflop["unet"] + gflop[f"decoder {tier}"]) / peak
    return f"{least_ms / (stages['unet'] + stages['decoder']):.0%}"
