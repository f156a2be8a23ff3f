"""What a peer's sink counts as not heard, and when it asks the receiver to fall silent."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, Frame, Picture
from rooms.tracks import BUFFERED_MAX_MS, PACKET_MS, PeerSink

pytestmark = pytest.mark.media

PACKET = SAMPLE_RATE_HZ * PACKET_MS // 1000
PICTURE = Picture(np.full((96, 64), 128, np.uint8))


def frame(tick: int, level: int, generation: int = 0) -> Frame:
    return Frame(tick, generation, PICTURE, np.full(TICK_SAMPLES, level, np.int16))


async def sent(sink: PeerSink, packets: int) -> None:
    for _ in range(packets):
        await sink.sound.recv()


async def test_what_waits_at_the_receiver_counts_as_unsent() -> None:
    sink = PeerSink()
    sink.put(frame(0, 1000))
    await sent(sink, 1)
    assert sink.unsent() == PACKET
    sink.buffered(120)
    assert sink.unsent() == PACKET + 5760
    assert sink.clear(1) == PACKET + 5760


@pytest.mark.parametrize(("told_ms", "believed_ms"), [(-5.0, 0.0), (math.inf, BUFFERED_MAX_MS), (250.0, 250.0)])
async def test_a_receiver_is_believed_within_reason(told_ms: float, believed_ms: float) -> None:
    sink = PeerSink()
    sink.buffered(told_ms)
    assert sink.unsent() == round(believed_ms * SAMPLE_RATE_HZ / 1000)


async def test_it_is_hushed_up_to_behind_the_fade() -> None:
    hushed: list[int] = []
    sink = PeerSink(hushed.append)
    sink.put(frame(0, 1000))
    await sent(sink, 1)
    sink.clear(1)
    # Sent: 0 to 960. The next packet begins with the fade; what follows it may be heard.
    assert hushed == [2 * PACKET]


async def test_silence_is_not_hushed() -> None:
    hushed: list[int] = []
    sink = PeerSink(hushed.append)
    sink.clear(0)
    for tick in range(3):
        sink.put(frame(tick, 0))
    await sent(sink, 6)
    sink.clear(1)
    assert hushed == []


async def test_sound_that_the_receiver_still_holds_is_hushed_and_older_is_not() -> None:
    hushed: list[int] = []
    sink = PeerSink(hushed.append)
    sink.buffered(100)
    sink.put(frame(0, 1000))
    sink.put(frame(1, 0))
    await sent(sink, 4)
    sink.clear(1)
    assert hushed == [5 * PACKET]
    for tick in range(2, 6):
        sink.put(frame(tick, 0))
    await sent(sink, 8)
    sink.clear(2)
    assert hushed == [5 * PACKET]


async def test_a_pause_is_counted_from_what_was_heard() -> None:
    """The playout takes back what waits at the receiver, so that nothing is lost when it goes on."""
    from avatar.playout import Playout
    from tests.doubles.renderers import ScriptedRenderer

    sink = PeerSink()
    renderer = ScriptedRenderer()
    playout = Playout(renderer)
    playout.attach(sink, primary=True)
    sink.buffered(80)
    playout.push(np.full(20 * TICK_SAMPLES, 1000, np.int16))
    released = 0
    while released < 8:
        await asyncio.sleep(0)
        before = playout.ahead_s
        playout.advance()
        released += playout.ahead_s < before
        await sent(sink, 2)
    playout.pause()
    assert playout.ahead_s == pytest.approx((20 - 8 + 2) * 0.04)
    playout.close()
    await renderer.aclose()
