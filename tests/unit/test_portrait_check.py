"""What is said about a picture before it becomes a portrait."""

from __future__ import annotations

import numpy as np
import pytest

from avatar.portrait_check import findings, turn_deg
from avatar.portrait_curves import Curves
from avatar.portrait_detect import FaceBox, FaceMesh
from tests.doubles.portraits import known_face

pytestmark = pytest.mark.unit

SIDE = 512


def box(x: float = 170.0, size: float = 170.0) -> FaceBox:
    return FaceBox(0.9, x, 150.0, size, size, np.zeros((2, 2), np.float32))


def scaled(mesh: FaceMesh, by: float, shift: float = 0.0) -> FaceMesh:
    return FaceMesh(mesh.points * np.float32(by) + np.float32(shift), mesh.irises * np.float32(by), mesh.presence)


def told(mesh: FaceMesh, curves: Curves | None = None, faces: list[FaceBox] | None = None) -> list[tuple[str, bool]]:
    return [(finding.text, finding.stops) for finding in findings(SIDE, SIDE, faces or [box()], mesh, curves)]


def test_a_good_picture_has_nothing_to_be_said_about() -> None:
    _, mesh, curves = known_face(SIDE)
    assert told(mesh, curves) == []


def test_several_faces_stop_small_ones_in_the_background_do_not() -> None:
    _, mesh, _ = known_face(SIDE)
    ((text, stops),) = told(mesh, faces=[box(), box(10.0, 120.0), box(380.0, 30.0)])
    assert stops
    assert text.startswith("2 faces")
    assert told(mesh, faces=[box(), box(380.0, 30.0)]) == []


@pytest.mark.parametrize(("eyes_px", "stops"), [(15.0, True), (30.0, False)])
def test_a_small_face_is_named(eyes_px: float, stops: bool) -> None:
    _, mesh, _ = known_face(SIDE)
    apart = float(mesh.irises[1, 0, 0] - mesh.irises[0, 0, 0])
    ((text, stopped),) = told(scaled(mesh, eyes_px / apart, 50.0))
    assert "small" in text
    assert stopped is stops


@pytest.mark.parametrize(("degrees", "stops"), [(5.0, None), (25.0, False), (45.0, True), (-45.0, True)])
def test_a_head_that_is_turned(degrees: float, stops: bool | None) -> None:
    _, mesh, _ = known_face(SIDE)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]], np.float32)
    middle = np.array([SIDE / 2, SIDE / 2, 0], np.float32)
    turned = FaceMesh(((mesh.points - middle) @ turn.T + middle).astype(np.float32), mesh.irises, 1.0)
    assert turn_deg(turned)[0] == pytest.approx(degrees, abs=1.0)
    found = [stopped for text, stopped in told(turned) if "turned" in text]
    assert found == ([] if stops is None else [stops])


def test_a_tilted_head_is_only_noted() -> None:
    _, mesh, curves = known_face(SIDE, tilt_deg=30.0)
    ((text, stops),) = told(mesh, curves)
    assert "tilted (30" in text
    assert not stops


def test_a_face_that_is_cut_off_or_unclear_stops() -> None:
    _, mesh, _ = known_face(SIDE)
    cut = FaceMesh(mesh.points + np.array([200, 0, 0], np.float32), mesh.irises, 1.0)
    assert [stops for text, stops in told(cut) if "cut off" in text] == [True]
    assert [stops for text, stops in told(FaceMesh(mesh.points, mesh.irises, 0.2)) if "clear" in text] == [True]


def test_shut_eyes_stop_and_an_open_mouth_is_noted() -> None:
    _, mesh, curves = known_face(SIDE, parted=0.03)
    assert [(stops, text.startswith("the mouth is open")) for text, stops in told(mesh, curves)] == [(False, True)]
    _, mesh, curves = known_face(SIDE)
    asleep = Curves(
        curves.lip_top, curves.lip_upper, curves.lip_lower, curves.lip_bottom, curves.lid_lower, curves.lid_lower
    )
    assert [(stops, text.startswith("the eyes are shut")) for text, stops in told(mesh, asleep)] == [(True, True)]
