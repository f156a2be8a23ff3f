"""The page's files without a browser: they stand alone, parse, and speak the protocol that is written down."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
MODULES = sorted(WEB.rglob("*.js"))
IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*'(\.[^']+)'""")


def relative(file: Path) -> str:
    return file.relative_to(WEB).as_posix()


def protocol(direction: str) -> set[str]:
    """The message types that docs/protocol.md lists for one direction."""
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    section = text.split(f"## {direction}", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("file", MODULES, ids=relative)
def test_imports_lead_to_files_and_the_header_says_the_job(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith("// "), "the first line says what the file is for"
    for path in IMPORT.findall(text):
        assert (file.parent / path).resolve().is_file(), f"{path} is not there"


@pytest.mark.parametrize(
    "file", [file for file in WEB.rglob("*") if file.suffix in (".js", ".css", ".html")], ids=relative
)
def test_nothing_comes_from_elsewhere(file: Path) -> None:
    code = "\n".join(
        line
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.lstrip().startswith(("//", "*", "/*"))
    )
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}[^\s'\"`)]*", code))
    assert addresses <= {"http://www.w3.org/2000/svg"}, "no network but the own server's"
    assert "@import" not in code
    assert "innerHTML" not in code, "text is never markup"


def rules(file: Path) -> set[tuple[str, str]]:
    """(selector, declarations) of every rule, whatever @media it stands in."""
    text = re.sub(r"/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {(" ".join(a.split()), " ".join(b.split())) for a, b in re.findall(r"([^{}]+)\{([^{}]*)\}", text)}


def test_no_style_is_written_twice() -> None:
    """The page and the element are style scopes of their own; what both need is in basics.css, which both load."""
    page, stage, basics = (rules(WEB / name) for name in ("page.css", "stage.css", "basics.css"))
    assert len(basics) > 8
    assert page & stage == set()
    assert (page | stage) & basics == set()
    assert "/static/basics.css" in (WEB / "index.html").read_text(encoding="utf-8")
    assert "'basics.css'" in (WEB / "element.js").read_text(encoding="utf-8")


def test_markup_needs_no_inline_script_or_style() -> None:
    html = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\bsrc=)", html)
    assert 'lang="en"' in html
    for path in re.findall(r'(?:href|src)="/static/([^"]+)"', html):
        assert (WEB / path).is_file()


def test_client_speaks_the_whole_protocol() -> None:
    client = (WEB / "embedded-client.js").read_text(encoding="utf-8")
    peer = (WEB / "embedded" / "peer.js").read_text(encoding="utf-8")
    sent = set(re.findall(r"type: '(\w+)'", client + peer)) - {"offer", "answer"}
    understood = set(re.findall(r"case '(\w+)':", client.split("  #onMessage(", 1)[1].split("\n  }\n", 1)[0]))
    assert sent == protocol("Page → server")
    assert understood | {"pong", "hush"} == protocol("Server → page")
    assert all(f"message.type {test} '{type_}'" in peer for test, type_ in (("!==", "pong"), ("===", "hush")))


def test_no_event_of_the_interface_is_left_out() -> None:
    text = (WEB / "client.js").read_text(encoding="utf-8")
    events = set(re.findall(r"@property \{[^\n]*\} (\w+)", text.split("ClientEventMap", 1)[1].split("*/", 1)[0]))
    client = (WEB / "embedded-client.js").read_text(encoding="utf-8")
    emitted = set(re.findall(r"emit\('(\w+)'", client)) | {"caption", "notice", "progress", "turn"}
    assert "this.emit(message.type, message)" in client
    assert events == emitted


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed; the browser tests load every module")
def test_modules_parse() -> None:
    for file in MODULES:
        with file.open("rb") as source:
            checked = subprocess.run(
                ["node", "--check", "--input-type=module"], stdin=source, capture_output=True, timeout=30, check=False
            )
        assert checked.returncode == 0, f"{relative(file)}: {checked.stderr.decode()}"
