"""The page's files without a browser: they stand alone, parse, and speak the protocol that is written down."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.licenses import report

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
VENDOR = WEB / "vendor"
"""Other people's, as it came: scripts/vendor-livekit-client."""
OURS = sorted(file for file in WEB.rglob("*") if VENDOR not in file.parents)
MODULES = [file for file in OURS if file.suffix == ".js"]
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


@pytest.mark.parametrize("file", [file for file in OURS if file.suffix in (".js", ".css", ".html")], ids=relative)
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


CLIENTS = ("embedded-client.js", "livekit-client.js")
EMBEDDED_ONLY = {"ping", "pong", "buffer", "hush"}
"""Signs of life, and what is known of the browser's buffer: LiveKit has its own."""
LIVEKIT_ONLY = {"hello"}
LIVEKIT_ONLY_TOLD = {"heard"}


def spoken(client: str, connection: str) -> tuple[set[str], set[str], str]:
    """The types that an implementation sends and understands, and its connection's source."""
    text = (WEB / client).read_text(encoding="utf-8")
    below = (WEB / connection).read_text(encoding="utf-8")
    sent = set(re.findall(r"\{ type: '(\w+)'", text + below)) - {"offer", "answer", "notice"}
    understood = set(re.findall(r"case '(\w+)':", text.split("  #onMessage(", 1)[1].split("\n  }\n", 1)[0]))
    return sent, understood, below


def test_the_embedded_client_speaks_the_whole_protocol() -> None:
    sent, understood, peer = spoken("embedded-client.js", "embedded/peer.js")
    assert sent == protocol("Page → server") - LIVEKIT_ONLY
    assert understood | {"pong", "hush"} == protocol("Server → page") - LIVEKIT_ONLY_TOLD
    assert all(f"message.type {test} '{type_}'" in peer for test, type_ in (("!==", "pong"), ("===", "hush")))


def test_the_livekit_client_speaks_the_whole_protocol() -> None:
    sent, understood, visit = spoken("livekit-client.js", "livekit/visit.js")
    assert sent == protocol("Page → server") - EMBEDDED_ONLY
    assert understood == protocol("Server → page") - EMBEDDED_ONLY
    topic = re.search(r'^TOPIC = "(\w+)"', (ROOT / "rooms" / "livekit_messages.py").read_text(), re.MULTILINE)
    assert topic is not None
    assert f"const TOPIC = '{topic[1]}';" in visit
    returns = re.search(r'^RETURNS = "([\w.]+)"', (ROOT / "rooms" / "livekit.py").read_text(), re.MULTILINE)
    assert returns is not None
    assert f"const RETURNS = {{ '{returns[1]}': 'yes' }};" in (WEB / "livekit-client.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CLIENTS)
def test_no_event_of_the_interface_is_left_out(name: str) -> None:
    text = (WEB / "client.js").read_text(encoding="utf-8")
    events = set(re.findall(r"@property \{[^\n]*\} (\w+)", text.split("ClientEventMap", 1)[1].split("*/", 1)[0]))
    client = (WEB / name).read_text(encoding="utf-8")
    emitted = set(re.findall(r"emit\('(\w+)'", client)) | {"caption", "notice", "progress", "turn"}
    assert "this.emit(message.type, message)" in client
    assert events == emitted


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_offers_the_whole_interface(name: str) -> None:
    interface = (WEB / "client.js").read_text(encoding="utf-8").split("@typedef {object} AvatarClient", 1)[1]
    offered = set(re.findall(r"@property \{[^\n]*\} (\w+)", interface.split("*/", 1)[0])) - {"on"}
    client = (WEB / name).read_text(encoding="utf-8")
    members = set(re.findall(r"^  (?:async |get )?(\w+)(?: =|\()", client, re.MULTILINE))
    assert offered <= members, "`on` is inherited from ClientEvents; everything else must be here"


def test_livekits_client_is_as_it_came_and_loaded_in_livekit_mode_only() -> None:
    folder = VENDOR / "livekit-client"
    name, _, digest = (folder / "VERSION").read_text().splitlines()[1].split()
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, "run scripts/vendor-livekit-client"
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    version = (folder / "VERSION").read_text().splitlines()[0]
    assert version in (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert version in report()
    importing = {relative(file) for file in MODULES if "vendor/" in file.read_text(encoding="utf-8")}
    assert importing == {"livekit/visit.js"}
    reaching = {relative(file) for file in MODULES if re.search(r"livekit[/-]", file.read_text(encoding="utf-8"))}
    assert reaching == {"client.js", "livekit-client.js", "livekit/visit.js"}
    assert "await import('./livekit-client.js')" in (WEB / "client.js").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed; the browser tests load every module")
def test_modules_parse() -> None:
    for file in MODULES:
        with file.open("rb") as source:
            checked = subprocess.run(
                ["node", "--check", "--input-type=module"], stdin=source, capture_output=True, timeout=30, check=False
            )
        assert checked.returncode == 0, f"{relative(file)}: {checked.stderr.decode()}"
