"""The direction of imports: agent → rooms, avatar; rooms → avatar.frames alone; avatar → nothing of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "avatar", "rooms")


def imports(package: str) -> Iterator[tuple[str, str]]:
    """(file:line, module) for each import in a package, wherever in a file it stands.

    ``from a import b`` gives both ``a`` and ``a.b``, of which one may not be a module.
    """
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield place, alias.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{place}: relative imports hide the direction; write the whole name"
                assert node.module is not None
                for alias in node.names:
                    yield place, f"{node.module}.{alias.name}"


ELSEWHERE = ("web", "personas", "plugins", "tests", "benchmarks", "training")


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("package", PACKAGES)
def test_there_is_something_to_look_at(package: str) -> None:
    assert len(list(imports(package))) > 5


def test_avatar_imports_nothing_else_of_ours_and_no_transport() -> None:
    forbidden = ("agent", "rooms", "livekit", "aiortc", "aiohttp", *ELSEWHERE)
    wrong = [(place, module) for place, module in imports("avatar") if any(within(module, name) for name in forbidden)]
    assert wrong == []


def test_rooms_import_of_ours_only_rooms_and_frames() -> None:
    wrong = [
        (place, module)
        for place, module in imports("rooms")
        if any(within(module, name) for name in ("agent", "avatar", *ELSEWHERE)) and not within(module, "avatar.frames")
    ]
    assert wrong == []


def test_agent_imports_no_tests_or_benchmarks() -> None:
    wrong = [
        (place, module)
        for place, module in imports("agent")
        if any(within(module, name) for name in ("tests", "benchmarks", "plugins"))
    ]
    assert wrong == []


def test_nothing_needs_an_extra_at_import() -> None:
    """Heavy parts are extras: imported inside the functions that need them, never at the top of a file."""
    wrong = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "musetalk" in path.parts or path.name == "engine.py":
                continue
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [node.module]
                wrong += [(path.name, name) for name in names if name.split(".")[0] in ("torch", "faster_whisper")]
    assert wrong == []
