"""One command: ``python -m benchmarks.gpu``. Measures the core on this machine's card and writes JSON and a table.

On CUDA each task runs in a process of its own with a time limit; one that fails is reported with its error and the rest
goes on with the fastest layout that passed the gate. ``--device cpu --config tiny`` runs the whole thing in under a
minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avatar.musetalk.artefacts import keep_in
from benchmarks.gpu import originals
from benchmarks.gpu import report as reports
from benchmarks.gpu.plan import CONFIGS, KEPT, LAST, ON_CPU, VARIANTS, Settings

_ROOT = Path(__file__).resolve().parents[2]
_LIMITS_S = {"prepare": 240, "variant": 180, "stages": 240, "start": 120, "memory": 300, "original": 300}
_NEEDED = ("torch", "safetensors", "diffusers")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--config", choices=tuple(CONFIGS), default="full")
    parser.add_argument("--weights", type=Path, help="folder of real weights (random ones are made otherwise)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--budget-s", type=float, default=1500.0, help="start no task that would not fit in this any more"
    )
    parser.add_argument("--sustain-s", type=float)
    parser.add_argument("--memory-batches", type=int)
    parser.add_argument("--only", help="comma-separated beginnings of task names; what they need runs too")
    parser.add_argument("--layout", choices=tuple(VARIANTS), help="use this layout instead of the fastest that passes")
    parser.add_argument("--musetalk", type=Path, help="a checkout of TMElyralab/MuseTalk to measure beside ours")
    parser.add_argument("--livetalking", type=Path, help="a checkout of lipku/LiveTalking, likewise")
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "results" / "gpu")
    parser.add_argument("--name", help="of the two result files")
    parser.add_argument("--commit", help="what is checked out here, where the copy has no history to tell")
    parser.add_argument("--scratch", type=Path, help="keep weights and compiled artefacts here between runs")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        return _run_task(json.loads(args.task))
    wrong = _what_is_missing(args)
    if wrong:
        parser.error(wrong)
    scratch = args.scratch or Path(tempfile.mkdtemp(prefix="mien-gpu-"))
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        return Run(args, scratch.resolve()).all()
    finally:
        if args.scratch is None:
            shutil.rmtree(scratch, ignore_errors=True)


def _what_is_missing(args: argparse.Namespace) -> str | None:
    """What makes a run pointless, said before it begins."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed: install the extra `musetalk`"
    for name in originals.CHECKOUTS:
        path = getattr(args, name)
        if path is not None:
            try:
                originals.check(name, path)
            except originals.NoOriginal as error:
                return str(error)
            if args.config == "tiny":
                return f"--{name} needs --config full or tiny-384: its code has whisper-tiny's width written in it"
    return None


def _settings(args: argparse.Namespace, scratch: Path) -> Settings:
    checkouts = {
        name: str(path.resolve())
        for name, path in (("musetalk", args.musetalk), ("livetalking", args.livetalking))
        if path
    }
    common: dict[str, Any] = {
        "device": args.device, "config": args.config, "scratch": str(scratch), "seed": args.seed,
        "originals": checkouts,
        "weights": str(args.weights.resolve()) if args.weights else None,
    }  # fmt: skip
    if args.config != "full":
        common |= {
            "picture": (192, 256), "frames": 4, "sustain_s": 1.0, "heard_s": 0.5, "memory_batches": 20, "repeats": 3,
            "batch_sizes": (1, 2, 8),
        }  # fmt: skip
    for name in ("sustain_s", "memory_batches"):
        if getattr(args, name) is not None:
            common[name] = getattr(args, name)
    return Settings(**common)


