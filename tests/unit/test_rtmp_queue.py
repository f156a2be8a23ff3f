"""What a target's queue keeps and drops, for every kind of server: absent, slow, and slow for good."""

from __future__ import annotations

import pytest

from rooms.rtmp_encoder import Format, Packet
from rooms.rtmp_queue import MAX_PICTURES_MS, MAX_SOUND_MS, SendQueue

pytestmark = pytest.mark.unit

FORMAT = Format(64, 64, 25, 1000, b"", b"")


def stream(first_tick: int, ticks: int) -> list[Packet]:
    """Pictures, a keyframe every 50, and about two packets of sound to each."""
    made = []
    for tick in range(first_tick, first_tick + ticks):
        made.append(Packet(True, tick % 50 == 0, tick, b"", FORMAT))
        sounds = range(-(-tick * 1920 // 1024), -(-(tick + 1) * 1920 // 1024))
        made += [Packet(False, True, number * 1024, b"", FORMAT) for number in sounds]
    return made


def popped(queue: SendQueue) -> list[Packet]:
    return list(iter(queue.pop, None))


def test_without_a_connection_nothing_is_kept_or_counted() -> None:
    queue = SendQueue()
    for packet in stream(0, 100):
        queue.push(packet)
    assert len(queue) == 0
    assert queue.pictures_dropped == queue.sounds_dropped == 0


def test_a_connection_begins_with_a_keyframe() -> None:
    queue = SendQueue()
    queue.open()
    for packet in stream(30, 40):
        queue.push(packet)
    sent = popped(queue)
    assert (sent[0].video, sent[0].keyframe, sent[0].time) == (True, True, 50)
    assert [packet.time_ms for packet in sent] == sorted(packet.time_ms for packet in sent)
    assert len([packet for packet in sent if packet.video]) == 20
    assert queue.pictures_dropped == 0


def test_a_server_that_is_behind_loses_pictures_up_to_a_keyframe_and_no_sound() -> None:
    queue = SendQueue()
    queue.open()
    sounds = 0
    for packet in stream(0, 90):
        queue.push(packet)
        sounds += not packet.video
    assert queue.behind_ms <= MAX_SOUND_MS
    assert queue.pictures_dropped == 90
    sent = popped(queue)
    assert all(not packet.video for packet in sent)
    assert len(sent) == sounds
    for packet in stream(90, 30):
        queue.push(packet)
    pictures = [packet for packet in popped(queue) if packet.video]
    assert pictures[0].keyframe
    assert [packet.time for packet in pictures] == list(range(100, 120))


def test_a_server_that_is_behind_for_good_loses_the_oldest_sound_too() -> None:
    queue = SendQueue()
    queue.open()
    for packet in stream(0, 1000):
        queue.push(packet)
        assert queue.behind_ms <= MAX_SOUND_MS
    assert queue.sounds_dropped > 0
    times = [packet.time_ms for packet in popped(queue) if not packet.video]
    assert times[-1] == pytest.approx(40_000, abs=30)
    assert times[0] > 40_000 - MAX_SOUND_MS - 30
    assert MAX_PICTURES_MS < MAX_SOUND_MS


def test_nothing_of_a_connection_that_is_gone_comes_out_of_the_next() -> None:
    queue = SendQueue()
    queue.open()
    for packet in stream(0, 20):
        queue.push(packet)
    queue.close()
    queue.open()
    for packet in stream(40, 20):
        queue.push(packet)
    assert popped(queue)[0].time == 50
