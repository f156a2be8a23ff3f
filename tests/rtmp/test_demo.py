"""`make stream-demo`, as it is: server, broker and stream on this machine, to watch in the browser."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.children import tied
from benchmarks.report import ROOT

pytestmark = [pytest.mark.rtmp, pytest.mark.amqp]

PATIENCE_S = 60.0
END_S = 20.0


def test_it_says_its_lines_shows_where_to_watch_and_ends_with_ctrl_c(program: str, tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    with log.open("wb") as out:
        demo = subprocess.Popen(
            tied(sys.executable, str(ROOT / "scripts" / "stream-demo"), "--size", "256"),
            stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
    try:
        _wait(demo, log, lambda told: told.count(": played") == 3)
        assert demo.stdin is not None
        demo.stdin.write(b"And this was typed.\n")
        demo.stdin.flush()
        _wait(demo, log, lambda told: told.count(": played") == 4)
        told = log.read_text()
        playlist = _get(_found(r"HLS, some seconds later: (\S+)", told))
        assert playlist.count(".ts") >= 3
        assert "<video" in _get(_found(r"watch it at (\S+)", told))
    finally:
        demo.send_signal(signal.SIGINT)
        try:
            status = demo.wait(END_S)
        finally:
            demo.kill()
            demo.wait()
            assert demo.stdin is not None
            demo.stdin.close()
    assert status == 0, log.read_text()[-2000:]


def _wait(demo: subprocess.Popen[bytes], log: Path, reached: Callable[[str], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not reached(log.read_text()):
        assert demo.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < give_up, log.read_text()[-2000:]
        time.sleep(0.1)


def _found(pattern: str, told: str) -> str:
    found = re.search(pattern, told)
    assert found is not None, told
    return found[1]


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