class Run:
    """One run: the tasks in their order, and the report as it grows."""

    def __init__(self, args: argparse.Namespace, scratch: Path) -> None:
        self.args, self.scratch = args, scratch
        self.settings = _settings(args, scratch)
        self.began = time.monotonic()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.report: dict[str, Any] = {
            "environment": reports.environment(args.device, args.commit),
            "settings": reports.settings_without_paths(json.loads(self.settings.dump())),
            "tasks": self.tasks,
        }
        card = (self.report["environment"].get("card") or args.device).split(",")[0].replace(" ", "-").lower()
        self.name = args.name or f"{card}-{args.config}"

    def all(self) -> int:
        if not self.prepared_before():
            self.task("prepare", "prepare", needed_s=30, always=True)
            if self.tasks["prepare"]["state"] != "done" and not (self.scratch / "gate.safetensors").exists():
                return self.finish()
            self.keep_prepared()
        names = [name for name in VARIANTS if self.settings.cuda or name in ON_CPU]
        for name in names:
            if name not in LAST:
                self.task(f"variant: {name}", "variant", name, needed_s=20, kept_s=self._stages_s())
        layouts = [self.args.layout] if self.args.layout else self.ranked()
        if not layouts:
            layouts = names
            print(f"no layout was measured and passed the gate; going on with {layouts[0]}", flush=True)
        layout = self.report["layout"] = layouts[0]
        for tier in ("exact", "tiny"):
            for candidate in fallbacks(layouts):
                self.task(f"stages: {tier}", "stages", tier, candidate, needed_s=self._sustained_s() + 15)
                if not self.tasks.get(f"stages: {tier}", {}).get("state", "").startswith("failed"):
                    break
        # What the stages have compiled is there by now; the second start finds nothing and must compile it again.
        self.task("start: artefacts kept", "start", layout, KEPT, needed_s=10)
        for name in self.settings.originals:
            self.task(f"original: {name}", "original", name, layout, needed_s=60)
        self.task("memory", "memory", layout, needed_s=30)
        self.task("start: nothing kept", "start", layout, f"compiled-{time.time_ns()}", needed_s=20)
        for name in names:
            if name in LAST:
                self.task(f"variant: {name}", "variant", name, needed_s=60)
        return self.finish()

    def _sustained_s(self) -> float:
        return self.settings.sustain_s + self.settings.heard_s

    def _stages_s(self) -> float:
        """What the layouts leave of the budget for what matters most: both tiers in full, and a start."""
        return 2 * (self._sustained_s() + 40) + 20 if self.settings.cuda and not self.args.only else 0.0

    def prepared_before(self) -> bool:
        """Whether the scratch folder holds what an earlier run prepared for the same weights."""
        kept = self.scratch / "prepared.json"
        if not kept.exists():
            return False
        before = json.loads(kept.read_text())
        if before["for"] != self._prepared_for():
            return False
        self.tasks["prepare"] = {**before["task"], "reused": True}
        return True

    def keep_prepared(self) -> None:
        if self.tasks["prepare"]["state"] == "done":
            kept = {"for": self._prepared_for(), "task": self.tasks["prepare"]}
            (self.scratch / "prepared.json").write_text(json.dumps(kept))

    def _prepared_for(self) -> list[object]:
        settings = self.settings
        return [settings.device, settings.config, settings.weights, settings.seed]

    def ranked(self) -> list[str]:
        """The layouts that pass the gate, the one with the most pictures a second at the largest batch first."""
        speeds = {}
        for task, entry in self.tasks.items():
            result = entry.get("result", {})
            fps = result.get(f"fps, batch {max(self.settings.batch_sizes)}")
            if task.startswith("variant: ") and fps and result.get("gate", {}).get("passes"):
                speeds[task.removeprefix("variant: ")] = fps
        return sorted(speeds, key=lambda name: -speeds[name])

    def task(
        self, name: str, kind: str, *arguments: str, needed_s: float, kept_s: float = 0.0, always: bool = False
    ) -> None:
        """Run one task if it is wanted and there is time.

        Args:
            needed_s: less than this is not worth beginning.
            kept_s: to be left of the budget for what comes later.
        """
        if self.args.only and not always and not name.startswith(tuple(self.args.only.split(","))):
            return
        left_s = self.args.budget_s - (time.monotonic() - self.began) - kept_s
        entry = self.tasks[name] = {"state": "started"}
        if left_s < needed_s:
            entry["state"] = f"skipped: {left_s:.0f} s left of the budget, {needed_s:.0f} s needed"
        else:
            limit_s = _LIMITS_S[kind] + (self._sustained_s() if kind == "stages" else 0)
            reports.write(self.report, self.args.out, self.name)  # should the machine be taken away meanwhile
            self._spawn(name, kind, list(arguments), min(left_s, limit_s), entry)
        reports.write(self.report, self.args.out, self.name)
        print(f"[{time.monotonic() - self.began:6.1f} s] {name}: {entry['state']} {_short(entry)}", flush=True)

    def _spawn(self, name: str, kind: str, arguments: list[str], limit_s: float, entry: dict[str, Any]) -> None:
        result = self.scratch / "result.json"
        result.unlink(missing_ok=True)
        own_process = self.settings.cuda or kind in ("start", "original")
        asked = {
            "settings": self.settings.dump(), "kind": kind, "arguments": arguments, "result": str(result),
            "spawned": time.time(),
        }  # fmt: skip
        log = self.scratch / "task.log"
        started = time.monotonic()
        if not own_process:
            try:
                _run_task(asked)
                entry["state"] = "done"
            except Exception:  # as for a process: whatever it was is reported, and the other tasks go on
                entry["state"] = "failed"
                log.write_text(traceback.format_exc())
            self._take(entry, result, log, started)
            return
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu", "--task", json.dumps(asked)],
                cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT,
                env={**_without_caches(os.environ), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
            try:
                code = process.wait(limit_s)
                entry["state"] = "done" if code == 0 else f"failed with exit status {code}"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                entry["state"] = f"stopped after {limit_s:.0f} s"
        self._take(entry, result, log, started)

    def _take(self, entry: dict[str, Any], result: Path, log: Path, started: float) -> None:
        entry["seconds"] = round(time.monotonic() - started, 1)
        if result.exists():
            entry["result"] = json.loads(result.read_text())
        if entry["state"] != "done":
            said = log.read_text(errors="replace")
            for folder in (_ROOT, Path(sys.prefix), self.scratch):  # where things lie on this machine is not kept
                said = said.replace(f"{folder}/", "")
            entry["error"] = said[-3000:]

    def finish(self) -> int:
        text = reports.write(self.report, self.args.out, self.name)
        print(text)
        print(f"\nwritten to {self.args.out / self.name}.json and .md")
        return 0 if all(task["state"] == "done" for task in self.tasks.values()) else 1


def fallbacks(layouts: list[str]) -> list[str]:
    """The fastest layouts, and last one without fused kernels: what breaks one of these often breaks the others."""
    plainer = [name for name in layouts[2:] if not VARIANTS[name].get("fused", True)]
    return [*layouts[:2], *plainer[:1]]


def _short(entry: dict[str, Any]) -> str:
    result = entry.get("result", {})
    said = {
        key: value
        for key, value in result.items()
        if key.startswith(("fps", "gate", "sustained", "first picture", "grown", "batches", "ours"))
    }
    if entry.get("error"):
        said["error"] = entry["error"].strip().splitlines()[-1:]
    return json.dumps(said) if said else ""


def _without_caches(environment: Mapping[str, str]) -> dict[str, str]:
    """A task sets its own, or a start with nothing kept would find what another has compiled."""
    return {
        key: value for key, value in environment.items() if key not in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    }


def _run_task(asked: dict[str, Any]) -> int:
    """In the task's own process."""
    settings, arguments = Settings.parse(asked["settings"]), asked["arguments"]
    artefacts = settings.folder / (arguments[1] if asked["kind"] == "start" else KEPT)
    keep_in(artefacts)
    import torch

    from benchmarks.gpu import prepare, tasks

    if not settings.cuda:
        torch.set_num_threads(1)  # two that share cores with others wait for each other
    path = Path(asked["result"])

    def save(result: dict[str, Any]) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(result))
        fresh.replace(path)

    match asked["kind"]:
        case "prepare":
            prepare.prepare(settings, save)
        case "variant":
            tasks.variant(settings, save, arguments[0])
        case "stages":
            tasks.stages(settings, save, "tiny" if arguments[0] == "tiny" else "exact", arguments[1])
        case "start":
            tasks.start(settings, save, arguments[0], artefacts, asked["spawned"])
        case "memory":
            tasks.memory(settings, save, arguments[0])
        case "original":
            originals.measure(settings, save, arguments[0], arguments[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
