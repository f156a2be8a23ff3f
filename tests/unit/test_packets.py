"""SoundPackets: what goes in comes out once, in order and in its place, whenever the clear comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.frames import TICK_MS, TICK_SAMPLES, Frame, Picture
from rooms.packets import FADE_SAMPLES, SoundPackets

pytestmark = pytest.mark.unit

PICTURE = Picture(np.zeros((24, 16), np.uint8))
SAMPLES_PER_MS = 48


def frame(tick: int, generation: int = 0) -> Frame:
    """A frame whose sound is different in every sample, so that a repeat or a gap cannot go unseen; never zero."""
    sound = (np.arange(TICK_SAMPLES, dtype=np.int32) + tick * TICK_SAMPLES) % 30_000 + 1
    return Frame(tick, generation, PICTURE, sound.astype(np.int16))


def test_packets_carry_their_place_on_the_time_line() -> None:
    packets = SoundPackets(10, capacity_ticks=4)
    packets.push(frame(7))
    out = [packets.pop() for _ in range(4)]
    assert [(p.media_time_ms, p.tick, len(p.pcm)) for p in out if p] == [(280 + 10 * i, 7, 480) for i in range(4)]
    assert packets.pop() is None


@settings(deadline=None)
@given(
    packet_ms=st.sampled_from([10, 20]),
    steps=st.lists(st.sampled_from(["push", "pop", "pop", "pop", "clear"]), max_size=120),
    first_tick=st.integers(0, 10**6),
)
def test_any_order_of_push_pop_and_clear(packet_ms: int, steps: list[str], first_tick: int) -> None:
    capacity_ticks = 5
    packets = SoundPackets(packet_ms, capacity_ticks)
    # The model: each waiting sample as (time in samples, original value, samples since a clear reached it or None).
    waiting: list[tuple[int, int, int | None]] = []
    generation, tick = 0, first_tick
    pushed = popped = dropped = 0
    for step in steps:
        if step == "push":
            coming = frame(tick, generation)
            lost = packets.push(coming)
            pushed += TICK_SAMPLES
            dropped += lost
            del waiting[:lost]
            waiting += [(tick * TICK_SAMPLES + i, int(v), None) for i, v in enumerate(coming.sound)]
            tick += 1
        elif step == "clear":
            generation += 1
            assert packets.clear(generation) == len(waiting)
            waiting = [(at, value, place) for place, (at, value, _) in enumerate(waiting)]
        else:
            packet = packets.pop()
            if packet is None:
                assert not waiting
                continue
            popped += len(packet.pcm)
            expected, waiting = waiting[: len(packet.pcm)], waiting[len(packet.pcm) :]
            assert len(packet.pcm) == len(expected) == packet_ms * SAMPLES_PER_MS
            assert packet.media_time_ms * SAMPLES_PER_MS == expected[0][0]
            assert packet.tick == expected[0][0] // TICK_SAMPLES
            for sample, (_, value, silenced) in zip(packet.pcm, expected, strict=True):
                if silenced is None:
                    assert sample == value
                elif silenced >= FADE_SAMPLES:
                    assert sample == 0
                else:
                    assert 0 <= sample <= value
        assert packets.unsent() == len(waiting)
        assert len(packets) == len(waiting) // (packet_ms * SAMPLES_PER_MS)
        assert pushed == popped + dropped + packets.unsent()
        assert packets.unsent() <= capacity_ticks * TICK_SAMPLES


def test_a_clear_fades_smoothly_to_zero() -> None:
    packets = SoundPackets(10, capacity_ticks=4)
    loud = Frame(0, 0, PICTURE, np.full(TICK_SAMPLES, 20_000, np.int16))
    packets.push(loud)
    packets.push(Frame(1, 0, PICTURE, loud.sound))
    assert packets.pop() is not None
    assert packets.clear(1) == 2 * TICK_SAMPLES - 480
    rest = np.concatenate([p.pcm for p in iter(packets.pop, None)])
    assert rest[0] == 20_000
    steps = np.diff(rest[:FADE_SAMPLES].astype(int))
    assert steps.max() <= 0
    assert steps.min() >= -100
    assert not rest[FADE_SAMPLES:].any()


def test_a_clear_leaves_the_frame_itself_alone() -> None:
    packets = SoundPackets(20, capacity_ticks=4)
    shared = frame(0)
    before = shared.sound.copy()
    packets.push(shared)
    packets.clear(1)
    assert np.array_equal(shared.sound, before)


def test_an_older_generation_is_silence_in_its_place() -> None:
    packets = SoundPackets(20, capacity_ticks=4)
    packets.clear(3)
    packets.push(frame(5, generation=2))
    packets.push(frame(6, generation=3))
    out = list(iter(packets.pop, None))
    assert [p.media_time_ms for p in out] == [5 * TICK_MS, 5 * TICK_MS + 20, 6 * TICK_MS, 6 * TICK_MS + 20]
    assert not out[0].pcm.any()
    assert not out[1].pcm.any()
    assert np.array_equal(np.concatenate([out[2].pcm, out[3].pcm]), frame(6).sound)


def test_a_full_queue_drops_the_oldest_frame_and_says_how_much() -> None:
    packets = SoundPackets(10, capacity_ticks=2)
    assert [packets.push(frame(0)), packets.push(frame(1))] == [0, 0]
    assert packets.pop() is not None
    assert packets.push(frame(2)) == TICK_SAMPLES - 480
    first = packets.pop()
    assert first is not None
    assert (first.tick, first.media_time_ms) == (1, TICK_MS)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="not 15"):
        SoundPackets(15, capacity_ticks=4)
    with pytest.raises(ValueError, match="not 0"):
        SoundPackets(10, capacity_ticks=0)
