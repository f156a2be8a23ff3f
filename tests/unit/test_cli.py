"""The command line's frame: what it understands, how it fails, how fast it answers."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import wave
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.media

ROOT = Path(__file__).parents[2]


def mien(*arguments: str, folder: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `mien` as its users do, with nothing in its environment but what is given."""
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command() -> None:
    told = mien("--help")
    assert told.returncode == 0
    assert re.findall(r"^    (\w+) ", told.stdout, re.MULTILINE) == [
        "talk",
        "agent",
        "avatar",
        "page",
        "watch",
        "stream",
        "egress",
        "render",
        "say",
        "prepare",
        "dub",
        "download",
        "lips",
        "doctor",
        "licenses",
    ]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("talk", "--host --port --persona --renderer --portrait --no-open --tls-cert --tls-key --size --verbose"),
        ("agent", "start dev --persona --renderer --portrait --size --verbose"),
        ("avatar", "start dev --persona --renderer --portrait --size --verbose"),
        ("page", "--host --port --persona --renderer --portrait --size --verbose"),
        ("egress", "start list stop"),
        ("render", "SPEECH -o --persona --renderer --portrait --size"),
        ("prepare", "SOURCE -o --for --size --consent --force"),
        ("dub", "VIDEO SPEECH -o --consent --force --decoder --device"),
        ("download", "musetalk --accept-licenses"),
        ("say", "TEXT -o --persona --renderer --voice --size"),
    ],
)
def test_each_command_has_its_options(command: str, options: str) -> None:
    told = mien(command, "--help")
    assert told.returncode == 0
    for option in options.split():
        assert option in told.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert mien("--version").stdout == f"mien {metadata.version('mien')}\n"


def test_help_is_there_at_once() -> None:
    took_s = []
    for _ in range(3):
        began = time.perf_counter()
        mien("--help")
        took_s.append(time.perf_counter() - began)
    assert min(took_s) < 0.4


def test_the_command_line_alone_loads_nothing_heavy() -> None:
    code = "import agent.cli, sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "cv2", "numpy", "av", "livekit", "aiortc", "aiohttp", "pydantic", "openai"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize("arguments", [[], ["sing"], ["render", "x.wav"], ["talk", "--renderer", "unreal"]])
def test_what_it_does_not_understand_is_refused_with_the_usage(arguments: list[str]) -> None:
    told = mien(*arguments)
    assert told.returncode == 2
    assert told.stderr.startswith("usage: mien")


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["say", "hello", "-o", "x.mp4"], {"MIEN_PROT": "1"}, "unknown setting MIEN_PROT: did you mean MIEN_PORT?"),
        (["say", "hello", "-o", "x.mp4", "--size", "7"], {}, "MIEN_SIZE_PX=7"),
        (["talk", "--host", "0.0.0.0"], {}, "set MIEN_TOKEN"),
        (["talk", "--tls-cert", "c.pem"], {}, "belong together"),
        (["agent", "start"], {}, "LiveKit needs LIVEKIT_URL and LIVEKIT_API_KEY and LIVEKIT_API_SECRET"),
        (["watch"], {}, "LiveKit needs LIVEKIT_URL and LIVEKIT_API_KEY and LIVEKIT_API_SECRET"),
        (["egress", "list"], {}, "LiveKit needs LIVEKIT_URL and LIVEKIT_API_KEY and LIVEKIT_API_SECRET"),
        (["page"], {"LIVEKIT_URL": "ws://127.0.0.1:1"}, "LiveKit needs LIVEKIT_API_KEY and LIVEKIT_API_SECRET"),
        (["agent", "dev"], {"LIVEKIT_URL": "livekit.example.org"}, "must start with ws:// or wss://"),
        (["render", "missing.wav", "-o", "x.mp4"], {}, "cannot read missing.wav as sound: No such file"),
        (["say", "hello", "-o", "x.mp4", "--persona", "nobody"], {}, "no persona 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_traceback(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], said: str
) -> None:
    told = mien(*arguments, folder=tmp_path, **environ)
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("mien: ")
    assert said in told.stderr
    assert told.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MIEN_SIZE_PX=7\n")
    told = mien("say", "hello", "-o", "x.mp4", folder=tmp_path)
    assert "MIEN_SIZE_PX='7'" in told.stderr


def test_ctrl_c_in_the_middle_of_its_work_ends_it_quietly_and_leaves_nothing(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\x00\x10\x00\xf0" * 16_000 * 300)
    with subprocess.Popen(
        [sys.executable, "-m", "agent.cli", "render", "long.wav", "-o", "x.mp4", "--size", "256"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        give_up = time.monotonic() + 30
        while not (tmp_path / "x.mp4.partial").exists() and time.monotonic() < give_up and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, told = process.communicate(timeout=10)
        took_s = time.monotonic() - began
    assert (process.returncode, told) == (130, "")
    assert took_s < 2
    assert [file.name for file in tmp_path.iterdir()] == ["long.wav"]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    piped = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m agent.cli licenses | head -1; exit 0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert piped.stdout.startswith("Mien ")
    assert piped.stderr == ""
