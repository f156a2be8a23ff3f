"""`mien licenses` and NOTICE: every part is named with its terms, and what they say of the wheels is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent import licenses
from agent.cli import main

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def test_every_package_it_runs_with_states_its_licence_or_we_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["licenses"]) == 0
    told = capsys.readouterr().out
    for name in licenses.requirements_of("mien"):
        assert re.search(rf"^  {re.escape(name)} \S+ +\S", told, re.MULTILINE), name
    assert re.findall(r"^  (\S+) \S+ +states none$", told, re.MULTILINE) == []
    for part in ("GPL-3.0-or-later", "x264", "unofficial", "LiveKit Model License", "Silero"):
        assert part in told


def test_notice_names_every_package_that_is_needed() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    named = set(re.findall(r"^  ([a-z0-9-]+)(?: \(PyAV\))?  +", notice, re.MULTILINE))
    assert set(licenses.requirements_of("mien")) <= named


def test_notice_and_the_wheels_agree_on_what_pyav_says() -> None:
    """Should a new PyAV come without x264, or FFmpeg under other terms, NOTICE is to be written again."""
    import av._core

    about = av._core.library_meta["libavcodec"]
    assert about["license"] == "LGPL version 3 or later"
    assert "--enable-libx264" in about["configuration"]
