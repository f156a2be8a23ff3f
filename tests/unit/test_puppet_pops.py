"""That nothing pops: over long random scripts of states, speech, interruptions and late pictures no feature moves more
than 2% of the picture's height from one picture to the next, except blinks and closures.
"""

from __future__ import annotations

import functools
import itertools

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from avatar.puppet import anatomy as at
from avatar.puppet.acting import Actor
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.eyes import LID_FOLLOWS_GAZE
from avatar.puppet.lips import outline
from avatar.puppet.look import Look
from avatar.puppet.mesh import Mesh, jaw_share
from avatar.puppet.motion import MOODS, Moods, Pose
from avatar.puppet.mouth import Mouth
from avatar.puppet.painting import paint
from avatar.puppet.rig import SHOULDERS_FROM, Rig, areas
from avatar.puppet.speech import Speech
from avatar.renderer import Expression, Shot
from tests.conformance.conftest import babble

pytestmark = pytest.mark.unit

MOST = 0.02
"""Of the picture's height, from one picture to the next."""
SIZE_PX = 256
X = np.linspace(0.42, 0.58, 161, dtype=np.float32)
Points = npt.NDArray[np.float64]
STILL = {
    "nose": (0.5, 0.515), "crown": (0.5, 0.10), "left temple": (0.33, 0.33), "right temple": (0.67, 0.33),
    "left hair": (0.26, 0.60), "right hair": (0.74, 0.60), "left ear": (0.32, at.EAR_Y), "right ear": (0.68, at.EAR_Y),
    "chin": (0.5, at.CHIN_Y - 0.004), "left cheek": (0.40, 0.53), "right cheek": (0.60, 0.53), "collar": (0.5, 0.88),
    "left shoulder": (0.25, 0.88), "right shoulder": (0.75, 0.88),
    **{f"{side} brow {part}": (0.5 + sign * x, at.BROW_Y)
       for side, sign in (("left", -1), ("right", 1))
       for part, x in (("start", 0.04), ("middle", 0.085), ("end", 0.13))},
}  # fmt: skip
"""Where features lie in the painting."""
CARRIED = {"chin", "lower lip", "lip edge below"}
"""What a closing mouth carries up as fast as people close it."""
SPRUNG = 0.03
"""How far lips may spring apart that were pressed together, which is the other end of a closure."""


def carried(mesh: Mesh, pose: Pose, jaw: float, painted: Points) -> Points:
    """Where points of the painting are in the picture, [n, 2]: the mesh tells the way back, so it is sought."""
    sources = np.stack(mesh.sources(pose, jaw))
    cells = sources.shape[1] - 2
    found = painted.copy()
    for _ in range(20):
        x, y = np.ascontiguousarray((found * cells + 0.5).astype(np.float32).T).reshape(2, -1, 1)
        back = np.hstack([cv2.remap(plane, x, y, cv2.INTER_LINEAR) for plane in sources])
        found += 0.5 * (painted - back)
    return found


def landmarks(mesh: Mesh, pose: Pose, mouth: Mouth) -> dict[str, Points]:
    """Where each feature is in the picture, shares of its height."""
    lips = outline(X, mouth, pose.smile, pose.aside, 0.6)
    middle = len(X) // 2
    points = dict(STILL)
    for side, sign in (("left", -1), ("right", 1)):
        x, y = 0.5 + sign * at.EYE_X, at.EYE_Y
        points[f"{side} pupil"] = (x + pose.gaze_x * at.GAZE_X, y - 0.004 + pose.gaze_y * at.GAZE_Y)
        lids = pose.lids + LID_FOLLOWS_GAZE * pose.gaze_y * (1.0 - max(0.0, min(1.0, pose.lids)))
        points[f"{side} upper lid"] = (x, y - at.EYE_UPPER + lids * (at.EYE_UPPER + 0.0125))
        corner = lips.middle_x + sign * lips.half_width
        points[f"{side} lip corner"] = (corner, unjawed(lips.corner_y, lips.jaw))
    for name, height in (
        ("lip edge above", lips.top), ("upper lip", lips.upper),
        ("lower lip", lips.lower), ("lip edge below", lips.bottom),
    ):  # fmt: skip
        points[name] = (0.5, unjawed(float(height[middle]), lips.jaw))
    found = carried(mesh, pose, lips.jaw, np.array(list(points.values())))
    return dict(zip(points, found, strict=True))


def unjawed(y: float, jaw: float) -> float:
    """The height at which the rig paints what is to be seen at y."""
    return y - jaw * at.CHIN_DROP * float(jaw_share(np.array([y], np.float32))[0])


