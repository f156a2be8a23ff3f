"""What an independent client reads back from a real RTMP server, and what happens when that server breaks."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
import pytest

from avatar.frames import TICK_MS
from benchmarks.rtmpreader import Reader, flash_offsets_ms
from benchmarks.rtmpserver import RtmpServer
from tests.rtmp.air import HEIGHT, WIDTH, Air, NoisyRenderer, eventually, on_air

pytestmark = pytest.mark.rtmp

RETURN_S = 3.0
TICKS_ON_THE_WAY = 200
"""8 s before a timestamp needs more bits."""


async def read(server: RtmpServer, air: Air, seconds: float, *, decode: bool = False) -> Reader:
    """What a client gets that comes while the stream is on air."""
    await eventually(lambda: "a" in server.publishers(), 5, "publishing")
    reader = Reader(server.url("a"), decode=decode).start()
    await eventually(lambda: bool(reader.packets), 15, "reading")
    await air.beeps(seconds)
    return await asyncio.to_thread(reader.stop)


@pytest.mark.parametrize(("fps", "steps"), [(25, {40}), (30, {33, 34})])
async def test_a_client_reads_even_steps_keyframes_and_sound_that_fits_the_picture(
    server: RtmpServer, fps: int, steps: set[int]
) -> None:
    async with on_air(server.url("a"), fps=fps) as air:
        reader = await read(server, air, 8, decode=True)
    assert reader.codecs == ("h264", "aac")
    assert reader.sizes == {(WIDTH, HEIGHT)}
    assert set(reader.steps_ms("video").round().astype(int)) == steps
    assert set(reader.steps_ms("audio").round().astype(int)) == {21, 22}
    keyframes = np.diff([packet.time_ms for packet in reader.of("video") if packet.keyframe])
    assert keyframes.size >= 1
    assert set(keyframes.round().astype(int)) == {2000}
    offsets = flash_offsets_ms(reader)
    assert len(offsets) >= 4
    # At 30 a second the nearest picture is up to 20 ms away; a lossy codec smears the beep's edge by some more.
    assert np.abs(offsets).max() <= (10 if fps == 25 else 28)


@pytest.mark.parametrize("joined", [-TICKS_ON_THE_WAY, 10_000], ids=["on the way", "beyond it"])
@pytest.mark.parametrize("bits", [24, 31, 32], ids=["4.7 hours", "24.9 days", "49.7 days"])
async def test_timestamps_go_on_through_every_width(server: RtmpServer, bits: int, joined: int) -> None:
    async with on_air(server.url("a"), first_tick=(1 << bits) // TICK_MS + joined) as air:
        reader = await read(server, air, 8)
    pictures = reader.of("video")
    first, last = (_signed(packet.time_ms - (1 << bits)) for packet in (pictures[0], pictures[-1]))
    assert last > 0
    assert (first < 0) == (joined < 0)
    assert last - first == 40 * (len(pictures) - 1)
    assert set(reader.steps_ms("video").round()) == {40}
    assert set(reader.steps_ms("audio").round()) == {21, 22}
    assert air.target().connections == 1


def _signed(time_ms: float) -> int:
    """A difference of timestamps of 32 bits: clients count on from where they come, and so below 0 after a wrap."""
    return (round(time_ms) + (1 << 31)) % (1 << 32) - (1 << 31)


async def test_back_on_air_after_a_kill_with_the_time_that_it_is(server: RtmpServer) -> None:
    async with on_air(server.url("a")) as air:
        before = await read(server, air, 2)
        await asyncio.to_thread(server.kill)
        await eventually(lambda: air.target().state == "waiting", 2, "noticing the kill")
        assert air.target().problem
        await asyncio.sleep(2.5)
        server.launch()
        returned = time.monotonic()
        await eventually(lambda: "a" in server.publishers(), RETURN_S, "publishing again")
        after = await read(server, air, 3)
        assert air.target().connections == 2
        assert air.playout.stats.stalls == 0
    assert set(after.steps_ms("video").round()) == {40}
    assert after.of("video")[0].keyframe
    # Media time went on while nobody listened.
    first, then = before.of("video")[-1], after.of("video")[-1]
    assert first.at_s < returned < then.at_s
    assert (then.time_ms - first.time_ms) / 1000 == pytest.approx(then.at_s - first.at_s, abs=1.0)


async def test_a_stalled_server_is_left_and_the_other_target_notices_nothing(
    server: RtmpServer, other_server: RtmpServer
) -> None:
    async with on_air(server.url("a"), other_server.url("a"), renderer=NoisyRenderer()) as air:
        await eventually(lambda: "a" in server.publishers(), 5, "publishing")
        await eventually(lambda: "a" in other_server.publishers(), 5, "publishing")
        other = Reader(other_server.url("a")).start()
        server.stall()
        try:
            # What its system buffers lasts for some seconds at this rate; then it counts as gone.
            noticed_s = await eventually(lambda: air.target(0).state != "live", 30, "noticing the stall")
            logging.getLogger(__name__).info("the stall was noticed after %.1f s", noticed_s)
            assert "has taken nothing" in (air.target(0).problem or "")
            assert air.target(1).state == "live"
        finally:
            server.resume()
        resumed = time.monotonic()
        await eventually(lambda: air.target(0).state == "live", RETURN_S, "being back")
        assert time.monotonic() - resumed <= RETURN_S
        await asyncio.to_thread(other.stop)
        assert air.playout.stats.stalls == 0
        assert air.target(1).connections == 1
        assert air.target(1).pictures_dropped == 0
    assert set(other.steps_ms("video").round()) == {40}


async def test_a_refused_key_is_told_plainly_and_shown_nowhere(
    server: RtmpServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-key-nobody-may-see"
    async with on_air(
        server.url(secret, "guarded"), server.url(server.KEY, "guarded"), server.url("x", "nowhere")
    ) as air:
        await eventually(lambda: air.target(0).state == "refused", 5, "the refusal")
        await eventually(lambda: air.target(1).state == "live", 5, "the right key")
        await eventually(lambda: air.target(2).state == "refused", 5, "the other refusal")
        refused, right, nowhere = air.sink.status().targets
        assert "key" in (refused.problem or "")
        assert "application 'nowhere'" in (nowhere.problem or "")
        assert right.problem is None
        shown = repr(air.sink.status()) + caplog.text
    assert secret not in shown
    assert server.KEY not in shown
    assert "***" in shown


async def test_a_target_that_is_not_there_costs_the_other_nothing(server: RtmpServer, other_server: RtmpServer) -> None:
    async with on_air(server.url("a"), other_server.url("a")) as air:
        await eventually(lambda: "a" in other_server.publishers(), 5, "publishing")
        await asyncio.to_thread(server.kill)
        reader = await read(other_server, air, 6)
        assert air.target(0).state in ("waiting", "connecting")
        assert air.target(0).failures >= 3
        assert air.target(1).connections == 1
    assert set(reader.steps_ms("video").round()) == {40}
    assert len(reader.of("video")) > 75
