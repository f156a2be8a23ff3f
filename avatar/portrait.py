"""A prepared identity on disk: a folder that is safe to load, whoever made it.

In: a folder with `manifest.json`. Out: a frozen `Portrait`; and the way back. JSON and PNG only, nothing that could
run. Every file that is used is named in the manifest with its length and SHA-256, lies in the folder itself, and is
bounded before it is decoded. `parts` says which file plays which role; a reader ignores roles that it does not know, so
that other renderers can add theirs (docs/portraits.md).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar.frames import MienError
from avatar.portrait_curves import SAMPLES, Curves
from avatar.portrait_detect import FaceMesh
from avatar.portrait_image import ImageError, decode_image, read_bounded, stated_size

Bytes = npt.NDArray[np.uint8]

MANIFEST = "manifest.json"
VERSION = 1
SMALLEST_PX, LARGEST_PX = 256, 2048
"""Sides of a portrait's picture."""
LARGEST_MANIFEST_BYTES, LARGEST_PICTURE_BYTES, LARGEST_LANDMARKS_BYTES = 64 << 10, 24 << 20, 1 << 20
MESH_POINTS = 468


class PortraitError(MienError):
    """A portrait cannot be used or written: which folder, what is wrong, what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}(\.[a-z0-9]{1,11})?$")]


class Consent(_Section):
    """Who agreed that this picture speaks, in the words of whoever prepared it, and when that was written down."""

    statement: Annotated[str, Field(min_length=3, max_length=500)]
    recorded: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Source(_Section):
    """What the portrait was made of: the file's name without its folder, and which square of it, px."""

    name: Annotated[str, Field(max_length=255)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    width: Annotated[int, Field(gt=0, le=100_000)]
    height: Annotated[int, Field(gt=0, le=100_000)]
    crop: tuple[int, int, int]


class FileEntry(_Section):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, le=1 << 40)]


class Manifest(_Section):
    """`manifest.json`. Fields that are not known here are ignored: newer parts add them."""

    format: Literal["mien-portrait"]
    version: Literal[1]
    made: str
    made_with: str
    source: Source
    consent: Consent
    width: Annotated[int, Field(ge=SMALLEST_PX, le=LARGEST_PX)]
    height: Annotated[int, Field(ge=SMALLEST_PX, le=LARGEST_PX)]
    warnings: tuple[str, ...] = ()
    parts: dict[str, FileName]
    files: dict[FileName, FileEntry]


class _Landmarks(BaseModel):
    """`landmarks.json`: px of the portrait's picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    convention: Literal["mediapipe-468"]
    mesh: Annotated[list[tuple[float, float, float]], Field(min_length=MESH_POINTS, max_length=MESH_POINTS)]
    irises: Annotated[list[list[tuple[float, float]]], Field(min_length=2, max_length=2)]
    presence: Annotated[float, Field(ge=0, le=1)]
    curves: dict[str, Annotated[list[tuple[float, float]], Field(min_length=SAMPLES, max_length=SAMPLES)]]


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A person or drawing, ready to be animated.

    Args:
        picture: BGR, uint8 [height, width, 3].
        mesh, curves: where its face is, px of the picture.
    """

    manifest: Manifest
    picture: Bytes
    mesh: FaceMesh
    curves: Curves


