"""`mien doctor`: what is well is said to be, what is not is found, with what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent import doctor
from agent.settings import load_settings

pytestmark = pytest.mark.media


def test_on_a_machine_that_runs_these_tests_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine({"MIEN_PORT": "0", "MIEN_SIZE_PX": "256"}, env_file=tmp_path / ".env") == 0
    lines = capsys.readouterr().out.splitlines()
    found = {
        line[6:].partition(":")[0]: line[:4].strip() for line in lines if line[:4].strip() in ("ok", "warn", "fail")
    }
    assert list(found) == ["python", "packages", "settings", "voice", "face", "codecs", "port", "microphone", "network"]
    # How fast the face is depends on what else the machine is doing.
    assert {outcome for what, outcome in found.items() if what != "face"} == {"ok"}
    assert lines[-1] == "Ready: mien talk"


def test_a_wrong_setting_fails_and_the_rest_is_looked_at_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.examine({"MIEN_PROT": "1"}, env_file=tmp_path / ".env") == 1
    told = capsys.readouterr().out
    assert "fail  settings: unknown setting MIEN_PROT: did you mean MIEN_PORT?" in told
    assert "voice: espeak-ng spoke" in told
    assert told.endswith("Something has to be mended first.\n")


def test_a_port_in_use_is_found() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        finding = doctor.port(load_settings({"MIEN_PORT": str(number)}))
    assert finding.outcome == "warn"
    assert f"--port {number + 1}" in finding.advice


@pytest.mark.parametrize(
    ("environ", "outcome"),
    [
        ({}, "ok"),
        ({"MIEN_HOST": "0.0.0.0", "MIEN_TOKEN": "t"}, "warn"),
        ({"MIEN_HOST": "0.0.0.0", "MIEN_TOKEN": "t", "MIEN_TLS_CERT": "c", "MIEN_TLS_KEY": "k"}, "ok"),
    ],
)
def test_where_browsers_give_no_microphone(environ: dict[str, str], outcome: str) -> None:
    assert doctor.microphone(load_settings(environ)).outcome == outcome


def test_what_leaves_the_machine_is_named_without_its_key() -> None:
    finding = doctor.network(load_settings({"OPENAI_API_KEY": "sk-very-secret", "TTS_PROVIDER": "edge-tts"}))
    assert "api.openai.com" in finding.detail
    assert "edge-tts" in finding.detail
    assert "sk-very-secret" not in finding.detail
    local = doctor.network(load_settings({}))
    assert "nothing leaves this machine" in local.detail
