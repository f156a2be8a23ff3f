"""RecordingSink: sound and picture in step, the file's origin written in it, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import av.error
import numpy as np
import pytest

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, Frame, Pcm, Picture, SinkClosed
from avatar.playout import Playout
from rooms.mp4 import Provenance
from rooms.recording import MAX_PICTURES, RecordingError, RecordingSink
from tests.doubles.mp4 import Played, play
from tests.doubles.renderers import ScriptedRenderer

pytestmark = pytest.mark.media

ORIGIN = Provenance("1.2.3", "Ada", "puppet")
SIDE_PX = 32
DARK = Picture(np.full((SIDE_PX * 3 // 2, SIDE_PX), 60, np.uint8))
BRIGHT = Picture(np.full((SIDE_PX * 3 // 2, SIDE_PX), 220, np.uint8))
SILENCE: Pcm = np.zeros(TICK_SAMPLES, np.int16)
BEEP: Pcm = (20_000 * np.sin(2 * np.pi * 1000 * np.arange(TICK_SAMPLES) / SAMPLE_RATE_HZ)).astype(np.int16)


def flash_and_beep(tick: int, every: int) -> Frame:
    on = tick % every == every // 2
    return Frame(tick, 0, BRIGHT if on else DARK, BEEP if on else SILENCE)


async def record(sink: RecordingSink, frames: list[Frame]) -> None:
    for frame in frames:
        await sink.ready()
        sink.put(frame)
    await sink.aclose()


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def offsets_ms(played: Played) -> tuple[np.ndarray, np.ndarray]:
    """For each flash: its time, and how much later its beep begins."""
    flashes_ms = played.picture_times_ms[played.luma > 140]
    loud = np.flatnonzero(np.abs(played.sound) > 0.3)
    begins = loud[np.flatnonzero(np.diff(loud, prepend=-SAMPLE_RATE_HZ) > SAMPLE_RATE_HZ // 10)]
    beeps_ms = begins * 1000 / SAMPLE_RATE_HZ
    assert len(flashes_ms) == len(beeps_ms)
    return flashes_ms, beeps_ms - flashes_ms


@pytest.mark.parametrize("fragmented", [False, True], ids=["one-index", "fragmented"])
async def test_sound_and_picture_stay_in_step_for_ten_minutes(tmp_path: Path, fragmented: bool) -> None:
    out = tmp_path / "flashes.mp4"
    sink = RecordingSink(out, SIDE_PX, SIDE_PX, ORIGIN, fragmented=fragmented)
    ticks = 10 * 60 * 25
    await record(sink, [flash_and_beep(tick, 50) for tick in range(7, 7 + ticks)])
    played = play(out)
    assert len(played.picture_times_ms) == ticks
    assert played.picture_times_ms[0] == 0
    assert np.diff(played.picture_times_ms) == pytest.approx(40.0, abs=1e-6)
    times_ms, late_ms = offsets_ms(played)
    assert len(times_ms) == ticks // 50
    assert np.abs(late_ms).max() <= 5
    slope_ms_per_minute = np.polyfit(times_ms / 60_000, late_ms, 1)[0]
    assert abs(slope_ms_per_minute) < 0.05


async def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "said.mp4"
    await record(
        RecordingSink(out, SIDE_PX, SIDE_PX, ORIGIN, fragmented=False), [flash_and_beep(k, 10) for k in range(30)]
    )
    with av.open(str(out)) as container:
        machine = json.loads(container.metadata["description"])
        assert machine["generator"] == "Mien 1.2.3"
        assert machine["ai_generated"] is True
        assert machine["persona"] == "Ada"
        assert "AI-generated" in container.metadata["comment"]
        video = container.streams.video[0].codec_context
        assert (video.name, video.pix_fmt) == ("h264", "yuv420p")
        # BT.601, limited range, in the numbers of ITU-T H.273.
        assert (video.colorspace, video.color_primaries, video.color_trc, video.color_range) == (6, 6, 6, 1)
        audio = container.streams.audio[0].codec_context
        assert (audio.name, audio.sample_rate, audio.layout.nb_channels) == ("aac", SAMPLE_RATE_HZ, 1)


async def test_brightness_and_colour_survive(tmp_path: Path) -> None:
    out = tmp_path / "colour.mp4"
    planes = np.empty((SIDE_PX * 3 // 2, SIDE_PX), np.uint8)
    planes[:SIDE_PX], planes[SIDE_PX : SIDE_PX * 5 // 4], planes[SIDE_PX * 5 // 4 :] = 90, 100, 180
    frames = [Frame(k, 0, Picture(planes), SILENCE) for k in range(5)]
    await record(RecordingSink(out, SIDE_PX, SIDE_PX, ORIGIN, fragmented=False), frames)
    with av.open(str(out)) as container:
        decoded = next(container.decode(video=0)).to_ndarray()
    assert np.abs(decoded.astype(int) - planes).max() <= 3


async def test_the_name_appears_when_the_file_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "talk.mp4"
    out.write_bytes(b"an older recording")
    sink = RecordingSink(out, SIDE_PX, SIDE_PX, ORIGIN, fragmented=False)
    for tick in range(30):
        await sink.ready()
        sink.put(flash_and_beep(tick, 10))
    assert out.read_bytes() == b"an older recording"
    await sink.aclose()
    assert len(play(out).luma) == 30
    assert names_in(tmp_path) == ["talk.mp4"]


async def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    sink = RecordingSink(tmp_path / "nothing.mp4", SIDE_PX, SIDE_PX, ORIGIN, fragmented=True)
    await sink.aclose()
    assert names_in(tmp_path) == []


async def test_a_discarded_recording_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    out = tmp_path / "kept.mp4"
    out.write_bytes(b"an older recording")
    sink = RecordingSink(out, SIDE_PX, SIDE_PX, ORIGIN, fragmented=False)
    for tick in range(20):
        sink.put(flash_and_beep(tick, 10))
    await sink.discard()
    await sink.aclose()
    assert names_in(tmp_path) == ["kept.mp4"]
    assert out.read_bytes() == b"an older recording"


async def test_a_late_encoder_costs_pictures_and_then_sound_but_nothing_moves(tmp_path: Path) -> None:
    out = tmp_path / "late.mp4"
    side_px = 1024
    dark = Picture(np.full((side_px * 3 // 2, side_px), 60, np.uint8))
    bright = Picture(np.full((side_px * 3 // 2, side_px), 220, np.uint8))
    sink = RecordingSink(out, side_px, side_px, ORIGIN, fragmented=False)
    burst = 3 * MAX_PICTURES
    for tick in range(burst):
        beep = tick == burst - 10
        sink.put(Frame(tick, 0, bright if beep else dark, BEEP if beep else SILENCE))
    while sink.pictures_dropped and tick < 4 * burst:
        # With room again, pictures come again, in their places.
        tick += 1
        await sink.ready()
        sink.put(Frame(tick, 0, bright if tick == 3 * burst else dark, BEEP if tick == 3 * burst else SILENCE))
    await sink.aclose()
    assert sink.pictures_dropped > 0
    assert sink.ticks_dropped == 0
    played = play(out)
    assert len(played.luma) == tick + 1 - sink.pictures_dropped
    loud = np.flatnonzero(np.abs(played.sound) > 0.3) / TICK_SAMPLES
    assert loud[0] == pytest.approx(burst - 10, abs=0.1)
    assert loud[-1] == pytest.approx(3 * burst + 1, abs=0.1)
    assert played.picture_times_ms[played.luma > 140][-1] == 3 * burst * 40


async def test_waiting_for_room_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "all.mp4"
    side_px = 512
    picture = Picture(np.random.default_rng(1).integers(16, 235, (side_px * 3 // 2, side_px), np.uint8))
    sink = RecordingSink(out, side_px, side_px, ORIGIN, fragmented=False)
    await record(sink, [Frame(tick, 0, picture, SILENCE) for tick in range(4 * MAX_PICTURES)])
    assert (sink.pictures_dropped, sink.ticks_dropped) == (0, 0)
    assert len(play(out).luma) == 4 * MAX_PICTURES


async def test_a_picture_of_another_size_ends_it(tmp_path: Path) -> None:
    sink = RecordingSink(tmp_path / "size.mp4", SIDE_PX, SIDE_PX, ORIGIN, fragmented=False)
    sink.put(Frame(0, 0, DARK, SILENCE))
    with pytest.raises(SinkClosed, match="32x32 px and was given one of 64x64"):
        sink.put(Frame(1, 0, Picture(np.zeros((96, 64), np.uint8)), SILENCE))
    await sink.aclose()


async def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there is no folder"):
        RecordingSink(tmp_path / "nowhere" / "x.mp4", SIDE_PX, SIDE_PX, ORIGIN, fragmented=False)
    with pytest.raises(RecordingError, match="it is a folder"):
        RecordingSink(tmp_path, SIDE_PX, SIDE_PX, ORIGIN, fragmented=False)


async def test_an_interruption_fades_out_in_the_file_and_the_next_words_keep_their_place(tmp_path: Path) -> None:
    out = tmp_path / "cut.mp4"
    renderer = ScriptedRenderer()
    sink = RecordingSink(out, renderer.width, renderer.height, ORIGIN, fragmented=False)
    playout = Playout(renderer, clock=lambda: playout.tick * 0.04)
    playout.attach(sink, primary=True)

    async def step(ticks: int) -> None:
        for _ in range(ticks):
            await sink.ready()
            await playout.ready()
            playout.advance()

    # A cosine of whole periods a tick: wherever a tick is cut off, it is at its peak.
    cosine = (12_000 * np.cos(2 * np.pi * 300 * np.arange(SAMPLE_RATE_HZ * 2) / SAMPLE_RATE_HZ)).astype(np.int16)
    playout.push(cosine)
    await step(20)
    playout.clear()
    await step(10)
    began = playout.tick
    playout.push(BEEP)
    playout.end()
    await step(10)
    playout.detach(sink)
    await sink.aclose()
    playout.close()

    sound = play(out).sound
    # The tick that was held is where the fade is: nothing of it was counted as sent.
    cut = 19 * TICK_SAMPLES
    around = np.abs(np.diff(sound[cut - TICK_SAMPLES : cut + 2 * TICK_SAMPLES]))
    assert around.max() < 0.03  # the cosine's own steps reach 0.0145; a cut at its peak would be one of 0.37
    assert np.abs(sound[cut + 1440 : (began - 1) * TICK_SAMPLES]).max() < 0.01
    loud = np.flatnonzero(np.abs(sound[30 * TICK_SAMPLES :]) > 0.3) + 30 * TICK_SAMPLES
    assert loud[0] / TICK_SAMPLES == pytest.approx(began, abs=0.05)


CHILD = """
    import asyncio, resource, sys
    from pathlib import Path
    import numpy as np
    from avatar.frames import Frame, Picture, SinkClosed
    from rooms.mp4 import Provenance
    from rooms.recording import RecordingSink

    noise = np.random.default_rng(0)
    silence = np.zeros(1920, np.int16)

    async def main(out, fragmented, limit):
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sink = RecordingSink(Path(out), 64, 64, Provenance("0", "Test", "test"), fragmented=fragmented)
        tick = 0
        try:
            while True:
                await sink.ready()
                planes = noise.integers(16, 235, (96, 64), np.uint8)
                sink.put(Frame(tick, 0, Picture(planes), silence))
                tick += 1
                print(tick, flush=True)
                if not limit:
                    await asyncio.sleep(0.002)
        except SinkClosed as error:
            print("CLOSED", error, flush=True)
            await sink.aclose()

    asyncio.run(main(sys.argv[1], sys.argv[2] == "fragmented", int(sys.argv[3])))
