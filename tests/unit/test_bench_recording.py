"""A page's recording on our clock: the times of blocks, missing batches, pictures with and without pixels."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from benchmarks.mouth import RESTED_S, SPOKEN_S, Kind, Seen
from benchmarks.recording import EAR_BLOCK_S, MIC_BLOCK_FRAMES, RATE_HZ, Recording

pytestmark = pytest.mark.unit

BLOCKS = 64
OFFSET_S = 500.0
"""Ours minus the page's clock."""
CONTEXT_S = 0.1
"""The page's clock minus the context's: when a frame is rendered."""
LATENCY_S = 0.04


def packed(values: list[float]) -> str:
    return base64.b64encode(np.array(values, np.float32).tobytes()).decode()


def batch(**more: Any) -> dict[str, Any]:
    """What the page gives when nothing happened."""
    empty: dict[str, Any] = {"origin": -1_000_000.0, "latency": [0.01, 0.03], "frames": [], "mic": "", "bursts": []}
    return empty | {"heard": [], "peaks": "", "pictures": [], "luma": "", "events": []} | more


def microphone(first: int, loud: int | None = None, *, batches: int = 10) -> dict[str, Any]:
    """So many batches of the microphone from context frame ``first`` on, loud in one block."""
    levels = [0.0] * (BLOCKS * batches)
    if loud is not None:
        levels[loud] = 0.5
    frames = [first + number * BLOCKS * MIC_BLOCK_FRAMES for number in range(batches)]
    steps = range(first, first + batches * BLOCKS * MIC_BLOCK_FRAMES, RATE_HZ // 100)
    bursts = [[frame, 1_000_000.0 + frame / 48 + CONTEXT_S * 1000] for frame in steps]
    return batch(frames=frames, mic=packed(levels), bursts=bursts)


def played(at_ms: list[float], loud: int | None = None) -> dict[str, Any]:
    """Frames of 10 ms that the player pulled at these times of the page, loud in one block."""
    peaks = [0.0] * (10 * len(at_ms))
    if loud is not None:
        peaks[loud] = 0.5
    return batch(heard=[[at, 10.0] for at in at_ms], peaks=packed(peaks))


@pytest.fixture
def recording() -> Recording:
    made = Recording()
    made.exchanged(OFFSET_S + 1.0, 1001.0, OFFSET_S + 1.002)
    return made


def test_the_microphones_blocks_have_their_times(recording: Recording) -> None:
    recording.add(microphone(96_000, loud=100))
    block = int(np.argmax(recording.mic))
    rendered = (96_000 + 100 * MIC_BLOCK_FRAMES) / RATE_HZ + CONTEXT_S + OFFSET_S
    # It was rendered with the 10 ms that hold it.
    assert rendered - 0.0101 <= recording.handed_on(block) <= rendered + 0.0001
    assert recording.mic_block(96_000 + 100 * MIC_BLOCK_FRAMES) == block


def test_the_microphone_between_two_times(recording: Recording) -> None:
    recording.add(microphone(96_000, loud=100))
    at = recording.handed_on(100)
    assert recording.mic_between(at - 0.05, at + 0.05).max() == pytest.approx(0.5)
    assert recording.mic_between(at + 0.05, at + 0.15).max() == 0
    assert recording.mic_between(at + 60, at + 61).size == 0


def test_a_lost_batch_is_counted_and_moves_nothing(recording: Recording) -> None:
    recording.add(microphone(96_000))
    gap = 2 * BLOCKS * MIC_BLOCK_FRAMES
    recording.add(microphone(96_000 + 10 * BLOCKS * MIC_BLOCK_FRAMES + gap, loud=5))
    assert recording.lost_blocks == 2 * BLOCKS
    assert int(np.argmax(recording.mic)) == 12 * BLOCKS + 5


def test_what_is_played_is_heard_after_the_output_latency(recording: Recording) -> None:
    recording.add(played([2000 + 10 * number for number in range(100)], loud=333))
    block = int(np.argmax(recording.played))
    assert recording.heard(block) == pytest.approx(OFFSET_S + 2.333 + LATENCY_S, abs=0.001)


def test_a_player_that_stalled_is_followed_by_its_stamps(recording: Recording) -> None:
    early, late = [2000 + 10 * number for number in range(50)], [2700 + 10 * number for number in range(50)]
    recording.add(played([*early, *late]))
    assert recording.heard(500) - recording.heard(490) == pytest.approx(0.21, abs=0.001)
    assert recording.gaps == 1


def test_heard_and_its_inverse(recording: Recording) -> None:
    recording.add(played([2000 + 10 * number for number in range(100)]))
    for block in (3, 250, 600):
        assert recording.block_heard_at(recording.heard(block)) == block
    assert recording.block_heard_at(OFFSET_S) == 0
    assert recording.block_heard_at(recording.heard(999) + EAR_BLOCK_S) == recording.played.size


def test_pictures_have_the_pixels_of_the_region_at_their_time(recording: Recording) -> None:
    luma = base64.b64encode(bytes([1, 2, 3, 4, 9])).decode()
    recording.add(batch(pictures=[[1000.0, 1, 0], [1040.0, 2, 4], [1080.0, 3, 1]], luma=luma))
    assert [shown.luma.tolist() for shown in recording.pictures] == [[], [1, 2, 3, 4], [9]]
    assert recording.pictures[1].at == pytest.approx(OFFSET_S + 1.04, abs=0.001)


def test_events_come_on_our_clock(recording: Recording) -> None:
    recording.add(batch(events=[{"type": "state", "at": 2000.0, "detail": {"state": "speaking"}}]))
    assert recording.events[0].at == pytest.approx(OFFSET_S + 2.0, abs=0.001)


def test_the_loudest_around_a_time(recording: Recording) -> None:
    recording.add(played([2000 + 10 * number for number in range(100)], loud=333))
    burst = OFFSET_S + 2.333 + LATENCY_S
    around = recording.loudest_around([burst - 0.2, burst - 0.05, burst + 0.05, burst + 0.3], 0.1, 0.1)
    assert around.tolist() == pytest.approx([0, 0.5, 0.5, 0])


def test_what_was_not_recorded_is_not_silence(recording: Recording) -> None:
    assert np.isnan(recording.loudest_around([OFFSET_S], 0.1, 0.1)).all()
    recording.add(played([2000 + 10 * number for number in range(100)]))
    first, last = OFFSET_S + 2 + LATENCY_S, OFFSET_S + 3 + LATENCY_S
    around = recording.loudest_around([first - 1, first + 0.05, last - 0.05, last + 1], 0.1, 0.1)
    assert np.isnan(around).all()
    assert recording.loudest_around([first + 0.5], 0.1, 0.1).tolist() == [0]


def test_a_mouth_is_learned_from_pictures_known_to_be_of_speech_or_of_rest(recording: Recording) -> None:
    """One burst of sound: pictures around it are of speech, those long after it of rest, the others of neither."""
    recording.add(played([2000 + 10 * number for number in range(300)], loud=1000))
    burst_ms = 3000 + LATENCY_S * 1000
    offsets = [-700, -200, 0, 60, 100, 200, 500, 700, 1000]
    shown = [[burst_ms + offset, number, 4] for number, offset in enumerate(offsets)]
    region = base64.b64encode(bytes(4 * len(shown))).decode()
    recording.add(batch(pictures=[*shown, [burst_ms + 40, 99, 0]], luma=region))
    kept: dict[Kind, list[int]] = {}
    kinds: tuple[Kind, ...] = ("speech", "rest")
    for kind in kinds:
        seen = Seen(kind)
        seen.add(recording, recording.pictures, (2, 2))
        kept[kind] = [round((at - OFFSET_S) * 1000 - burst_ms) for at in seen.at]
        assert seen.left_out == len(shown) + 1 - len(seen.at)
    assert kept["speech"] == [offset for offset in offsets if -SPOKEN_S[1] * 1000 <= offset <= SPOKEN_S[0] * 1000]
    # At -700 not all of the time before it was recorded.
    assert kept["rest"] == [-200, *(offset for offset in offsets if offset > RESTED_S[0] * 1000)]
