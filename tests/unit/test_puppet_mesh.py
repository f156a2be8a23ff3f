"""That the mesh moves a part of a picture as it moves the whole, and that the rig moves every part that is seen."""

from __future__ import annotations

import numpy as np
import pytest

from avatar.puppet.look import Look
from avatar.puppet.mesh import Area, Mesh, Plane
from avatar.puppet.motion import AT_REST, Moods, Pose, pose
from avatar.puppet.mouth import REST
from avatar.puppet.planes import Bytes
from avatar.puppet.rig import Rig

pytestmark = pytest.mark.unit

SIZE_PX, SOURCE_PX = 256, 320
POSE = Pose(head_x=0.03, head_y=-0.02, roll=0.05, yaw=0.02, breath=0.01, smile=1.0)


def moved(coarse: int, areas: list[Area], channels: int = 1) -> Bytes:
    """What noise becomes, 7 where no area is."""
    side, shape = SOURCE_PX // coarse, (channels,) if channels > 1 else ()
    noise = np.random.default_rng(1).integers(0, 256, (side, side, *shape), np.uint8)
    target = np.full((SIZE_PX // coarse, SIZE_PX // coarse, *shape), 7, np.uint8)
    mesh = Mesh(SIZE_PX, SOURCE_PX)
    mesh.warp(mesh.sources(POSE, 0.6), Plane(noise, target, coarse), areas)
    return target


@pytest.mark.parametrize("coarse", [1, 2])
@pytest.mark.parametrize(
    "area",
    [Area(0, 0, 256, 256), Area(2, 6, 60, 254), Area(100, 46, 102, 48), Area(130, 0, 256, 10)],
    ids=["all", "across cells", "within one", "at an edge"],
)
def test_a_part_is_moved_as_the_whole_is(coarse: int, area: Area) -> None:
    whole = moved(coarse, [Area(0, 0, SIZE_PX, SIZE_PX)])
    part, here = moved(coarse, [area]), area.at(coarse)
    np.testing.assert_array_equal(part[here], whole[here])
    beside = np.ones(part.shape, bool)
    beside[here] = False
    assert (part[beside] == 7).all()


def test_four_channels_are_moved_as_one_is() -> None:
    everywhere = [Area(0, 0, SIZE_PX, SIZE_PX)]
    four = moved(2, everywhere, channels=4)
    noise = np.random.default_rng(1).integers(0, 256, (SOURCE_PX // 2, SOURCE_PX // 2, 4), np.uint8)
    mesh, one = Mesh(SIZE_PX, SOURCE_PX), np.empty((SIZE_PX // 2, SIZE_PX // 2), np.uint8)
    for channel in range(4):
        source = np.ascontiguousarray(noise[..., channel])
        mesh.warp(mesh.sources(POSE, 0.6), Plane(source, one, 2), everywhere)
        np.testing.assert_array_equal(four[..., channel], one)


def test_a_picture_owes_nothing_to_the_one_before_it() -> None:
    """Buffers are kept from picture to picture, and each moves only what it needs."""
    look = Look.parse({})
    used, fresh = Rig(look, SIZE_PX), Rig(look, SIZE_PX)
    for tick in range(0, 3000, 300):
        used.draw(pose(tick, 3, Moods().at(tick), 1.0), REST)
    wanted = pose(4000, 3, Moods().at(4000), 0.3)
    np.testing.assert_array_equal(used.draw(wanted, REST), fresh.draw(wanted, REST))
    assert not np.array_equal(fresh.draw(wanted, REST), fresh.draw(AT_REST, REST))
