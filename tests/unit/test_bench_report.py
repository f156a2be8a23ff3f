"""What a benchmark leaves behind, and when it fails."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.measure import NotMeasured
from benchmarks.report import Report

pytestmark = pytest.mark.unit


def summary(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "demo.json").read_text())
    return content


def test_a_bound_that_is_met(tmp_path: Path) -> None:
    report = Report("demo", quick=False, out=tmp_path)
    report.samples("rows", [{"ms": 1}, {"ms": 2}])
    report.numbers("ms", [1, 2], "ms", stated_n=2)
    report.bound("ms, p95", 2, 3, "ms", n=2, stated_n=2)
    assert report.finish() == 0
    assert (tmp_path / "demo.rows.jsonl").read_text() == '{"ms":1}\n{"ms":2}\n'
    written = summary(tmp_path)
    assert {"commit", "dirty", "device", "versions", "date"} <= set(written)


@pytest.mark.parametrize("value", [3.1, None])
def test_a_bound_that_is_missed_or_not_measured_fails(tmp_path: Path, value: float | None) -> None:
    report = Report("demo", quick=False, out=tmp_path)
    report.bound("ms, p95", value, 3, "ms")
    assert report.finish() == 1


def test_too_few_samples_fail_a_full_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("demo", quick=False, out=tmp_path)
    report.bound("ms, p95", 1, 3, "ms", n=20, stated_n=100)
    assert report.finish() == 1
    assert "TOO FEW: n 20 of 100" in capsys.readouterr().out


def test_a_quick_run_may_have_few_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("demo", quick=True, out=tmp_path)
    report.bound("ms, p95", 1, 3, "ms", n=20, stated_n=100)
    assert report.finish() == 0
    assert "not a result" in capsys.readouterr().out


def test_a_part_that_cannot_be_measured_fails_and_keeps_the_rest(tmp_path: Path) -> None:
    report = Report("demo", quick=False, out=tmp_path)
    with report.attempt("hearing"):
        report.samples("rows", [{"ms": 1}])
        raise NotMeasured("nothing was heard")
    assert report.finish() == 1
    assert (tmp_path / "demo.rows.jsonl").exists()
    assert "nothing was heard" in json.dumps(summary(tmp_path))


def test_any_other_error_ends_the_run_after_what_there_is_was_written(tmp_path: Path) -> None:
    report = Report("demo", quick=False, out=tmp_path)
    report.samples("rows", [{"ms": 1}])
    with pytest.raises(ZeroDivisionError), report.attempt("hearing"):
        raise ZeroDivisionError
    assert (tmp_path / "demo.rows.jsonl").exists()
    assert "ZeroDivisionError" in json.dumps(summary(tmp_path))


def test_many_samples_are_compressed_and_the_plain_file_of_an_earlier_run_goes(tmp_path: Path) -> None:
    few = Report("demo", quick=False, out=tmp_path)
    few.samples("rows", [{"ms": 1}])
    few.finish()
    many = Report("demo", quick=False, out=tmp_path)
    many.samples("rows", [{"ms": number} for number in range(30_000)])
    many.finish()
    assert not (tmp_path / "demo.rows.jsonl").exists()
    assert gzip.decompress((tmp_path / "demo.rows.jsonl.gz").read_bytes()).count(b"\n") == 30_000
