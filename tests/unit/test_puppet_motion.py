"""That the puppet moves like one figure: the same at the same tick, never with a jump, differently for each
expression.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import astuple

import cv2
import numpy as np
import pytest

from avatar.puppet import anatomy, motion
from avatar.puppet.lips import outline
from avatar.puppet.look import Look
from avatar.puppet.loudness import LoudnessTracker
from avatar.puppet.mesh import Mesh
from avatar.puppet.motion import BLINK_EVERY_TICKS, EASE_TICKS, MOODS, Moods, Pose
from avatar.puppet.mouth import REST, Mouth, opening
from avatar.puppet.rig import Rig
from avatar.renderer import Expression
from tests.conformance.conftest import babble

pytestmark = pytest.mark.unit

SECONDS = 30
LARGEST_STEP = 0.02
"""Of the picture's height, from one picture to the next."""
SIZE_PX = 256
X = np.linspace(0.43, 0.57, 141, dtype=np.float32)
"""Columns across the mouth."""


def wearing(expression: Expression) -> motion.Mood:
    return tuple(float(each is expression) for each in MOODS)


@functools.cache
def performance() -> list[tuple[Pose, Mouth]]:
    """Half a minute of speech in which every expression comes and goes."""
    moods = Moods()
    for place, expression in enumerate(itertools.islice(itertools.cycle(Expression), 30)):
        moods.express(expression, 25 * place)
    mouths = LoudnessTracker().push(babble(SECONDS + 1.0, seed=6))[: 25 * SECONDS]
    eased = [opening(mouth, n) for n, mouth in enumerate(mouths)]
    return [(motion.pose(tick, 5, moods.at(tick), mouth.effort), mouth) for tick, mouth in enumerate(eased)]


def test_no_point_of_the_figure_jumps() -> None:
    mesh = Mesh(SIZE_PX, SIZE_PX)
    before = None
    largest = 0.0
    for pose, mouth in performance():
        now = np.stack(mesh.sources(pose, outline(X, mouth, pose.smile, pose.aside, 0.6).jaw))
        if before is not None:
            largest = max(largest, float(np.abs(now - before).max()))
        before = now
    assert 0.002 < largest <= LARGEST_STEP


def test_lips_never_open_nor_spread_with_a_jump() -> None:
    steps = []
    drawn = [outline(X, mouth, pose.smile, pose.aside, 0.6) for pose, mouth in performance()]
    for before, after in itertools.pairwise(drawn):
        middle = len(X) // 2
        steps.append(float(after.bottom[middle] - before.bottom[middle]))
        assert abs(after.half_width - before.half_width) <= LARGEST_STEP
    assert 0.005 < max(steps) <= LARGEST_STEP


def test_eyes_and_brows_never_jump_but_to_blink() -> None:
    poses = [pose for pose, _ in performance()]
    for before, after in itertools.pairwise(poses):
        assert abs(after.gaze_x - before.gaze_x) * anatomy.GAZE_X <= LARGEST_STEP
        assert abs(after.gaze_y - before.gaze_y) * anatomy.GAZE_Y <= LARGEST_STEP
        assert abs(after.brow_left - before.brow_left) <= LARGEST_STEP
        assert abs(after.brow_right - before.brow_right) <= LARGEST_STEP


def test_pictures_move_as_little_as_their_numbers_say() -> None:
    """Tracked in the pictures themselves: corners in hair, nose and collar, over a stretch with all expressions."""
    rig = Rig(Look(), SIZE_PX)
    shots = performance()[:220]
    tracked = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    for rows, columns in (((20, 100), (60, 196)), ((125, 140), (110, 146)), ((205, 250), (80, 180))):
        tracked[slice(*rows), slice(*columns)] = 255
    tracked[100:120, 85:172] = 0  # lids blink
    before = rig.draw(*shots[0])[:SIZE_PX].copy()
    steps = []
    for pose, mouth in shots[1:]:
        now = rig.draw(pose, mouth)[:SIZE_PX].copy()
        points = cv2.goodFeaturesToTrack(before, 60, 0.05, 5, mask=tracked)
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, points.copy(), winSize=(15, 15), maxLevel=2)
        back, found_again, _ = cv2.calcOpticalFlowPyrLK(now, before, moved, moved.copy(), winSize=(15, 15), maxLevel=2)
        sure = np.asarray(found).ravel() * np.asarray(found_again).ravel() == 1
        sure &= np.linalg.norm(np.asarray(back - points).reshape(-1, 2), axis=1) < 0.2
        assert sure.sum() >= 10
        steps.append(float(np.linalg.norm(np.asarray(moved - points).reshape(-1, 2), axis=1)[sure].max()))
        before = now
    assert 0.1 < max(steps) <= LARGEST_STEP * SIZE_PX