def load_portrait(folder: Path) -> Portrait:
    """Read and check a portrait. Blocking.

    Raises:
        PortraitError: it is missing, incomplete, changed since it was made, or made by a newer version.
    """
    manifest = read_manifest(folder)
    png = part_content(folder, manifest, "picture", LARGEST_PICTURE_BYTES)
    if png[:4] != b"\x89PNG" or stated_size(png) != (manifest.width, manifest.height):
        raise PortraitError(
            f"{folder}: its picture is no PNG of {manifest.width} x {manifest.height} px: prepare it again"
        )
    try:
        picture = decode_image(png, f"{folder}: its picture")
    except ImageError as error:
        raise PortraitError(str(error)) from None
    mesh, curves = _landmarks(folder, part_content(folder, manifest, "landmarks", LARGEST_LANDMARKS_BYTES), manifest)
    return Portrait(manifest, picture, mesh, curves)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, checked by itself.

    Raises:
        PortraitError: there is none, or it is wrong.
    """
    if not (folder / MANIFEST).is_file():
        raise PortraitError(f"no portrait at {folder}: give a folder that `mien prepare PHOTO -o FOLDER` made")
    content = _bounded(folder, MANIFEST, LARGEST_MANIFEST_BYTES)
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PortraitError(f"{folder / MANIFEST} is not JSON: {error}") from None
    version = told.get("version") if isinstance(told, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise PortraitError(f"{folder} was made by a newer Mien (portrait version {version}, this one reads {VERSION})")
    try:
        return Manifest.model_validate(told)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise PortraitError(f"{folder / MANIFEST}: {place}: {problem['msg']}") from None


def _bounded(folder: Path, name: str, most_bytes: int) -> bytes:
    """A file of the folder itself: no link leads out of it."""
    file = folder / name
    if file.is_symlink():
        raise PortraitError(f"{file} is a link: a portrait holds its own files; copy it there")
    try:
        return read_bounded(file, most_bytes)
    except ImageError as error:
        raise PortraitError(str(error)) from None


def part_content(folder: Path, manifest: Manifest, part: str, most_bytes: int) -> bytes:
    """The content of the file that plays a role, as it was when the portrait was made.

    Raises:
        PortraitError: there is none, it is too long, or it was changed since.
    """
    name = manifest.parts.get(part)
    if name is None or name not in manifest.files:
        raise PortraitError(f"{folder} names no {part}: prepare it again")
    content = _bounded(folder, name, most_bytes)
    entry = manifest.files[name]
    if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise PortraitError(f"{folder / name} was changed or damaged since the portrait was made: prepare it again")
    return content


def _landmarks(folder: Path, content: bytes, manifest: Manifest) -> tuple[FaceMesh, Curves]:
    try:
        told = _Landmarks.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise PortraitError(f"{folder}: its landmarks: {place}: {problem['msg']}") from None
    if set(told.curves) != set(CURVES) or {len(iris) for iris in told.irises} != {5}:
        raise PortraitError(f"{folder}: its landmarks: curves or irises are missing: prepare it again")
    mesh = np.array(told.mesh, np.float32)
    irises = np.array(told.irises, np.float32)
    lines = {name: np.array(points, np.float32) for name, points in told.curves.items()}
    size = np.array([manifest.width, manifest.height], np.float32)
    for points in (mesh[:, :2], irises.reshape(-1, 2), *lines.values()):
        if not bool(np.all((points > -size) & (points < 2 * size))):  # also catches NaN
            raise PortraitError(f"{folder}: its landmarks lie outside its picture: prepare it again")
    if not bool(np.all(np.abs(mesh[:, 2]) < size.max())):
        raise PortraitError(f"{folder}: its landmarks have no sensible depth: prepare it again")
    curves = Curves(
        lines["lip_top"],
        lines["lip_upper"],
        lines["lip_lower"],
        lines["lip_bottom"],
        (lines["lid_upper_left"], lines["lid_upper_right"]),
        (lines["lid_lower_left"], lines["lid_lower_right"]),
    )
    return FaceMesh(mesh, irises, told.presence), curves


CURVES = (
    "lip_top", "lip_upper", "lip_lower", "lip_bottom",
    "lid_upper_left", "lid_upper_right", "lid_lower_left", "lid_lower_right",
)  # fmt: skip


def landmarks_json(mesh: FaceMesh, curves: Curves) -> bytes:
    """`landmarks.json`, to a hundredth of a pixel."""
    lines = (
        curves.lip_top, curves.lip_upper, curves.lip_lower, curves.lip_bottom,
        *curves.lid_upper, *curves.lid_lower,
    )  # fmt: skip
    return json.dumps(
        {
            "convention": "mediapipe-468",
            "mesh": _rounded(mesh.points),
            "irises": _rounded(mesh.irises),
            "presence": round(mesh.presence, 4),
            "curves": {name: _rounded(line) for name, line in zip(CURVES, lines, strict=True)},
        }
    ).encode()


def _rounded(values: npt.NDArray[np.float32]) -> object:
    return np.round(values.astype(np.float64), 2).tolist()


def png_of(picture: Bytes) -> bytes:
    """A picture, BGR, as a PNG of our own making: nothing of the file it came from, no metadata, is left in it."""
    _, data = cv2.imencode(".png", picture)
    return data.tobytes()


def save_portrait(
    folder: Path,
    *,
    made: str,
    made_with: str,
    source: Source,
    consent: Consent,
    picture: Bytes,
    mesh: FaceMesh,
    curves: Curves,
    preview: bytes,
    warnings: tuple[str, ...],
    replace: bool,
    more: Mapping[str, tuple[str, bytes]] | None = None,
) -> None:
    """Write a portrait, whole or not at all.

    Args:
        preview: a PNG for people to look at; no renderer reads it.
        more: other renderers' parts: name and content of a file by its role.
        replace: whether a portrait that is there may be replaced; anything else that is there never is.

    Raises:
        PortraitError: something is in the way, or the folder cannot be written.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise PortraitError(f"{folder} is not a folder: choose another place")
    existing = folder.is_dir() and any(folder.iterdir())
    if existing and not (folder / MANIFEST).is_file():
        raise PortraitError(f"{folder} holds other things: choose an empty or new folder")
    if existing and not replace:
        raise PortraitError(f"{folder} is a portrait already: choose another folder, or replace it with --force")
    if existing:
        own = {*read_manifest(folder).files, MANIFEST}
        others = sorted(file.name for file in folder.iterdir() if file.name not in own)
        if others:
            raise PortraitError(f"{folder} holds other files too ({others[0]}): choose another folder")
    contents: Mapping[str, tuple[str, bytes]] = {
        "picture": ("picture.png", png_of(picture)),
        "landmarks": ("landmarks.json", landmarks_json(mesh, curves)),
        "preview": ("preview.png", preview),
        **(more or {}),
    }
    manifest = Manifest(
        format="mien-portrait",
        version=1,
        made=made,
        made_with=made_with,
        source=source,
        consent=consent,
        width=picture.shape[1],
        height=picture.shape[0],
        warnings=warnings,
        parts={part: name for part, (name, _) in contents.items()},
        files={
            name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
            for name, content in contents.values()
        },
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            making.chmod(0o755)
            for name, content in contents.values():
                (making / name).write_bytes(content)
            (making / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
            if existing:
                old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
                folder.rename(old / "old")
                making.rename(folder)
                shutil.rmtree(old)
            else:
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise PortraitError(f"{folder} cannot be written: {error.strerror}") from None
