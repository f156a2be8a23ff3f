"""A single picture's idle cycle: it moves, it begins again without a jump, the mouth rests, and the mesh goes along."""

from __future__ import annotations

import functools
import itertools
from dataclasses import astuple

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from agent.prepare_idle import LOOP_TICKS, SEED, idle_pictures
from avatar.photo.rig import PhotoRig, prepared
from avatar.portrait_detect import FaceMesh
from avatar.puppet.loop import looped
from avatar.puppet.motion import AT_REST, Pose
from avatar.puppet.mouth import REST
from tests.doubles.portraits import known_face

pytestmark = pytest.mark.unit

SIZE = 256
Bytes = npt.NDArray[np.uint8]


@functools.cache
def drawn() -> list[tuple[Bytes, FaceMesh]]:
    return list(idle_pictures(*known_face(512), SIZE))


@pytest.mark.parametrize("ticks", [25, 113, LOOP_TICKS, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_a_loop_begins_again_where_it_ends(ticks: int, seed: int) -> None:
    poses = [looped(tick, ticks, seed) for tick in range(2 * ticks)]
    assert poses[:ticks] == poses[ticks:]
    # No step is larger across the seam than the largest within; lids and gaze jump at no seam, since none is there.
    slow = [astuple(pose)[:7] for pose in poses[: ticks + 1]]
    steps = [max(abs(a - b) for a, b in zip(one, two, strict=True)) for one, two in itertools.pairwise(slow)]
    assert steps[-1] <= 1.5 * max(steps[:-1])
    assert poses[0].lids == poses[ticks - 1].lids == AT_REST.lids, "no blink across the seam"
    assert (poses[0].gaze_x, poses[0].gaze_y) == (poses[ticks - 1].gaze_x, poses[ticks - 1].gaze_y)


def test_it_breathes_blinks_looks_around_and_keeps_its_mouth() -> None:
    poses = [looped(tick, LOOP_TICKS, SEED) for tick in range(LOOP_TICKS)]
    shut = [pose.lids > 0.9 for pose in poses]
    assert sum(now and not before for before, now in itertools.pairwise(shut)) == 2
    assert len({(round(pose.gaze_x, 3), round(pose.gaze_y, 3)) for pose in poses}) >= 6
    breath = [pose.breath for pose in poses]
    assert sum(a < b > c for a, b, c in zip(breath, breath[1:], breath[2:], strict=False)) == 2
    assert np.ptp([pose.roll for pose in poses]) > 0.01
    assert {(pose.smile, pose.aside) for pose in poses} == {(AT_REST.smile, 0.0)}


def test_no_picture_is_shown_twice_in_a_row_and_the_last_leads_into_the_first() -> None:
    pictures = [picture.astype(np.int16) for picture, _ in drawn()]
    steps = [float(np.abs(a - b).mean()) for a, b in itertools.pairwise([*pictures, pictures[0]])]
    assert len(pictures) == LOOP_TICKS
    assert min(steps) > 0.01
    assert steps[-1] <= max(steps[:-1])


def test_the_mesh_goes_where_the_picture_goes() -> None:
    """A dot on chin, forehead and cheek, found again in the drawn picture: white in one and black in another."""
    picture, mesh, curves = known_face(512)
    pose = Pose(head_x=0.012, head_y=-0.008, roll=0.05, yaw=0.012, pitch=0.008, breath=0.0045, smile=AT_REST.smile)
    for place in [mesh.points[index, :2] for index in (152, 10, 205)]:
        dotted = []
        for colour in (0, 255):
            marked = picture.copy()
            cv2.circle(marked, (round(float(place[0])), round(float(place[1]))), 5, (colour,) * 3, cv2.FILLED)
            dotted.append(PhotoRig(prepared(marked, mesh, curves, SIZE)).draw(pose, REST)[:SIZE].astype(np.float64))
        change = dotted[1] - dotted[0]
        y, x = np.mgrid[:SIZE, :SIZE]
        seen = np.array([(change * x).sum(), (change * y).sum()]) / change.sum() + 0.5
        share = (np.rint(place) + 0.5)[None] / 512
        told = PhotoRig(prepared(picture, mesh, curves, SIZE)).carried(pose, share.astype(np.float32))[0] * SIZE
        assert np.hypot(*(seen - told)) < 0.4
        assert np.hypot(*(told - share[0] * SIZE)) > 1.0, "the pose moves it"


def test_at_rest_nothing_is_carried_anywhere() -> None:
    rig = PhotoRig(prepared(*known_face(512), SIZE))
    places = np.random.default_rng(1).uniform(0.3, 0.7, (50, 2)).astype(np.float32)
    assert np.abs(rig.carried(AT_REST, places) - places).max() < 1e-4


def test_the_lips_stay_shut_in_every_picture() -> None:
    """What is seen around the mesh's mouth is the same in all of them, but for sub-pixel motion."""
    mouths = []
    for picture, mesh in drawn()[::8]:
        x, y = mesh.points[[61, 291], :2].mean(axis=0)
        mouths.append(cv2.getRectSubPix(picture, (40, 24), (float(x) - 0.5, float(y) - 0.5)).astype(np.int16))
    still = mouths[0]
    assert max(float(np.abs(mouth - still).mean()) for mouth in mouths) < 6.0