def test_small_motion_is_smooth_below_a_pixel() -> None:
    """A head that sinks by a tenth of a pixel a picture changes the picture evenly, not in steps of whole pixels."""
    rig = Rig(Look(), SIZE_PX)
    drawn = [rig.draw(Pose(head_y=0.1 * k / SIZE_PX), REST)[:SIZE_PX].astype(int) for k in range(21)]
    changes = [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(drawn)]
    assert min(changes) > 0.4 * max(changes) > 0.0


def test_a_tick_has_one_pose_and_one_picture() -> None:
    rig, other = Rig(Look(), SIZE_PX), Rig(Look(), SIZE_PX)
    mood = wearing(Expression.LISTENING)
    mouth = Mouth(jaw=0.4, spread=0.3, effort=0.5)
    expected = rig.draw(motion.pose(777, 3, mood, 0.5), mouth).tobytes()
    other.draw(motion.pose(12, 3, wearing(Expression.THINKING), 1.0), Mouth(jaw=1.0))
    assert other.draw(motion.pose(777, 3, mood, 0.5), mouth).tobytes() == expected
    assert motion.pose(777, 3, mood, 0.5) != motion.pose(777, 4, mood, 0.5)


def test_eyes_blink_now_and_then_and_shut_when_they_do() -> None:
    lids = [motion.pose(tick, 0, wearing(Expression.IDLE), 0.0).lids for tick in range(25 * 120)]
    shut = [tick for tick, value in enumerate(lids) if value == 1.0]
    blinks = sum(1 for a, b in itertools.pairwise([-10, *shut]) if b - a > 3)
    slots = 25 * 120 / BLINK_EVERY_TICKS
    assert slots - 2 <= blinks <= 2 * slots
    assert sum(value > 0.3 for value in lids) < 0.1 * len(lids)


def test_expressions_ease_in_and_replace_each_other() -> None:
    moods = Moods()
    moods.express(Expression.THINKING, 100)
    place = list(MOODS).index(Expression.THINKING)
    worn = [moods.at(tick)[place] for tick in range(99, 101 + EASE_TICKS)]
    assert worn[0] == worn[1] == 0.0
    assert worn[-1] == 1.0
    assert worn == sorted(worn)
    assert max(b - a for a, b in itertools.pairwise(worn)) < 0.2
    moods.express(Expression.SPEAKING, 105)
    assert sum(moods.at(108)) == pytest.approx(1.0)
    assert moods.at(105 + EASE_TICKS) == wearing(Expression.SPEAKING)
    for tick in range(200, 30_000, 40):
        moods.express(list(Expression)[tick // 40 % 4], tick)
    assert len(moods._told) < 20


def test_expressions_can_be_told_apart_in_pictures() -> None:
    """At the same tick, the faces of any two expressions differ by more than a few grey levels throughout."""
    rig = Rig(Look(), SIZE_PX)
    face = slice(80, 190), slice(70, 186)

    def seen(expression: Expression, tick: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        mouth = Mouth(jaw=0.4, effort=0.6) if expression is Expression.SPEAKING else REST
        pose = motion.pose(tick, 0, wearing(expression), mouth.effort)
        return rig.draw(pose, mouth)[:SIZE_PX][face].astype(np.float32)

    faces = {each: [seen(each, tick) for tick in range(30, 500, 77)] for each in Expression}
    for one, other in itertools.combinations(Expression, 2):
        between = np.median([np.abs(a - b).mean() for a, b in zip(faces[one], faces[other], strict=True)])
        assert between > 4.0, (one, other)


def test_what_expressions_do() -> None:
    idle, listening, thinking, speaking, amused = (MOODS[each] for each in Expression)
    assert thinking.gaze_y < -0.5
    assert abs(thinking.gaze_x) > 0.5
    assert abs(thinking.brow_left - thinking.brow_right) > 0.01
    assert listening.gaze_x == listening.gaze_y == 0.0
    assert listening.brow_left > idle.brow_left
    assert listening.lean > idle.lean
    assert speaking != idle
    assert amused.smile > 1.0 >= max(pose.smile for pose in (idle, listening, thinking, speaking))
    assert amused.lids > max(pose.lids for pose in (idle, listening, thinking, speaking))
    assert all(abs(value) <= 1.0 for pose in MOODS.values() for value in astuple(pose)[:-2])
