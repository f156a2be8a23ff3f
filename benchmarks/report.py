"""What a benchmark leaves behind: raw samples, a summary with the machine it was made on, a table, an exit status.

A bound is met, or it is not and the process exits with 1. Fewer samples than a benchmark states are always said so,
and in a full run they are a miss.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import NotMeasured, distribution

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
GZIP_FROM_BYTES = 200_000
PACKAGES = ("aiortc", "av", "livekit-agents", "numpy", "opencv-python-headless", "playwright")


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a short run that shows that it works, not a result")
    parser.add_argument(
        "--out", type=Path, help="where results go (benchmarks/results; with --quick a new /tmp folder)"
    )
    return parser


@dataclass
class Report:
    """One run of one benchmark.

    Args:
        name: the benchmark's; names its files.
        quick: a smoke run: the summary says so and goes to a temporary folder.
    """

    name: str
    quick: bool
    out: Path | None = None
    chromium: str | None = None
    """The browser's own version, where one took part."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Whatever else the summary should tell."""
    _began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _load_before: tuple[float, float, float] = field(default_factory=os.getloadavg)
    _samples: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _distributions: dict[str, dict[str, Any]] = field(default_factory=dict)
    _bounds: list[dict[str, Any]] = field(default_factory=list)

    def samples(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep raw samples, one JSON object each."""
        self._samples.setdefault(kind, []).extend(rows)

    def numbers(self, label: str, values: Sequence[float], unit: str, *, stated_n: int = 0) -> dict[str, float]:
        """Describe a set of samples; says so where there are fewer than the benchmark states."""
        described = distribution(values)
        self._distributions[label] = {"unit": unit, **described} | _short(len(values), stated_n)
        return described

    def bound(self, label: str, value: float | None, limit: float, unit: str, *, n: int = 0, stated_n: int = 0) -> None:
        """State an upper bound and what was measured; None: it could not be measured, which is a miss."""
        met = value is not None and value <= limit
        self._bounds.append(
            {"bound": label, "value": None if value is None else round(value, 3), "limit": limit, "unit": unit}
            | {"n": n, "met": met}
            | _short(n, stated_n)
        )

    @contextmanager
    def attempt(self, part: str) -> Iterator[None]:
        """A part that cannot be measured is a bound that was missed; the others go on.

        Any other error ends the run, with what it has written first: half an hour of samples may hold the reason.
        """
        try:
            yield
        except NotMeasured as reason:
            self.bound(f"{part}: {reason}", None, 0, "")
        except Exception as error:
            self.bound(f"{part}: {error!r}", None, 0, "")
            self.finish()
            raise

    def finish(self) -> int:
        """Write everything, print the table; returns the exit status."""
        out = self.out or (Path(tempfile.mkdtemp(prefix=f"mien-{self.name}-")) if self.quick else RESULTS)
        out.mkdir(parents=True, exist_ok=True)
        files = [_write_rows(out / f"{self.name}.{kind}.jsonl", rows) for kind, rows in self._samples.items()]
        summary = {
            "benchmark": self.name,
            "quick": self.quick,
            "date": self._began.isoformat(timespec="seconds"),
            "took_s": round((datetime.now(UTC) - self._began).total_seconds(), 1),
            "commit": _git("rev-parse", "HEAD"),
            "dirty": bool(_git("status", "--porcelain", "--", ".", ":!benchmarks/results")),
            "device": device() | {"load_before": self._load_before, "load_after": os.getloadavg()},
            "versions": {name: version(name) for name in PACKAGES}
            | {"python": platform.python_version()}
            | ({"chromium": self.chromium} if self.chromium else {}),
            "bounds": self._bounds,
            "distributions": self._distributions,
            "facts": self.facts,
            "samples": [file.name for file in files],
        }
        target = out / f"{self.name}.json"
        target.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(_table(summary))
        print(f"written to {target} ({', '.join(file.name for file in files)})")
        enough = self.quick or not any(bound.get("too_few") for bound in self._bounds)
        return 0 if enough and all(bound["met"] for bound in self._bounds) else 1


def device() -> dict[str, Any]:
    """What the numbers were made on."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kb / 2**20, 1),
        "kernel": platform.release(),
    }


def _short(n: int, stated_n: int) -> dict[str, Any]:
    return {"stated_n": stated_n, "too_few": True} if n < stated_n else {}


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """JSON lines; compressed where they are many. The other form of an earlier run is removed."""
    data = "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows).encode()
    packed = file.with_name(file.name + ".gz")
    written, other = (packed, file) if len(data) > GZIP_FROM_BYTES else (file, packed)
    # No time stamp inside: the same samples give the same file.
    written.write_bytes(gzip.compress(data, mtime=0) if written is packed else data)
    other.unlink(missing_ok=True)
    return written


def _table(summary: Mapping[str, Any]) -> str:
    lines = [f"\n{summary['benchmark']}{' (quick: not a result)' if summary['quick'] else ''}"]
    for label, row in summary["distributions"].items():
        few = f"  TOO FEW: {row['stated_n']} are stated" if row.get("too_few") else ""
        numbers = "  ".join(f"{key} {row[key]:g}" for key in ("p50", "p90", "p95", "p99", "max") if key in row)
        lines.append(f"  {label:<52} n {row['n']:>5}  {numbers} {row['unit']}{few}")
    for bound in summary["bounds"]:
        value = "not measured" if bound["value"] is None else f"{bound['value']:g}"
        few = f"  TOO FEW: n {bound['n']} of {bound['stated_n']}" if bound.get("too_few") else ""
        verdict = "met   " if bound["met"] else "MISSED"
        lines.append(f"  {verdict} {bound['bound']:<60} {value} ≤ {bound['limit']:g} {bound['unit']}{few}")
    return "\n".join(lines)
