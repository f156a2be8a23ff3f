"""`mien stream` when the disk of its recording is full: a file system of a few hundred kilobytes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer
from tests.disks import small_disk
from tests.rtmp.air import eventually
from tests.rtmp.test_command import streaming

pytestmark = [pytest.mark.rtmp, pytest.mark.timeout(180)]


async def test_the_recording_ends_with_its_reason_and_the_stream_speaks_on(server: RtmpServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 300) as disk:
        async with streaming(tmp_path, "--rtmp", server.url("a"), "--record", str(disk)) as command:
            await eventually(lambda: "a" in server.publishers(), 10, "being on air")
            reader = Reader(server.url("a"), decode=True, pictures=False).start()
            await command.served()
            await command.ready()
            await eventually(lambda: command.health()["recording"]["state"] == "failed", 60, "the end of the disk")
            told = command.health()
            assert told["status"] == "degraded"
            assert "No space left on device; what was written" in told["recording"]["problem"]
            assert "mien_stream_recording 0.0" in command.asked("metrics")
            command.say("The disk is full, and I am still here.")
            await eventually(lambda: command.health()["queue"]["settled"]["played"] == 1, 20, "speaking on")
            assert [target["state"] for target in command.health()["targets"]] == ["live"]
            await asyncio.to_thread(reader.stop)
            command.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(command.process.wait(), 15) == 0
        (file,) = disk.glob("*.mp4")
        recorded = Reader(str(file)).start().finished()
        assert recorded.problem is None
        assert len(recorded.of("video")) > 25
    assert set(reader.steps_ms("video").round()) == {40}
    assert set(recorded.steps_ms("video").round()) == {40}
    assert command.log.read_text().count("No space left") == 1
