"""What is in each picture of a clip: its faces, the mesh of one, where the view changes; and which stretch can be used.

In: pictures. Out: a `Look` for each, then the longest stretch of one shot that shows the face. Runs on all cores, each
thread with models of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from agent.prepare_video import Clip
from avatar.frames import FPS
from avatar.musetalk.portrait_landmarks import face_box, landmarks_68
from avatar.portrait_check import ANOTHER, LEAST_EYES_PX, LEAST_PRESENCE, PROFILE_DEG, Finding, turn_deg
from avatar.portrait_detect import FaceFinder, FaceMesh

Bytes = npt.NDArray[np.uint8]

SMALL_PX = (64, 36)
CUT_LEVELS = 26.0
"""Mean difference of two pictures, shrunk to `SMALL_PX`, from which on the view has changed."""
JUMP = 0.6
"""A face that moves by this share of its width from one picture to the next is another one."""
LEAST_FRAMES = FPS
"""The shortest stretch that makes an idle cycle."""
MOST_THREADS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was seen in one picture.

    Args:
        faces: how many that count.
        mesh: of the largest; None where there is none that can be used.
        why_not: why there is none, in a few words.
        small: the picture, shrunk, grey.
    """

    faces: int
    mesh: FaceMesh | None
    why_not: str
    small: npt.NDArray[np.int16]


class _Own(threading.local):
    """A thread's own models: made when it first asks for them."""

    def __init__(self) -> None:
        self.finder = FaceFinder()


def look_at(clip: Clip, progress: Callable[[int], None]) -> list[Look]:
    """Look at every picture.

    Args:
        progress: told how many have been looked at.

    Raises:
        DetectError: the models are not installed.
    """
    own, looks = _Own(), []
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="look") as threads:
        for look in threads.map(lambda n: _look(own.finder, clip.picture(n)), range(len(clip))):
            looks.append(look)
            progress(len(looks))
    return looks


def _look(finder: FaceFinder, image: Bytes) -> Look:
    height, width = image.shape[:2]
    grey = cv2.cvtColor(cv2.resize(image, SMALL_PX, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    small = np.asarray(grey, np.int16)
    boxes = finder.faces(image)
    if not boxes:
        return Look(0, None, "no face", small)
    count = sum(box.width * box.height >= ANOTHER * boxes[0].width * boxes[0].height for box in boxes)
    mesh = finder.mesh(image, boxes[0])
    if mesh.presence < LEAST_PRESENCE:
        return Look(count, None, "no clear face", small)
    if abs(turn_deg(mesh)[0]) > PROFILE_DEG:
        return Look(count, None, "the face turned away", small)
    if float(np.hypot(*(mesh.irises[1, 0] - mesh.irises[0, 0]))) < LEAST_EYES_PX:
        return Look(count, None, "the face too small", small)
    if face_box(landmarks_68(mesh), width, height) is None:
        return Look(count, None, "the face cut off", small)
    return Look(count, mesh, "", small)


def cuts(looks: Sequence[Look]) -> list[int]:
    """The first pictures of all shots but the first."""
    found = []
    for n in range(1, len(looks)):
        before, after = looks[n - 1], looks[n]
        changed = float(np.abs(after.small - before.small).mean()) > CUT_LEVELS
        if before.mesh is not None and after.mesh is not None and not changed:
            one, other = (look.points[:, :2].mean(axis=0) for look in (before.mesh, after.mesh))
            wide = float(np.ptp(before.mesh.points[:, 0]))
            changed = float(np.hypot(*(other - one))) > JUMP * wide
        if changed:
            found.append(n)
    return found


def stretch_of(looks: Sequence[Look], shots: Sequence[int]) -> tuple[int, int]:
    """First picture and one past the last of the longest run within one shot in which every picture has its mesh."""
    best, start = (0, 0), 0
    starts = set(shots)
    for n in range(len(looks) + 1):
        ends = n == len(looks) or looks[n].mesh is None
        if ends or n in starts:
            if n - start > best[1] - best[0]:
                best = start, n
            start = n + 1 if ends else n
    return best


def found_in(looks: Sequence[Look], shots: Sequence[int], stretch: tuple[int, int]) -> list[Finding]:
    """What somebody should know of a video, in plain words."""
    found = []
    several = sum(look.faces > 1 for look in looks)
    if several:
        found.append(
            Finding(
                f"{several} of {len(looks)} pictures show several faces: crop the video to one (with --force: the "
                "largest)",
                stops=True,
            )
        )
    if shots:
        times = ", ".join(f"{n / FPS:.1f} s" for n in shots[:4]) + (", ..." if len(shots) > 4 else "")
        found.append(Finding(f"the view changes {len(shots)} times (at {times}): one shot alone is used", stops=False))
    reasons = [look.why_not for look in looks if look.mesh is None]
    for reason in dict.fromkeys(reasons):
        found.append(Finding(f"{reason} in {reasons.count(reason)} of {len(looks)} pictures", stops=False))
    first, end = stretch
    if end - first < LEAST_FRAMES:
        found.append(
            Finding(
                f"the longest stretch that can be used is {(end - first) / FPS:.1f} s: film one face that looks at the "
                f"camera for {LEAST_FRAMES / FPS:g} s or longer, without a cut",
                stops=True,
            )
        )
    elif end - first < len(looks):
        found.append(
            Finding(
                f"used is what lies between {first / FPS:.1f} and {end / FPS:.1f} s of {len(looks) / FPS:.1f} s",
                stops=False,
            )
        )
    return found


def calmest(looks: Sequence[Look], stretch: tuple[int, int]) -> int:
    """The picture of the stretch that a still portrait is best made of: eyes open, lips shut, from the front."""

    def unrest(n: int) -> float:
        mesh = looks[n].mesh
        assert mesh is not None
        points = mesh.points[:, :2]

        def far(one: int, other: int) -> float:
            return float(np.hypot(*(points[one] - points[other])))

        mouth = far(13, 14) / max(1.0, far(61, 291))
        eyes = (far(159, 145) / max(1.0, far(33, 133)) + far(386, 374) / max(1.0, far(362, 263))) / 2
        return 2.0 * mouth - min(eyes, 0.3) + abs(turn_deg(mesh)[0]) / 60.0

    return min(range(*stretch), key=unrest)
