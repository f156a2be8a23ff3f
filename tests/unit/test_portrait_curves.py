"""Lips and lids are followed in the pixels, where a mesh made for photographs is a little off."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from avatar.portrait_curves import (
    LID_LOWER,
    LID_UPPER,
    LIP_BOTTOM,
    LIP_LOWER,
    LIP_TOP,
    LIP_UPPER,
    Curves,
    eye_opening,
    find_curves,
    mouth_gap,
)
from avatar.portrait_detect import FaceMesh
from tests.doubles.portraits import known_face

pytestmark = pytest.mark.unit

Floats = npt.NDArray[np.float32]
LIPS = sorted({*LIP_TOP, *LIP_UPPER, *LIP_LOWER, *LIP_BOTTOM})
LIDS = sorted({point for row in (*LID_UPPER, *LID_LOWER) for point in row})


def beside(mesh: FaceMesh, points: list[int], about: float, by: tuple[float, float]) -> FaceMesh:
    """The mesh with some of its points scaled around their middle and shifted (px)."""
    moved = mesh.points.copy()
    middle = moved[points, :2].mean(axis=0)
    moved[points, :2] = middle + (moved[points, :2] - middle) * np.float32(about) + np.array(by, np.float32)
    return FaceMesh(moved, mesh.irises, mesh.presence)


def off(found: Floats, known: Floats) -> float:
    """Mean distance of the found curve's points from the known curve, px."""
    fine = np.stack([np.interp(np.linspace(0, 32, 2000), np.arange(33), known[:, axis]) for axis in (0, 1)], axis=1)
    return float(np.hypot(*(found[:, None] - fine[None]).transpose(2, 0, 1)).min(axis=1).mean())


def lines(curves: Curves) -> list[Floats]:
    return [curves.lip_top, curves.lip_upper, curves.lip_lower, curves.lip_bottom]


@pytest.mark.parametrize("tilt_deg", [0.0, 12.0])
@pytest.mark.parametrize("by", [(0.0, 0.0), (0.0, -8.0), (5.0, 7.0)])
def test_lips_are_found_where_they_are_drawn(tilt_deg: float, by: tuple[float, float]) -> None:
    image, mesh, known = known_face(1024, tilt_deg)
    width = 0.14 * 1024
    found = find_curves(image, beside(mesh, LIPS, 1.04, by))
    for curve, line in zip(lines(found), lines(known), strict=True):
        assert off(curve, line) < 0.03 * width
    for end in (0, -1):
        assert all(np.allclose(line[end], found.lip_top[end]) for line in lines(found))
    assert np.hypot(*(found.lip_top[0] - known.lip_top[0])) < 0.06 * width
    assert np.hypot(*(found.lip_top[-1] - known.lip_top[-1])) < 0.06 * width


def test_eyes_drawn_larger_than_the_mesh_has_them_are_found() -> None:
    image, mesh, known = known_face(1024)
    # Around each eye's own middle: 0.7 of what is drawn.
    small = mesh
    for eye in (0, 1):
        small = beside(small, sorted({*LID_UPPER[eye], *LID_LOWER[eye]}), 0.7, (0.0, 0.0))
    found = find_curves(image, small)
    for eye in (0, 1):
        assert eye_opening(found, eye) == pytest.approx(eye_opening(known, eye), rel=0.3)
        width = float(np.hypot(*(known.lid_upper[eye][-1] - known.lid_upper[eye][0])))
        assert off(found.lid_lower[eye], known.lid_lower[eye]) < 0.04 * width
        assert np.hypot(*(found.lid_upper[eye][-1] - found.lid_upper[eye][0])) > 0.9 * width


def test_where_nothing_is_to_be_seen_the_mesh_is_believed() -> None:
    image, mesh, known = known_face(512)
    flat = np.full_like(image, 128)
    found = find_curves(flat, mesh)
    width = 0.14 * 512
    assert off(found.lip_top, known.lip_top) < 0.03 * width
    assert off(found.lip_bottom, known.lip_bottom) < 0.03 * width
    assert off(found.lid_upper[0], known.lid_upper[0]) < 0.03 * width


def test_parted_lips_stay_parted() -> None:
    image, mesh, known = known_face(512, parted=0.03)
    found = find_curves(image, mesh)
    assert mouth_gap(found) == pytest.approx(mouth_gap(known), rel=0.2)
    assert mouth_gap(find_curves(*known_face(512)[:2])) < 0.01
