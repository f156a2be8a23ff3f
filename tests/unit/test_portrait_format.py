"""Portraits on disk: written whole, read checked, and nothing a stranger put into a folder is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from avatar.portrait import MANIFEST, PortraitError, load_portrait, png_of, read_manifest
from tests.doubles.portraits import known_face, saved

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(tmp_path / "drawn")
    return tmp_path / "drawn"


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a manifest as somebody with a text editor would."""
    file = folder / MANIFEST
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def believe(folder: Path, name: str, content: bytes) -> None:
    """Put a file in and make the manifest name its checksum: what remains are the checks of the content itself."""
    import hashlib

    (folder / name).write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    change(folder, lambda manifest: manifest["files"].update({name: entry}))


def test_what_is_loaded_is_what_was_saved(folder: Path) -> None:
    image, mesh, curves = known_face(256)
    portrait = load_portrait(folder)
    assert np.array_equal(portrait.picture, image)
    assert np.abs(portrait.mesh.points - mesh.points).max() <= 0.006
    assert np.abs(portrait.mesh.irises - mesh.irises).max() <= 0.006
    for name in ("lip_top", "lip_upper", "lip_lower", "lip_bottom"):
        assert np.abs(getattr(portrait.curves, name) - getattr(curves, name)).max() <= 0.006
    for eye in (0, 1):
        assert np.abs(portrait.curves.lid_upper[eye] - curves.lid_upper[eye]).max() <= 0.006
        assert np.abs(portrait.curves.lid_lower[eye] - curves.lid_lower[eye]).max() <= 0.006
    assert portrait.manifest.consent.statement == "nobody real: drawn for a test"
    assert portrait.manifest.warnings == ("a note",)
    assert sorted(file.name for file in folder.iterdir()) == [
        "landmarks.json",
        MANIFEST,
        "picture.png",
        "preview.png",
    ]


def test_roles_and_fields_of_later_versions_are_ignored(folder: Path) -> None:
    (folder / "latents.safetensors").write_bytes(b"of another renderer")
    change(folder, lambda manifest: manifest["parts"].update({"musetalk-latents": "latents.safetensors"}))
    change(folder, lambda manifest: manifest.update({"idle": {"first": 3}}))
    assert load_portrait(folder).manifest.parts["musetalk-latents"] == "latents.safetensors"


@pytest.mark.parametrize("name", ["picture.png", "landmarks.json"])
def test_a_file_that_was_changed_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(PortraitError, match=f"{name} was changed"):
        load_portrait(folder)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="no portrait at"):
        load_portrait(tmp_path / "nowhere")
    (folder / "picture.png").unlink()
    with pytest.raises(PortraitError, match=r"picture\.png is not a file"):
        load_portrait(folder)
    change(folder, lambda manifest: manifest["parts"].pop("picture"))
    with pytest.raises(PortraitError, match="names no picture"):
        load_portrait(folder)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m.update(version=2), "newer Mien"),
        (lambda m: m.update(format="other"), "format"),
        (lambda m: m.pop("consent"), "consent"),
        (lambda m: m["consent"].update(statement=""), r"consent\.statement"),
        (lambda m: m.update(width=100_000), "width"),
        (lambda m: m["parts"].update(picture="../picture.png"), r"parts\.picture"),
        (lambda m: m["parts"].update(picture="/etc/passwd"), r"parts\.picture"),
        (lambda m: m["parts"].update(picture="a/b.png"), r"parts\.picture"),
        (lambda m: m["parts"].update(picture=".."), r"parts\.picture"),
        (lambda m: m["files"]["picture.png"].update(sha256="x"), "sha256"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(folder: Path, edit: Callable[[dict[str, Any]], object], says: str) -> None:
    change(folder, edit)
    with pytest.raises(PortraitError, match=says):
        load_portrait(folder)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 30_000, "\x00" * 10])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(PortraitError):
        read_manifest(folder)


def test_a_huge_manifest_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST).open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(PortraitError, match="larger than"):
        read_manifest(folder)


def test_links_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    (folder / "picture.png").rename(outside)
    (folder / "picture.png").symlink_to(outside)
    with pytest.raises(PortraitError, match="is a link"):
        load_portrait(folder)


def test_a_picture_that_would_unfold_is_refused_before_it_does(folder: Path) -> None:
    whole = (folder / "picture.png").read_bytes()
    bomb = whole[:16] + (30_000).to_bytes(4) * 2 + whole[24:]
    believe(folder, "picture.png", bomb)
    with pytest.raises(PortraitError, match="256 x 256"):
        load_portrait(folder)
    believe(folder, "picture.png", whole[: len(whole) // 2])
    change(folder, lambda manifest: manifest.update(width=256, height=256))
    with pytest.raises(PortraitError):
        load_portrait(folder)


def test_a_picture_of_another_kind_is_refused(folder: Path) -> None:
    _, jpeg = cv2.imencode(".jpg", np.zeros((256, 256, 3), np.uint8))
    believe(folder, "picture.png", jpeg.tobytes())
    with pytest.raises(PortraitError, match="no PNG"):
        load_portrait(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: told.update(convention="other"),
        lambda told: told["mesh"].pop(),
        lambda told: told["mesh"].__setitem__(7, [1e30, 0, 0]),
        lambda told: told["mesh"].__setitem__(7, [float("nan"), 0, 0]),
        lambda told: told["mesh"].__setitem__(7, [0, 0, 1e9]),
        lambda told: told["irises"][0].pop(),
        lambda told: told["curves"].pop("lip_top"),
        lambda told: told["curves"]["lip_top"].pop(),
        lambda told: told["curves"].update(more=told["curves"]["lip_top"]),
    ],
)
def test_landmarks_that_are_wrong_are_refused(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
    edit(told)
    believe(folder, "landmarks.json", json.dumps(told).encode())
    with pytest.raises(PortraitError, match="landmarks"):
        load_portrait(folder)


def test_nothing_that_is_there_is_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(PortraitError, match="portrait already"):
        saved(folder)
    assert (folder / MANIFEST).read_bytes() == before
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    for replace in (False, True):
        with pytest.raises(PortraitError, match="holds other things"):
            saved(other, replace=replace)
    assert (other / "thesis.txt").read_text() == "years of work"
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(PortraitError, match="not a folder"):
        saved(file)


def test_a_portrait_is_replaced_whole_and_what_is_not_its_own_stays(folder: Path) -> None:
    saved(folder, replace=True)
    assert load_portrait(folder).manifest.width == 256
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(PortraitError, match="other files too"):
        saved(folder, replace=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert load_portrait(folder).manifest.width == 256


def test_a_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(PortraitError):
        saved(blocked / "portrait")
    assert sorted(tmp_path.iterdir()) == [blocked]


def test_pictures_are_our_own_making() -> None:
    png = png_of(known_face(256)[0])
    for chunk in (b"tEXt", b"eXIf", b"iTXt", b"zTXt"):
        assert chunk not in png