@functools.cache
def story(seed: int, pictures: int) -> list[tuple[Pose, Mouth]]:
    """What is shown when a conversation goes as conversations go, and worse: it is interrupted, it stalls and resumes,
    pictures are skipped, and states change at any moment."""
    random = np.random.default_rng(seed)
    speech, moods = Speech(TrainedTracker), Moods()
    actor = Actor(speech, seed)
    shown: list[tuple[Pose, Mouth]] = []
    tick, segment, resting, after = 0, 0, 0, None

    def show(shot: Shot) -> None:
        shown.append(actor.play(shot, moods.at(shot.tick)))

    def rest(count: int) -> None:
        nonlocal tick, resting
        for _ in range(count):
            if random.random() < 0.05:
                moods.express(list(Expression)[random.integers(len(MOODS))], tick)
            show(Shot(tick, None, 0, resting, after))
            tick, resting = tick + 1, resting + 1

    while len(shown) < pictures:
        rest(int(random.integers(1, 60)))
        segment += 1
        length = int(random.integers(4, 150))
        loud = float(random.choice((0.15, 0.5, 1.0)))
        speech.push(segment, (babble(0.04 * length + 0.2, seed=seed + segment) * loud).astype(np.int16))
        speech.end(segment)
        if random.random() < 0.8:
            moods.express(Expression.SPEAKING, tick)
        last, n, since = (int(random.integers(1, length + 1)) if random.random() < 0.5 else length), 0, 0
        while n < last:
            show(Shot(tick, segment, n, since))
            after, resting = (segment, n), 0
            tick, n, since = tick + 1, n + 1, since + 1
            if random.random() < 0.02:  # the voice stalls, the mouth eases shut, and it goes on
                rest(int(random.integers(1, 9)))
                since = 0
        if last < length:
            speech.clear()
    return shown


@pytest.mark.parametrize("seed", range(4))
def test_no_landmark_moves_too_far_in_any_story(seed: int) -> None:
    mesh = Mesh(SIZE_PX, SIZE_PX)
    shown = story(seed, 700)
    found = [landmarks(mesh, pose, mouth) for pose, mouth in shown]
    largest = 0.0
    for (now, after), ((pose, mouth), (later_pose, later_mouth)) in zip(
        itertools.pairwise(found), itertools.pairwise(shown), strict=True
    ):
        blinks = max(pose.lids, later_pose.lids) > 0.15
        for name in now:
            moved = after[name] - now[name]
            closes = moved[1] < 0.0 and name in CARRIED
            if closes or (blinks and "lid" in name):
                continue
            far = float(np.hypot(*moved))
            springs = mouth.closure > 0.0 and name in CARRIED
            largest = max(largest, 0.0 if springs else far)
            assert far <= (SPRUNG if springs else MOST), (name, far, mouth, later_mouth)
    assert largest > 0.006  # it does move


def test_pictures_show_no_larger_steps_than_landmarks_do() -> None:
    """Tracked in the pictures: corners of hair, brows, nose, cheeks and clothes, wherever no lid or lip moves."""
    rig = Rig(Look(freckles=0.8), SIZE_PX)
    tracked = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    for rows, columns in (((20, 102), (60, 196)), ((125, 142), (85, 171)), ((212, 250), (60, 196))):
        tracked[slice(*rows), slice(*columns)] = 255
    before, steps = None, []
    for pose, mouth in story(11, 420)[:420]:
        now = rig.draw(pose, mouth)[:SIZE_PX].copy()
        if before is not None:
            points = cv2.goodFeaturesToTrack(before, 60, 0.05, 5, mask=tracked)
            moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, points.copy(), winSize=(15, 15), maxLevel=2)
            back, again, _ = cv2.calcOpticalFlowPyrLK(now, before, moved, moved.copy(), winSize=(15, 15), maxLevel=2)
            sure = (np.asarray(found).ravel() == 1) & (np.asarray(again).ravel() == 1)
            sure &= np.linalg.norm(np.asarray(back - points).reshape(-1, 2), axis=1) < 0.2
            assert sure.sum() >= 10
            steps.append(float(np.linalg.norm(np.asarray(moved - points).reshape(-1, 2), axis=1)[sure].max()))
        before = now
    assert 0.2 < max(steps) <= MOST * SIZE_PX


def test_whole_pictures_never_jump() -> None:
    """However it moves, most of a picture is the same as the last: no layer appears or vanishes at once."""
    rig = Rig(Look(), SIZE_PX)
    shown = story(3, 420)[:420]
    drawn = [rig.draw(pose, mouth)[:SIZE_PX].astype(np.int16) for pose, mouth in shown]
    changes = [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(drawn)]
    blinks = [max(a.lids, b.lids) > 0.3 for (a, _), (b, _) in itertools.pairwise(shown)]
    calm = [change for change, blink in zip(changes, blinks, strict=True) if not blink]
    assert max(calm) < 5.0
    assert max(calm) < 12.0 * float(np.median(calm)) + 1.0


@pytest.mark.parametrize("section", [{}, {"hair_style": "bun"}, {"hair_style": "coils", "face": "square"}])
def test_the_figure_never_leaves_the_part_of_the_picture_that_is_warped(section: dict[str, str]) -> None:
    painting = paint(Look.parse(section), SIZE_PX)
    beyond = painting.tint[..., 2]
    head, _ = areas(beyond, SIZE_PX)
    size = len(beyond)
    rows = [row for row in range(0, int(SHOULDERS_FROM * size), 4) if (beyond[row] < 128).any()]
    ends = [np.flatnonzero(beyond[row] < 128)[[0, -1]] for row in rows]
    outer = np.array(
        [((x + 0.5) / size, (row + 0.5) / size) for row, pair in zip(rows, ends, strict=True) for x in pair]
    )
    mesh = Mesh(SIZE_PX, painting.side)
    assert head.right - head.left < 0.85 * SIZE_PX  # it does save something
    for pose, _ in story(2, 500)[::7]:
        moved = carried(mesh, pose, 0.0, outer)
        above = moved[:, 1] < SHOULDERS_FROM
        assert moved[above, 0].min() * SIZE_PX >= head.left
        assert moved[above, 0].max() * SIZE_PX <= head.right
