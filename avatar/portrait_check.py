"""What may go wrong with a picture as a portrait, said in plain words.

In: the faces of a picture and what is known of the one that was chosen. Out: `Finding`s: those that stop, unless the
person insists, and those that only warn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar.portrait_curves import Curves, eye_opening, mouth_gap
from avatar.portrait_detect import FaceBox, FaceMesh

LEAST_EYES_PX, GOOD_EYES_PX = 22.0, 48.0
"""Distance of the pupils in the picture: below the first nothing useful is seen, from the second on it is sharp."""
TURNED_DEG, PROFILE_DEG = 18.0, 32.0
TILTED_DEG = 25.0
EYES_SHUT = 0.13
"""An eye that is open less than this share of its width is shut or nearly so."""
MOUTH_OPEN = 0.10
LEAST_PRESENCE = 0.5
ANOTHER = 0.3
"""Another face counts if it has at least this share of the chosen one's area."""
OVAL = (10, 152, 234, 454, 21, 251, 172, 397)
"""Mesh points around a face."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a picture.

    Args:
        text: what is wrong and what to do, one sentence.
        stops: whether a portrait is made only if the person insists.
    """

    text: str
    stops: bool


def turn_deg(mesh: FaceMesh) -> tuple[float, float, float]:
    """How a head is turned to the side, up or down, and tilted, degrees."""
    left, right = mesh.points[234], mesh.points[454]
    top, chin = mesh.points[10], mesh.points[152]
    across, down = right - left, chin - top
    yaw = math.degrees(math.atan2(float(across[2]), float(np.hypot(across[0], across[1]))))
    pitch = math.degrees(math.atan2(float(down[2]), float(np.hypot(down[0], down[1]))))
    eyes = mesh.irises[1, 0] - mesh.irises[0, 0]
    return yaw, pitch, math.degrees(math.atan2(float(eyes[1]), float(eyes[0])))


def findings(
    width: int, height: int, faces: Sequence[FaceBox], mesh: FaceMesh, curves: Curves | None = None
) -> list[Finding]:
    """Look at the first of the faces.

    Args:
        width, height: of the picture, px. mesh: px of the picture. curves: in any px; without, lips and lids are not
            judged.
    """
    found = []
    chosen = faces[0]
    others = [f for f in faces[1:] if f.width * f.height >= ANOTHER * chosen.width * chosen.height]
    if others:
        found.append(
            Finding(
                f"{len(others) + 1} faces are in the picture: crop it to one (with --force: the largest)", stops=True
            )
        )
    if mesh.presence < LEAST_PRESENCE:
        found.append(Finding("the face is not clear: use a picture of it that is sharp, lit and uncovered", stops=True))
    apart = float(np.hypot(*(mesh.irises[1, 0] - mesh.irises[0, 0])))
    if apart < LEAST_EYES_PX:
        found.append(
            Finding(f"the face is too small ({apart:.0f} px between the eyes): use a larger picture", stops=True)
        )
    elif apart < GOOD_EYES_PX:
        found.append(Finding(f"the face is small ({apart:.0f} px between the eyes): it will look soft", stops=False))
    yaw, _, roll = turn_deg(mesh)
    if abs(yaw) > PROFILE_DEG:
        found.append(
            Finding(f"the face is turned away ({abs(yaw):.0f} degrees): use one that looks at the camera", stops=True)
        )
    elif abs(yaw) > TURNED_DEG:
        found.append(
            Finding(f"the face is turned ({abs(yaw):.0f} degrees): one from the front moves better", stops=False)
        )
    if abs(roll) > TILTED_DEG:
        found.append(
            Finding(f"the head is tilted ({abs(roll):.0f} degrees): turn the picture upright first", stops=False)
        )
    oval = mesh.points[list(OVAL), :2]
    if bool((oval < 1).any() or (oval[:, 0] > width - 1).any() or (oval[:, 1] > height - 1).any()):
        found.append(Finding("the face is cut off at the picture's edge: use one that shows all of it", stops=True))
    if curves is not None:
        found += findings_of_lids(curves)
    return found


def findings_of_lids(curves: Curves) -> list[Finding]:
    """What lips and lids say, in any px."""
    found = []
    if max(eye_opening(curves, eye) for eye in (0, 1)) < EYES_SHUT:
        found.append(Finding("the eyes are shut, and stay so: use a picture in which they are open", stops=True))
    gap = mouth_gap(curves)
    if gap > MOUTH_OPEN:
        found.append(
            Finding(
                "the mouth is open: it is shut by moving the lips; a picture with shut lips looks better",
                stops=False,
            )
        )
    return found