"""


def child(out: Path, kind: str, limit_bytes: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", textwrap.dedent(CHILD), str(out), kind, str(limit_bytes)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_a_fragmented_file_survives_a_kill(tmp_path: Path) -> None:
    out = tmp_path / "killed.mp4"
    with child(out, "fragmented", 0) as process:
        assert process.stdout is not None
        put = 0
        while put < 300:
            put = int(process.stdout.readline())
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    played = play(out.with_name("killed.mp4.partial"))
    # Up to one keyframe interval, the encoder's own lookahead and what waited is lost.
    assert len(played.luma) >= 200
    assert np.diff(played.picture_times_ms) == pytest.approx(40.0, abs=1e-6)


def pictures_before_the_cut(path: Path) -> int:
    """How many pictures a player gets to see of a file that ends in the middle of one."""
    count = 0
    with av.open(str(path), format="mp4") as container, contextlib.suppress(av.error.InvalidDataError):
        for _ in container.decode(video=0):
            count += 1
    return count


@pytest.mark.parametrize("kind", ["fragmented", "one-index"])
def test_a_full_disk_ends_it_with_the_reason(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "full.mp4"
    with child(out, kind, 200_000) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    last = said.splitlines()[-1]
    assert last.startswith("CLOSED recording to ")
    assert "File too large" in last
    assert not out.exists()
    if kind == "fragmented":
        assert pictures_before_the_cut(out.with_name("full.mp4.partial")) >= 25
    else:
        assert list(tmp_path.iterdir()) == []


async def test_writing_is_finished_while_the_loop_runs_on(tmp_path: Path) -> None:
    """Closing waits for the encoder without holding up the event loop."""
    side_px = 1024
    picture = Picture(np.random.default_rng(1).integers(16, 235, (side_px * 3 // 2, side_px), np.uint8))
    sink = RecordingSink(tmp_path / "x.mp4", side_px, side_px, ORIGIN, fragmented=False)
    for tick in range(MAX_PICTURES):
        sink.put(Frame(tick, 0, picture, SILENCE))
    closing = asyncio.ensure_future(sink.aclose())
    loop, longest_s, turns = asyncio.get_running_loop(), 0.0, 0
    while not closing.done():
        began = loop.time()
        await asyncio.sleep(0.001)
        longest_s = max(longest_s, loop.time() - began)
        turns += 1
    await closing
    assert turns > 10
    assert longest_s < 0.2
