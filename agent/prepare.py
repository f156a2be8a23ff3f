"""`mien prepare SOURCE -o PORTRAIT`: a picture or video in, a portrait folder out, what may go wrong in plain words.

Reading, looking, asking, writing, in this order: nothing is written before the consent of the person shown is
on record. A picture takes one CPU core a few seconds; only this command needs the models that find a face. Whatever the
source, the portrait moves on a CPU; prepared for MuseTalk it also holds what a GPU needs.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from agent.prepare_consent import Asking, PrepareError, consented
from agent.prepare_idle import LOOP_TICKS, idle_pictures
from agent.prepare_look import calmest, cuts, found_in, look_at, stretch_of
from agent.prepare_musetalk import NotForMuseTalk, prepared_frames, square_for_all
from agent.prepare_preview import preview_of
from agent.prepare_video import Clip, read_clip, stated_frames
from avatar.frames import FPS
from avatar.musetalk.portrait_frames import MOST_FRAMES, parts_of
from avatar.portrait import Consent, Portrait, Source, load_portrait, save_portrait
from avatar.portrait_check import Finding, findings, findings_of_lids
from avatar.portrait_curves import find_curves
from avatar.portrait_detect import FaceFinder, FaceMesh
from avatar.portrait_image import LARGEST_FILE_BYTES, decode_image, read_bounded

if TYPE_CHECKING:
    from avatar.musetalk.portrait_latents import LatentEncoder

Bytes = npt.NDArray[np.uint8]

FACE_SHARE = 0.40
"""Height of the face, forehead to chin, in the finished picture; smaller only where the photo has no room."""
EYES_AT = 0.42
"""Height of the eyes in the finished picture."""
LARGEST_PX, SMALLEST_PX = 1024, 256
LARGEST_VIDEO_PX = 1920
STEPS = 5


@dataclass(frozen=True, slots=True)
class ForMuseTalk:
    """What else is to be made.

    Args:
        size_px: side of the pictures.
        encoder: brings what makes the latents; `NotForMuseTalk` where there is none.
        bar: a bar for work of this name and length, and what closes it.
    """

    size_px: int
    encoder: Callable[[], LatentEncoder]
    bar: Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A source, looked at.

    Args:
        image: the picture that the still portrait is made of, BGR, and its mesh.
        crop: the square that is used.
        found: what is to be said.
        moving: all pictures for MuseTalk with their meshes, made as they are asked for; None: a single picture, whose
            idle life is to be drawn.
    """

    image: Bytes
    mesh: FaceMesh
    crop: tuple[int, int, int]
    found: list[Finding]
    moving: _Moving | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Moving:
    """Pictures of a clip from one on, with their meshes."""

    clip: Clip
    first: int
    meshes: list[FaceMesh]

    def __len__(self) -> int:
        return len(self.meshes)

    def __iter__(self) -> Iterator[tuple[Bytes, FaceMesh]]:
        return ((self.clip.picture(self.first + n), mesh) for n, mesh in enumerate(self.meshes))


