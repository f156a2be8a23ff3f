"""What may be asked of an avatar worker, and what the plugin brings into somebody else's process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.avatar_job import Faces, Order, OrderError
from agent.settings import load_settings
from tests.livekit.server import ROOT, environment

PLUGIN = ROOT / "plugins/livekit-plugins-mien"
ASKED = {"identity": "mien-avatar-1", "on_behalf_of": "agent-1"}


@pytest.mark.unit
def test_an_order_says_who_and_for_whom() -> None:
    order = Order.parse(json.dumps(ASKED | {"persona": "mien"}))
    assert (order.identity, order.on_behalf_of, order.persona, order.portrait) == (
        "mien-avatar-1",
        "agent-1",
        "mien",
        None,
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    "metadata",
    ["", "{", "[" * 60_000, "[]", "null", "{}", json.dumps({"identity": "a"})]
    + [json.dumps(ASKED | wrong) for wrong in ({"file": "/etc/passwd"}, {"persona": 1}, {"identity": ""})],
)
def test_any_other_order_is_refused(metadata: str) -> None:
    with pytest.raises(OrderError, match="metadata"):
        Order.parse(metadata)


@pytest.mark.unit
@pytest.mark.parametrize("name", ["..", "../secret", "/etc", "nobody", "."])
@pytest.mark.parametrize("what", ["persona", "portrait"])
def test_no_name_reaches_other_files(what: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "portraits/ada").mkdir(parents=True)
    faces = Faces(load_settings({"MIEN_PORTRAITS": str(tmp_path / "portraits")}))
    with pytest.raises(OrderError, match=f"no {what} "):
        faces.choose(Order.parse(json.dumps(ASKED | {what: name})))


@pytest.mark.unit
def test_without_a_wish_it_is_the_worker_s_own() -> None:
    assert Faces(load_settings({})).choose(Order.parse(json.dumps(ASKED))).persona.name == "Mien"


@pytest.mark.media
def test_the_plugin_imports_nothing_called_agent() -> None:
    """A user's own file is called agent.py."""
    code = (
        "import sys; from livekit.plugins import mien; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'agent', 'avatar', 'rooms', 'web'}))"
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(PYTHONPATH=str(PLUGIN)),
        cwd=PLUGIN,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.strip() == "[]", told.stderr
