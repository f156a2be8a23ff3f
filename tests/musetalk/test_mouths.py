"""Mouths on the host: fit ones pass, what is none does not; easing; the same mouth on another frame."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from avatar.frames import Planes
from avatar.musetalk.avatars import AvatarFrame, place, planes_of
from avatar.musetalk.config import TINY
from avatar.musetalk.demo import synthetic_frames
from avatar.musetalk.mouths import carried, eased, incoherence
from avatar.puppet.look import Look
from avatar.puppet.motion import AT_REST
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.rig import Rig
from tests.doubles.portraits import known_face

pytestmark = pytest.mark.unit


def prepared(body: Planes, box: tuple[int, int, int, int]) -> AvatarFrame:
    """A frame whose mask shows the lower half of an oval, feathered."""
    height, width = box[3] - box[1], box[2] - box[0]
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - width / 2) / (width * 0.47)) ** 2 + ((rows - height / 2) / (height / 2)) ** 2 < 1
    mask = cv2.GaussianBlur(np.where(inside & (rows > height * 0.46), 255, 0).astype(np.uint8), (0, 0), width / 25)
    mask[: int(height * 0.42)] = 0
    return AvatarFrame(body, box, np.asarray(mask, np.uint8), np.zeros((8, 16, 16), np.float32))


def pasted(frame: AvatarFrame, face: Planes, blur: float) -> Planes:
    """Another picture of the same person, in the place of the generated face; as soft as 256 pixels make it."""
    height = frame.height
    mask = np.zeros((height, frame.width), np.float32)
    left, top, right, bottom = frame.box
    mask[top:bottom, left:right] = frame.mask / 255
    soft = face.copy()
    if blur:
        soft[:height] = cv2.GaussianBlur(face[:height], (0, 0), blur)
    half = mask[::2, ::2]
    share = np.concatenate([mask.ravel(), half.ravel(), half.ravel()]).reshape(face.shape)
    return np.asarray(np.round(frame.body * (1 - share) + soft * share), np.uint8)


def faces() -> Iterator[tuple[AvatarFrame, list[Planes]]]:
    """Prepared frames with closed lips, and the same faces with lips in other positions."""

    def drawn(parted: float) -> Planes:
        return np.asarray(cv2.cvtColor(known_face(512, parted=parted)[0], cv2.COLOR_BGR2YUV_I420), np.uint8)

    yield prepared(drawn(0), (170, 150, 342, 370)), [drawn(parted) for parted in (0.0, 0.02, 0.05, 0.08)]
    rig = Rig(Look.parse({}), 512)
    mouths = (REST, Mouth(jaw=1), Mouth(jaw=0.6, spread=1), Mouth(jaw=0.5, rounding=1), Mouth(closure=1))
    yield prepared(rig.draw(AT_REST, REST), (140, 110, 372, 400)), [rig.draw(AT_REST, mouth) for mouth in mouths]


def test_a_mouth_may_do_what_mouths_do() -> None:
    for frame, others in faces():
        for face in others:
            for blur in (0.0, 1.5):
                assert incoherence(pasted(frame, face, blur), frame) is None


@pytest.mark.parametrize("kind", ["grey", "black", "noise", "grain", "swapped", "inverted", "one colour"])
def test_what_is_no_mouth_is_found_out(kind: str) -> None:
    chance = np.random.default_rng(0)
    for frame, _ in faces():
        y, u, v = (plane.astype(int) for plane in planes_of(frame.body, frame.patch))
        made = {
            "grey": (y * 0 + 128, u * 0 + 128, v * 0 + 128),
            "black": (y * 0 + 16, u * 0 + 128, v * 0 + 128),
            "noise": tuple(chance.integers(16, 236, plane.shape) for plane in (y, u, v)),
            "grain": (np.clip(y + chance.normal(0, 40, y.shape), 0, 255), u, v),
            "swapped": (y, v, u),
            "inverted": (255 - y, 255 - u, 255 - v),
            "one colour": tuple(plane * 0 + int(np.median(plane)) for plane in (y, u, v)),
        }[kind]
        flat = np.concatenate([plane.astype(np.uint8).ravel() for plane in made])
        assert incoherence(place(frame.body, frame.patch, flat), frame) is not None


def test_easing_runs_from_the_prepared_frame_to_the_mouth() -> None:
    frame, others = next(faces())
    mouth = pasted(frame, others[-1], 0.0)
    assert np.array_equal(eased(mouth.copy(), frame, 0.0), frame.body)
    assert np.array_equal(eased(mouth.copy(), frame, 1.0), mouth)
    half = eased(mouth.copy(), frame, 0.5).astype(int)
    assert np.abs(half - (mouth.astype(int) + frame.body) / 2).max() <= 1


def test_a_mouth_is_carried_to_where_the_face_has_moved() -> None:
    body = synthetic_frames(TINY, 1, 160, 160, seed=2)[0].body
    mask = np.full((40, 40), 255, np.uint8)

    def frame(left: int, top: int, picture: Planes = body) -> AvatarFrame:
        return AvatarFrame(picture, (left, top, left + 40, top + 40), mask, np.zeros((8, 16, 16), np.float32))

    here = frame(50, 60)
    mouth = body.copy()
    mouth[80:84, 60:80] = 30
    moved = carried(mouth, here, frame(57, 58))
    assert np.array_equal(moved[58:98, 57:97], mouth[60:100, 50:90])
    outside = moved[:160].copy()
    outside[58:98, 57:97] = body[58:98, 57:97]
    assert np.array_equal(outside, body[:160]), "nothing outside the mask's place may change"
    assert np.array_equal(carried(mouth, here, here), mouth)
    assert carried(mouth, here, frame(120, 120)).shape == body.shape


def test_a_carried_mouth_leaves_no_edge_of_the_old_place() -> None:
    """The whole face moved by 3 and 2 px: what is carried is what would have been made there, to rounding."""
    frame, others = list(faces())[1]
    mouth = pasted(frame, others[1], 0.0)

    def shifted(planes: Planes) -> Planes:
        bgr = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
        by = np.array([[1, 0, 3], [0, 1, 2]], np.float32)
        there = cv2.warpAffine(bgr, by, bgr.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.cvtColor(there, cv2.COLOR_BGR2YUV_I420), np.uint8)

    box = frame.box
    there = AvatarFrame(
        shifted(frame.body), (box[0] + 3, box[1] + 2, box[2] + 3, box[3] + 2), frame.mask, frame.latents
    )
    off = np.abs(carried(mouth, frame, there)[: frame.height].astype(int) - shifted(mouth)[: frame.height])
    assert off.max() <= 40
    assert np.percentile(off, 99.5) <= 6