def prepare(
    source: Path,
    out: Path,
    *,
    consent: str | None,
    force: bool,
    made_with: str,
    asking: Asking,
    musetalk: ForMuseTalk | None = None,
) -> Portrait:
    """Make a portrait of a picture or a video. Blocking.

    Args:
        consent: who agreed, and when; None: the person at the terminal is asked.
        force: go on where a finding would stop, and replace a portrait that is there.
        made_with: name and version of the program, for the manifest.
        musetalk: make what MuseTalk needs as well; a video is of no use without.

    Raises:
        MienError: the source cannot be used, consent was not given, or the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="mien-prepare-") as scratch:
        step = _Steps(asking.tell, STEPS + (musetalk is not None))
        step(f"reading {source}")
        if is_picture(source):
            step("looking for the face")
            seen, sha256 = _see_picture(source)
        elif musetalk is None:
            raise PrepareError(f"{source} is no PNG or JPEG: give one, or a video and --for musetalk")
        else:
            clip, sha256 = _clip(source, Path(scratch), musetalk)
            step("looking for the face in every picture")
            seen = _see_video(source, clip, musetalk)

        step("following lips and lids")
        picture, mesh = cropped(seen.image, seen.mesh, seen.crop)
        curves = find_curves(picture, mesh)
        found = [*seen.found, *findings_of_lids(curves)]
        for finding in found:
            asking.tell(f"  {'stop' if finding.stops else 'note'}: {finding.text}")
        stops = [finding for finding in found if finding.stops]
        if stops and not force:
            raise PrepareError(f"{source}: {_reasons(stops)}. Use another one, or insist with --force.")

        step("asking for consent")
        agreed = consented(consent, asking)

        frames = None
        if musetalk is not None:
            step("boxes, masks and latents for MuseTalk")
            encoder = _encoder(musetalk, asking)
            size_px = musetalk.size_px
            if seen.moving is None:
                moving, count = idle_pictures(picture, mesh, curves, size_px), LOOP_TICKS
                with musetalk.bar("pictures", count) as show:
                    frames = prepared_frames(moving, (0, 0, size_px), size_px, encoder, show, "loop")
            else:
                with musetalk.bar("pictures", len(seen.moving)) as show:
                    frames = prepared_frames(seen.moving, seen.crop, size_px, encoder, show)

        step(f"writing {out}")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        height, width = seen.image.shape[:2]
        save_portrait(
            out,
            made=now,
            made_with=made_with,
            source=Source(name=source.name[:255], sha256=sha256, width=width, height=height, crop=seen.crop),
            consent=Consent(statement=agreed, recorded=now),
            picture=picture,
            mesh=mesh,
            curves=curves,
            preview=preview_of(picture, mesh, curves, frames),
            warnings=tuple(finding.text for finding in found),
            replace=force,
            more=parts_of(frames) if frames is not None else {},
        )
    return load_portrait(out)


def is_picture(source: Path) -> bool:
    """Whether the file begins as a PNG or JPEG does.

    Raises:
        PrepareError: it cannot be read.
    """
    try:
        with source.open("rb") as opened:
            head = opened.read(8)
    except OSError as error:
        raise PrepareError(f"{source} cannot be read ({error.strerror}): give the path of a picture or video") from None
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8"))


def _see_picture(source: Path) -> tuple[_Seen, str]:
    content = read_bounded(source, LARGEST_FILE_BYTES)
    image = decode_image(content, str(source))
    height, width = image.shape[:2]
    finder = FaceFinder()
    faces = finder.faces(image)
    if not faces:
        raise PrepareError(
            f"no face was found in {source}: use a picture in which one face looks at the camera, sharp and well lit; "
            "a drawing needs two eyes, a nose and a mouth where people have them"
        )
    mesh = finder.mesh(image, faces[0])
    crop = square_around(mesh, width, height)
    seen = _Seen(image, mesh, crop, findings(width, height, faces, mesh))
    return seen, hashlib.sha256(content).hexdigest()


def _clip(source: Path, scratch: Path, musetalk: ForMuseTalk) -> tuple[Clip, str]:
    stated = min(MOST_FRAMES, stated_frames(source) or MOST_FRAMES)
    with musetalk.bar("reading", stated) as show:
        clip = read_clip(source, scratch, most_frames=MOST_FRAMES, largest_px=LARGEST_VIDEO_PX, progress=show)
    digest = hashlib.sha256()
    with source.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return clip, digest.hexdigest()


def _see_video(source: Path, clip: Clip, musetalk: ForMuseTalk) -> _Seen:
    with musetalk.bar("looking", len(clip)) as show:
        looks = look_at(clip, show)
    shots = cuts(looks)
    first, end = stretch_of(looks, shots)
    if first == end:
        reasons = {look.why_not for look in looks}
        raise PrepareError(
            f"no picture of {source} can be used ({', '.join(sorted(reasons))}): film one face that looks at the "
            "camera, sharp and well lit"
        )
    found = found_in(looks, shots, (first, end))
    if not clip.whole:
        found.append(Finding(f"only the first {len(clip) / FPS:.0f} s of the video were looked at", stops=False))
    meshes = [mesh for look in looks[first:end] if (mesh := look.mesh) is not None]
    best = calmest(looks, (first, end))
    image, mesh = clip.picture(best), meshes[best - first]
    # Whether it is the only face was judged over all pictures.
    found += findings(clip.width, clip.height, FaceFinder().faces(image)[:1], mesh)
    crop = square_for_all(square_around(mesh, clip.width, clip.height), meshes, clip.width, clip.height)
    return _Seen(image, mesh, crop, found, _Moving(clip, first, meshes))


def _encoder(musetalk: ForMuseTalk, asking: Asking) -> LatentEncoder | None:
    try:
        return musetalk.encoder()
    except NotForMuseTalk as error:
        asking.tell(f"  note: made without latents ({error}); prepare it again when they are there")
        return None


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


def _reasons(stops: list[Finding]) -> str:
    return "; ".join(finding.text for finding in stops)


class _Steps:
    """Says which of the steps has begun."""

    def __init__(self, tell: Callable[[str], None], steps: int) -> None:
        self._tell = tell
        self._steps = steps
        self._done = 0

    def __call__(self, what: str) -> None:
        self._done += 1
        self._tell(f"[{self._done}/{self._steps}] {what}")
