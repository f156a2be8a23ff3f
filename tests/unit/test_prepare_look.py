"""Which stretch of a video is used: one shot, the face in every picture; and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from agent.prepare_look import SMALL_PX, Look, calmest, cuts, found_in, stretch_of
from avatar.portrait_detect import FaceMesh
from tests.doubles.portraits import known_face

pytestmark = pytest.mark.unit


def mesh(x_px: float = 0.0, parted: float = 0.0) -> FaceMesh:
    _, face, _ = known_face(256, parted=parted)
    points = face.points.copy()
    points[:, 0] += np.float32(x_px)
    return FaceMesh(points, face.irises + np.array([x_px, 0], np.float32), 1.0)


def look(level: int = 100, x_px: float = 0.0, why_not: str = "", faces: int = 1, parted: float = 0.0) -> Look:
    small = np.full(SMALL_PX[::-1], level, np.int16)
    return Look(0 if why_not else faces, None if why_not else mesh(x_px, parted), why_not, small)


def test_a_video_of_one_shot_is_used_whole() -> None:
    looks = [look(100 + n % 3, x_px=n) for n in range(40)]
    assert cuts(looks) == []
    assert stretch_of(looks, []) == (0, 40)
    assert found_in(looks, [], (0, 40)) == []


def test_the_longest_stretch_without_a_cut_and_with_the_face_is_used() -> None:
    looks = (
        [look(100) for _ in range(30)]
        + [look(180) for _ in range(50)]
        + [look(180, why_not="no face") for _ in range(3)]
        + [look(180) for _ in range(26)]
    )
    shots = cuts(looks)
    assert shots == [30]
    assert stretch_of(looks, shots) == (30, 80)
    told = [finding.text for finding in found_in(looks, shots, (30, 80))]
    assert told == [
        "the view changes 1 times (at 1.2 s): one shot alone is used",
        "no face in 3 of 109 pictures",
        "used is what lies between 1.2 and 3.2 s of 4.4 s",
    ]


def test_a_stretch_never_holds_a_cut_or_a_picture_without_a_mesh() -> None:
    random = np.random.default_rng(3)
    seen, unseen = look(), look(why_not="no face")
    for _ in range(200):
        gone = random.random(30) < 0.15
        looks = [unseen if off else seen for off in gone]
        shots = sorted(int(n) for n in random.choice(np.arange(1, 30), 3, replace=False))
        first, end = stretch_of(looks, shots)
        assert not gone[first:end].any()
        assert not any(first < n < end for n in shots)
        # No longer one exists: it would hold one that is longer by a picture.
        longer = end - first + 1
        for a in range(31 - longer):
            assert gone[a : a + longer].any() or any(a < n < a + longer for n in shots)


def test_a_face_that_jumps_is_another_one() -> None:
    assert cuts([look(x_px=0), look(x_px=5), look(x_px=120), look(x_px=121)]) == [2]


def test_what_stops_is_several_faces_and_too_short_a_stretch() -> None:
    looks = [look(faces=2) for _ in range(10)]
    stops = [finding.text for finding in found_in(looks, [], (0, 10)) if finding.stops]
    assert len(stops) == 2
    assert "10 of 10 pictures show several faces" in stops[0]
    assert "0.4 s" in stops[1]


def test_the_still_is_made_of_the_calmest_picture() -> None:
    looks = [look(parted=gap) for gap in (0.06, 0.03, 0.0, 0.04)]
    assert calmest(looks, (0, 4)) == 2
    assert calmest(looks, (0, 2)) == 1
