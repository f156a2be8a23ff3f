"""That the face acts on its voice: beats on stressed syllables, blinks where it pauses, always as the contract says."""

from __future__ import annotations

import numpy as np
import pytest

from avatar.puppet import motion
from avatar.puppet.acting import BEAT, HISTORY, Actor, parted, pause_blink, stress, sunk, unhurried
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.motion import BLINK, MOODS
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.speech import Speech
from avatar.renderer import Expression, Shot
from tests.conformance.conftest import babble

pytestmark = pytest.mark.unit

SPEAKING = tuple(float(each is Expression.SPEAKING) for each in MOODS)
SYLLABLE = (0.05, 0.05, 0.6, 0.7, 0.4)


def spoken(seconds: float, seed: int = 3) -> Speech:
    speech = Speech(TrainedTracker)
    speech.push(1, babble(seconds, seed))
    speech.end(1)
    return speech


def test_a_stressed_syllable_makes_one_beat_that_swells_and_fades() -> None:
    openings = [0.05] * 6 + list(SYLLABLE) + [0.05] * 14
    beats = [stress(openings[: n + 1], [1.0] * (n + 1)) for n in range(len(openings))]
    peak = int(np.argmax(beats))
    assert 8 <= peak <= 13
    assert beats[peak] > 0.8
    assert max(beats[:8]) == 0.0
    assert beats[-1] == 0.0
    assert max(abs(np.diff(beats))) < 0.6


def test_a_weak_or_steady_voice_makes_no_beat() -> None:
    assert stress([0.3] * HISTORY, [1.0] * HISTORY) == 0.0
    assert stress([0.05, 0.05, 0.15, 0.1], [1.0] * 4) == 0.0
    loud, soft = (stress([0.05, 0.05, 0.6, 0.6], [effort] * 4) for effort in (1.0, 0.1))
    assert 0.0 < soft < loud


def test_brows_rise_and_the_head_dips_on_a_beat() -> None:
    still, beating = (motion.pose(100, 0, SPEAKING, 0.5, beat) for beat in (0.0, 1.0))
    assert beating.brow_left > still.brow_left + 0.004
    assert beating.brow_right > still.brow_right + 0.004
    assert beating.pitch > still.pitch + 0.005
    assert beating.gaze_x == still.gaze_x


def test_a_pause_shuts_the_eyes_once_and_not_every_time() -> None:
    openings = [0.3, 0.4, 0.5, 0.3, 0.02, 0.0, 0.0] + [0.0] * 10
    blinks = 0
    for segment in range(200):
        lids = [pause_blink(openings[: n + 1], (segment, n), 7) for n in range(len(openings))]
        shut = [value for value in lids if value > 0.0]
        assert shut in ([], list(BLINK))
        assert not shut or lids.index(BLINK[0]) == 6  # as soon as it is a pause
        blinks += bool(shut)
    assert 0.5 * 200 < blinks < 0.8 * 200


def test_speech_and_short_closures_are_no_pause() -> None:
    for openings in ([0.3] * 12, [0.4, 0.5, 0.4, 0.3, 0.0, 0.0, 0.4, 0.5, 0.4], [0.0] * 12):
        assert all(pause_blink(openings[: n + 1], (s, n), 7) == 0.0 for s in range(50) for n in range(len(openings)))


def test_blinks_come_more_often_at_pauses_than_in_speech() -> None:
    """In a long talk: of the pictures in which a pause begins, far more shut the lids soon after than others do."""
    actor = Actor(spoken(60.0), 0)
    shown = [actor.play(Shot(n, 1, n, n), SPEAKING) for n in range(1450)]
    openings = [parted(mouth) for _, mouth in shown]
    lids = [pose.lids for pose, _ in shown]
    starts = [n for n in range(8, 1440) if max(openings[n : n + 3]) < 0.06 <= openings[n - 1] > 0.16]
    assert len(starts) >= 5
    at_pauses = np.mean([max(lids[n : n + 8]) > 0.9 for n in starts])
    anywhere = np.mean([max(lids[n : n + 8]) > 0.9 for n in range(8, 1440, 8)])
    assert at_pauses > 1.5 * anywhere


def test_a_lip_never_falls_faster_than_it_may() -> None:
    bite, open_wide = Mouth(jaw=0.5, lip_teeth=1.0), Mouth(jaw=1.0)
    held = unhurried([bite, open_wide])
    assert held.jaw < 0.6
    assert unhurried([bite, held, open_wide]).jaw > held.jaw
    assert unhurried([open_wide, REST]) == REST  # shutting is free
    pressed = Mouth(jaw=0.4, closure=1.0)
    assert unhurried([pressed, open_wide]).jaw > unhurried([REST, open_wide]).jaw


def test_how_far_a_lip_hangs_follows_the_drawing() -> None:
    for mouth in (
        Mouth(jaw=0.5),
        Mouth(jaw=0.5, rounding=0.8),
        Mouth(jaw=0.6, lip_teeth=0.7),
        Mouth(jaw=1.0, closure=0.5),
    ):
        by_jaw, otherwise = sunk(mouth)
        assert 0.0 <= by_jaw <= 1.0
        assert otherwise <= 0.0
    assert sunk(Mouth(jaw=1.0)) == (1.0, 0.0)
    assert sunk(Mouth(closure=1.0))[0] == 0.0


def test_a_picture_is_the_same_however_one_came_to_it() -> None:
    """Asked for in order or not, again, late or after pictures that were skipped: one shot, one pose and mouth."""
    in_order, skipping = Actor(spoken(4.0), 5), Actor(spoken(4.0), 5)
    all_shown = [in_order.play(Shot(n + 9, 1, n, n), SPEAKING) for n in range(80)]
    some = {n: skipping.play(Shot(n + 9, 1, n, n), SPEAKING) for n in (0, 7, 7, 8, 31, 32, 60, 79)}
    assert all(some[n] == all_shown[n] for n in some)
    idle = Shot(89, None, 0, 2, (1, 79))
    assert skipping.play(idle, SPEAKING) == in_order.play(idle, SPEAKING)


def test_gestures_ease_out_after_the_last_word() -> None:
    actor = Actor(spoken(3.0), 1)
    for n in range(60):
        pose, _ = actor.play(Shot(n, 1, n, n), SPEAKING)
    brows = [pose.brow_left]
    for since in range(40):
        pose, mouth = actor.play(Shot(60 + since, None, 0, since, (1, 59)), SPEAKING)
        brows.append(pose.brow_left)
    assert mouth == REST
    assert max(abs(np.diff(brows))) < 0.006
    assert brows[-1] == pytest.approx(MOODS[Expression.SPEAKING].brow_left, abs=1e-3)


def test_beats_follow_the_beat_kernel() -> None:
    assert max(BEAT) == 1.0
    assert len(BEAT) < HISTORY
