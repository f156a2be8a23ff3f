"""A portrait moves as it should: lips close and open, lids fall, nothing folds, the background stays."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.frames import Planes
from avatar.photo.rig import PhotoRig, prepared
from avatar.puppet import motion
from avatar.puppet.motion import AT_REST, MOODS, Pose
from avatar.puppet.mouth import REST, Mouth
from avatar.renderer import Expression, RendererError
from tests.doubles.portraits import IRIS, known_face, readied

pytestmark = pytest.mark.unit

SIZE = 256
SHARED = {kind: readied(SIZE, **kind_of) for kind, kind_of in (("straight", {}), ("tilted", {"tilt_deg": 14.0}))}
PARTED = readied(SIZE, parted=0.03)

Bytes = npt.NDArray[np.uint8]
shares = st.floats(0.0, 1.0)
mouths = st.builds(
    Mouth, jaw=shares, spread=st.floats(-1.0, 1.0), rounding=shares, closure=shares, lip_teeth=shares, tongue=shares
)


def bgr(planes: Planes) -> Bytes:
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


def inner_pixels(rig: PhotoRig, mouth: Mouth) -> int:
    """How many pixels of the mouth are as dark as a gap, or as colourless as teeth."""
    y, x = slice(round(0.57 * SIZE), round(0.69 * SIZE)), slice(round(0.43 * SIZE), round(0.57 * SIZE))
    seen = bgr(rig.draw(AT_REST, mouth))[y, x].astype(int)
    low, high = seen.min(axis=2), seen.max(axis=2)
    return int(((high < 75) | ((low > 105) & (high - low < 45))).sum())


@pytest.mark.parametrize("kind", ["straight", "tilted"])
def test_at_rest_it_is_the_picture(kind: str) -> None:
    image, _, _ = known_face(512, 14.0 if kind == "tilted" else 0.0)
    wanted = cv2.cvtColor(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2YUV_I420)
    still = PhotoRig(SHARED[kind]).draw(AT_REST, REST)
    difference = np.abs(still[:SIZE].astype(int) - wanted[:SIZE].astype(int))
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99) < 12


@pytest.mark.parametrize("kind", ["straight", "tilted"])
def test_the_gap_grows_with_the_jaw_and_closure_shuts_it(kind: str) -> None:
    rig = PhotoRig(SHARED[kind])
    gaps = [inner_pixels(rig, Mouth(jaw=jaw)) for jaw in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert gaps[0] < 0.15 * gaps[-1]
    assert all(more > less for less, more in itertools.pairwise(gaps))
    for jaw in (0.2, 0.6, 1.0):
        assert inner_pixels(rig, Mouth(jaw=jaw, closure=1.0)) <= gaps[0] + 0.03 * gaps[-1]
    assert inner_pixels(rig, Mouth(jaw=0.6, rounding=1.0, spread=-1.0)) < 0.8 * inner_pixels(rig, Mouth(jaw=0.6))


def test_a_mouth_that_the_picture_shows_open_is_shut_at_rest() -> None:
    shut = bgr(PhotoRig(PARTED).draw(AT_REST, REST))
    open_ = cv2.resize(known_face(512, parted=0.03)[0], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    white, as_it_was = (np.asarray(picture)[140:180].min(axis=2) > 215 for picture in (shut, open_))
    assert as_it_was.sum() > 100
    assert white.sum() < 0.02 * as_it_was.sum()


def test_visemes_look_different() -> None:
    rig = PhotoRig(SHARED["straight"])
    wide, ring, bite, tongue = (
        rig.draw(AT_REST, mouth)[:SIZE].astype(int)
        for mouth in (
            Mouth(jaw=0.3, spread=1.0),
            Mouth(jaw=0.3, rounding=1.0),
            Mouth(jaw=0.3, lip_teeth=1.0),
            Mouth(jaw=0.3, tongue=1.0),
        )
    )
    for one, other in ((wide, ring), (wide, bite), (ring, bite), (bite, tongue), (wide, tongue)):
        assert (np.abs(one - other)[140:190] > 30).sum() > 25


def test_a_blink_covers_the_iris_and_comes_back() -> None:
    rig = PhotoRig(SHARED["straight"])

    def iris(lids: float) -> int:
        seen = bgr(rig.draw(Pose(smile=AT_REST.smile, lids=lids), REST))[98:122, 88:168].astype(int)
        return int((np.abs(seen - np.array(IRIS)).max(axis=2) < 30).sum())

    counts = [iris(lids) for lids in (0.0, 0.4, 0.8, 1.0)]
    assert counts[0] > 60
    assert counts[0] > counts[1] > counts[2]
    assert counts[3] <= 0.02 * counts[0]
    assert iris(0.0) == counts[0]
    assert iris(-0.04) == counts[0]


def test_a_gaze_moves_the_irises_that_way() -> None:
    rig = PhotoRig(SHARED["straight"])

    def middle(x: float, y: float) -> Bytes:
        seen = bgr(rig.draw(Pose(smile=AT_REST.smile, gaze_x=x, gaze_y=y), REST)).astype(int)
        rows, columns = np.nonzero(np.abs(seen - np.array(IRIS)).max(axis=2) < 40)
        return np.array([columns.mean(), rows.mean()])

    ahead = middle(0, 0)
    assert middle(1, 0)[0] > ahead[0] + 0.5
    assert middle(-1, 0)[0] < ahead[0] - 0.5
    assert middle(0, 1)[1] > ahead[1]


@settings(max_examples=40, deadline=None)
@given(mouth=mouths, tick=st.integers(0, 100_000), worn=st.sampled_from(list(Expression)), effort=shares)
def test_nothing_folds_and_the_picture_s_edge_stays(mouth: Mouth, tick: int, worn: Expression, effort: float) -> None:
    shared = SHARED["straight"]
    rig = PhotoRig(shared)
    mood = tuple(1.0 if expression is worn else 0.0 for expression in MOODS)
    pose = motion.pose(tick, 3, mood, effort)
    x, y = rig._sheet.map(pose)
    step = shared.source_px / SIZE
    assert np.diff(x, axis=1).min() > 0.2 * step
    assert np.diff(y, axis=0).min() > 0.2 * step
    field = shared.lips.moved(mouth, pose.smile - AT_REST.smile, 0.0).field
    node = float(shared.lips.grid.v[1] - shared.lips.grid.v[0]) * shared.lips.grid.axes.scale * shared.source_px
    # Columns never turn back on themselves; between parted lips, which are drawn over, they may stand still.
    assert (np.diff(field[..., 1], axis=0) + node).min() > -0.02 * node
    node = float(shared.lips.grid.u[1] - shared.lips.grid.u[0]) * shared.lips.grid.axes.scale * shared.source_px
    assert (np.diff(field[..., 0], axis=1) + node).min() > 0.1 * node
    for edge in (field[0], field[-1], field[:, 0], field[:, -1]):
        assert np.abs(edge[..., :2]).max() < 0.35
    drawn, still = rig.draw(pose, mouth), rig.draw(AT_REST, REST)
    luma = np.abs(drawn[:SIZE].astype(int) - still[:SIZE].astype(int))
    for ring in (luma[0], luma[-1], luma[:, 0], luma[:, -1]):
        assert ring.max() <= 3


def test_a_picture_is_a_function_of_its_arguments() -> None:
    rig, fresh = PhotoRig(SHARED["straight"]), PhotoRig(SHARED["straight"])
    pose, mouth = motion.pose(77, 1, (0.0, 0.0, 0.0, 1.0, 0.0), 0.7), Mouth(jaw=0.6, spread=0.3, tongue=0.4)
    first = rig.draw(pose, mouth)
    rig.draw(Pose(lids=1.0, gaze_x=1.0, smile=0.1), Mouth(jaw=1.0))
    assert np.array_equal(rig.draw(pose, mouth), first)
    assert np.array_equal(fresh.draw(pose, mouth), first)


def test_idle_life_has_no_jumps() -> None:
    """From one tick to the next nothing moves by more than 2% of the height; lids are not in the sheet."""
    rig = PhotoRig(SHARED["straight"])
    most = 0.02 * rig._shared.source_px
    moods = motion.Moods()
    last = None
    for tick in range(400):
        if tick % 60 == 0:
            moods.express(list(Expression)[tick // 60 % len(Expression)], tick)
        maps = [m.copy() for m in rig._sheet.map(motion.pose(tick, 5, moods.at(tick), 0.5))]
        if last is not None:
            assert max(float(np.abs(a - b).max()) for a, b in zip(maps, last, strict=True)) < most
        last = maps


def test_what_cannot_be_drawn_is_refused() -> None:
    image, mesh, curves = known_face(256)
    for size in (255, 128, 2048):
        with pytest.raises(RendererError, match="cannot be drawn"):
            prepared(image, mesh, curves, size)
    with pytest.raises(RendererError, match="only square"):
        prepared(image[:200], mesh, curves, 256)


def test_a_grey_picture_gets_a_grey_mouth() -> None:
    image, mesh, curves = known_face(512)
    grey = np.repeat(image.mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)
    drawn = PhotoRig(prepared(grey, mesh, curves, SIZE)).draw(AT_REST, Mouth(jaw=1.0))
    assert np.abs(drawn[SIZE:].astype(int) - 128).max() <= 4


@pytest.mark.parametrize("size", [256, 400, 512, 1024])
def test_every_size_can_be_drawn(size: int) -> None:
    assert PhotoRig(readied(size)).draw(Pose(lids=0.5), Mouth(jaw=0.8)).shape == (size * 3 // 2, size)
