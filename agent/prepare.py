"""`mien prepare PHOTO -o PORTRAIT`: a picture in, a portrait folder out, with what may go wrong said in plain words.

Reading, looking, asking, writing, in this order: nothing is written before the consent of the person shown is
on record. Runs on one CPU core in a few seconds; only this command needs the models that find a face.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from agent.prepare_preview import preview_of
from avatar.frames import MienError
from avatar.portrait import Consent, Portrait, Source, load_portrait, save_portrait
from avatar.portrait_check import Finding, findings
from avatar.portrait_curves import find_curves
from avatar.portrait_detect import FaceFinder, FaceMesh
from avatar.portrait_image import LARGEST_FILE_BYTES, decode_image, read_bounded

Bytes = npt.NDArray[np.uint8]

FACE_SHARE = 0.40
"""Height of the face, forehead to chin, in the finished picture; smaller only where the photo has no room."""
EYES_AT = 0.42
"""Height of the eyes in the finished picture."""
LARGEST_PX, SMALLEST_PX = 1024, 256
STEPS = 5

CONSENT_QUESTION = """
A portrait makes the person in the picture appear to say whatever the avatar says. Prepare it only if that person has
agreed to this, or if the picture shows nobody real. What you write here is kept in the portrait's manifest.
"""


class PrepareError(MienError):
    """No portrait was made: says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the person at the terminal is spoken to.

    Args:
        tell: shows a line.
        ask: shows a question and gives the answer; None where nobody can be asked.
    """

    tell: Callable[[str], None]
    ask: Callable[[str], str] | None


def prepare(photo: Path, out: Path, *, consent: str | None, force: bool, made_with: str, asking: Asking) -> Portrait:
    """Make a portrait of a picture. Blocking.

    Args:
        consent: who agreed, and when; None: the person at the terminal is asked.
        force: go on where a finding would stop, and replace a portrait that is there.
        made_with: name and version of the program, for the manifest.

    Raises:
        MienError: the picture cannot be used, consent was not given, or the folder cannot be written.
    """
    step = _Steps(asking.tell)
    step(f"reading {photo}")
    content = read_bounded(photo, LARGEST_FILE_BYTES)
    image = decode_image(content, str(photo))
    height, width = image.shape[:2]

    step("looking for the face")
    finder = FaceFinder()
    faces = finder.faces(image)
    if not faces:
        raise PrepareError(
            f"no face was found in {photo}: use a picture in which one face looks at the camera, sharp and well lit; "
            "a drawing needs two eyes, a nose and a mouth where people have them"
        )
    whole = finder.mesh(image, faces[0])

    step("following lips and lids")
    crop = square_around(whole, width, height)
    picture, mesh = cropped(image, whole, crop)
    curves = find_curves(picture, mesh)
    found = findings(width, height, faces, whole, curves)
    for finding in found:
        asking.tell(f"  {'stop' if finding.stops else 'note'}: {finding.text}")
    stops = [finding for finding in found if finding.stops]
    if stops and not force:
        raise PrepareError(f"{photo}: {_reasons(stops)}. Use another picture, or insist with --force.")

    step("asking for consent")
    agreed = _consent(consent, asking)

    step(f"writing {out}")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    save_portrait(
        out,
        made=now,
        made_with=made_with,
        source=Source(
            name=photo.name[:255],
            sha256=hashlib.sha256(content).hexdigest(),
            width=width,
            height=height,
            crop=crop,
        ),
        consent=Consent(statement=agreed, recorded=now),
        picture=picture,
        mesh=mesh,
        curves=curves,
        preview=preview_of(picture, mesh, curves),
        warnings=tuple(finding.text for finding in found),
        replace=force,
    )
    return load_portrait(out)


def square_around(mesh: FaceMesh, width: int, height: int) -> tuple[int, int, int]:
    """The square of a picture that becomes the portrait: left, top and side, px."""
    points = mesh.points[:, :2]
    tall = float(np.hypot(*(points[152] - points[10])))
    side = int(min(tall / FACE_SHARE, width, height)) // 2 * 2
    eyes = mesh.irises[:, 0].mean(axis=0)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    left = round(float(middle[0]) - side / 2)
    top = round(float(eyes[1]) - EYES_AT * side)
    return max(0, min(left, width - side)), max(0, min(top, height - side)), side


def cropped(image: Bytes, mesh: FaceMesh, crop: tuple[int, int, int]) -> tuple[Bytes, FaceMesh]:
    """The square at its finished size, and the mesh in px of it."""
    left, top, side = crop
    size = max(SMALLEST_PX, min(LARGEST_PX, side))
    part = image[top : top + side, left : left + side]
    how = cv2.INTER_AREA if size <= side else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(part, (size, size), interpolation=how), np.uint8)
    scale = np.float32(size / side)
    corner = np.array([left, top], np.float32)
    points = np.hstack([(mesh.points[:, :2] - corner) * scale, mesh.points[:, 2:] * scale])
    return picture, FaceMesh(points, (mesh.irises - corner) * scale, mesh.presence)


def _consent(given: str | None, asking: Asking) -> str:
    """Who agreed, and when.

    Raises:
        PrepareError: nobody did, or nobody can be asked.
    """
    if given is None:
        if asking.ask is None:
            raise PrepareError(
                'the consent of the person shown must be on record: --consent "who agreed, when" '
                '(or --consent "nobody real: a drawing by ..."), or run it in a terminal, which asks'
            )
        asking.tell(CONSENT_QUESTION)
        if asking.ask("Has the person shown agreed, or is it nobody real? [y/N] ").strip().lower() not in ("y", "yes"):
            raise PrepareError("without consent no portrait is made; nothing was written")
        given = asking.ask("Who agreed, and when? (or: whose drawing it is) ")
    given = " ".join(given.split())
    if len(given) < 3:
        raise PrepareError("the consent is empty: say who agreed, and when")
    return given[:500]


def _reasons(stops: list[Finding]) -> str:
    return "; ".join(finding.text for finding in stops)


class _Steps:
    """Says which of the steps has begun."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._done = 0

    def __call__(self, what: str) -> None:
        self._done += 1
        self._tell(f"[{self._done}/{STEPS}] {what}")
