"""`mien stream` as it is started: a process of its own, at a real RTMP server."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import select
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from agent.inbox.inbox import CAPACITY
from benchmarks.children import tied
from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import ROOT, RtmpServer, free_port
from tests.rtmp.air import eventually

pytestmark = [pytest.mark.rtmp, pytest.mark.timeout(180)]

ON_AIR_S = 2.0
READY_S = 60.0


@dataclass
class Command:
    process: asyncio.subprocess.Process
    log: Path
    began: float
    url: str = ""

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def asked(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def health(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.asked("health"))
        return told

    async def served(self) -> None:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        found = re.search(r"http://\S+/", line)
        assert found, f"{line!r}; see {self.log.read_text()[-2000:]}"
        self.url = found[0]

    async def ready(self) -> None:
        await eventually(lambda: self.health()["status"] != "starting", READY_S, "being ready to speak")


@contextlib.asynccontextmanager
async def streaming(folder: Path, *options: str, **environment: str) -> AsyncIterator[Command]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MIEN_", "OPENAI_", "RTMP_"))}
    log = folder / "stream.log"
    pipe = asyncio.subprocess.PIPE
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *tied(sys.executable, "-m", "agent.cli", "stream", "--port", "0", "--size", "256", *options),
            cwd=ROOT,
            env=clean | {"RTMP_RESOLUTION": "480x270", "RTMP_BITRATE": "600"} | environment,
            stdin=pipe, stdout=pipe, stderr=errors,
        )  # fmt: skip
    command = Command(process, log, time.monotonic())
    try:
        yield command
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_on_air_at_once_then_it_says_every_line_once_and_in_order(server: RtmpServer, tmp_path: Path) -> None:
    secret = "a-secret-key"
    async with streaming(tmp_path, "--rtmp", server.url(secret), "-v") as command:
        took_s = await eventually(lambda: secret in server.publishers(), 10, "being on air")
        reader = Reader(server.url(secret), decode=True).start()
        await command.served()
        await command.ready()
        assert command.health()["state"] == "idle"
        for line in ("One.", "", "Two.", "And this is three."):
            command.say(line)
        states = set()

        def all_said() -> bool:
            told = command.health()
            states.add(told["state"])
            return bool(told["queue"]["settled"]["played"] == 3)

        await eventually(all_said, 30, "saying three lines")
        await asyncio.sleep(1)
        metrics, health = command.asked("metrics"), command.asked("health")
        await asyncio.to_thread(reader.stop)
        command.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(command.process.wait(), 15) == 0
    assert took_s <= ON_AIR_S
    assert set(reader.steps_ms("video").round()) == {40}
    assert set(reader.steps_ms("audio").round()) == {21, 22}
    assert np.abs(reader.sound()[1]).max() > 0.05
    assert "talking" in states
    assert 'mien_messages_total{event="finished"} 3.0' in metrics
    assert 'mien_program_state{state="idle"} 1.0' in metrics
    assert re.search(r'mien_stream_target_state\{state="live",target="1 rtmp://\S+/live/\*\*\*"\} 1.0', metrics)
    logged = command.log.read_text()
    said = re.findall(r"talking ([0-9a-f]{32})", logged)
    assert len(said) == len(set(said)) == 3
    assert said == re.findall(r"processing ([0-9a-f]{32})", logged)
    for shown in (logged, metrics, health):
        assert secret not in shown


async def test_sigterm_lets_the_sentence_end_and_closes_the_recording(server: RtmpServer, tmp_path: Path) -> None:
    made = tmp_path / "made"
    async with streaming(tmp_path, "--rtmp", server.url("a"), "--record", str(made)) as command:
        await command.served()
        await command.ready()
        command.say("This sentence will be spoken to its very end. This one, which comes behind it, will not be.")
        await eventually(lambda: command.health()["state"] == "talking", 10, "talking")
        began = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(command.process.wait(), 15) == 0
        took_s = time.monotonic() - began
        await eventually(lambda: "a" not in server.publishers(), 2, "hanging up")
    assert 1.0 < took_s < 8.0
    (file,) = made.glob("*.mp4")
    reader = Reader(str(file), decode=True).start().finished()
    assert reader.problem is None
    # The end is silence: nothing was cut in mid-word.
    assert np.abs(reader.sound()[1][-4800:]).max() < 0.01
    assert np.abs(reader.sound()[1]).max() > 0.05


async def test_a_recording_survives_a_kill(server: RtmpServer, tmp_path: Path) -> None:
    made = tmp_path / "made"
    async with streaming(tmp_path, "--rtmp", server.url("a"), "--record", str(made)) as command:
        await eventually(lambda: "a" in server.publishers(), 10, "being on air")
        await asyncio.sleep(6)
        command.process.kill()
        await command.process.wait()
    (file,) = made.glob("*.mp4")
    reader = Reader(str(file)).start().finished()
    assert reader.problem is None
    assert set(reader.steps_ms("video").round()) == {40}
    assert reader.of("video")[-1].time_ms > 3000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "RTMP_URL"),
        (("--rtmp", "http://example.org/live/secret"), "rtmp://"),
        (("--rtmp", "rtmp://127.0.0.1:1/live/secret", "--background", "#12345"), "#rrggbb"),
        (("--rtmp", "rtmp://127.0.0.1:1/live/secret", "--background", "/nowhere.png"), "no file"),
        (
            ("--rtmp", "rtmp://127.0.0.1:1/live/secret", "--amqp", "http://me:secret@broker"),
            "amqp://user:password@host",
        ),
    ],
)
async def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    async with streaming(tmp_path, *options) as command:
        assert await asyncio.wait_for(command.process.wait(), 20) == 2
    (line,) = [line for line in command.log.read_text().splitlines() if line.startswith("mien:")]
    assert message in line
    assert "secret" not in command.log.read_text()
    assert "off air" not in command.log.read_text(), "it had gone on air before"


async def test_an_idle_clip_is_on_air_while_nothing_is_said(server: RtmpServer, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    _white_clip(clip)
    async with streaming(tmp_path, "--rtmp", server.url("a"), STATIC_VIDEO_PATH=str(clip)) as command:
        await eventually(lambda: "a" in server.publishers(), 10, "being on air")
        reader = Reader(server.url("a"), decode=True).start()
        await command.served()
        await command.ready()
        idle = len(reader.luma)
        command.say("Now the avatar is here.")
        await eventually(lambda: command.health()["queue"]["settled"]["played"] == 1, 20, "talking")
        talked = len(reader.luma)
        await asyncio.sleep(2)
        await asyncio.to_thread(reader.stop)
    luma = np.array([each for _, each in reader.luma])
    assert luma[:idle].min() > 225
    assert luma[idle:talked].min() < 180
    assert luma[-5:].min() > 225
    # It dissolves: no step between two pictures is a cut.
    assert np.abs(np.diff(luma)).max() < 0.4 * np.ptp(luma)


async def test_an_idle_clip_that_is_not_to_loop_is_shown_once_each_time(server: RtmpServer, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    _white_clip(clip)
    async with streaming(
        tmp_path, "--rtmp", server.url("a"), STATIC_VIDEO_PATH=str(clip), STATIC_VIDEO_LOOP="false"
    ) as command:
        await eventually(lambda: "a" in server.publishers(), 10, "being on air")
        await command.served()
        await command.ready()
        reader = Reader(server.url("a"), decode=True).start()
        await eventually(lambda: len(reader.luma) > 50, 20, "reading")
        idle = len(reader.luma)
        command.say("Now the avatar is here.")
        await eventually(lambda: command.health()["queue"]["settled"]["played"] == 1, 20, "talking")
        await asyncio.sleep(3)
        await asyncio.to_thread(reader.stop)
    luma = np.array([each for _, each in reader.luma])
    assert luma[:idle].max() < 180  # its second was over long before
    assert 10 <= np.count_nonzero(luma > 225) <= 25
    assert luma[-5:].max() < 180


def _white_clip(file: Path) -> None:
    import av

    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        white = np.full((270, 320), 128, np.uint8)
        white[:180] = 235
        for _ in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(white, format="yuv420p")))
        container.mux(video.encode(None))


async def test_it_says_what_is_posted_to_it(server: RtmpServer, tmp_path: Path) -> None:
    async with streaming(tmp_path, "--rtmp", server.url("a")) as command:
        await command.served()
        early = await _posted(command, "Too early, perhaps.")
        await command.ready()
        assert early[0] in (202, 503)
        status, told = await _posted(command, "This came over HTTP.")
        assert (status, told["receipt"]) == (202, "accepted")
        queue = json.loads(command.asked("api/queue"))
        assert told["id"] in [message["id"] for message in queue["messages"]]
        played = 1 + (early[0] == 202)
        await eventually(lambda: command.health()["queue"]["settled"]["played"] == played, 20, "saying it")


async def test_a_pipe_that_holds_more_than_the_inbox_loses_no_line(server: RtmpServer, tmp_path: Path) -> None:
    lines = CAPACITY + 20
    async with streaming(tmp_path, "--rtmp", server.url("a")) as command:
        await command.served()
        await command.ready()
        assert (await _posted(command, data="stop", type="control"))[0] == 200
        for number in range(lines):
            command.say(f"Line {number}.")
        await eventually(lambda: command.health()["queue"]["backlog"] == CAPACITY, 20, "a full inbox")
        await asyncio.sleep(1)
        assert command.health()["queue"]["backlog"] == CAPACITY
        assert (await _posted(command, data="clear", type="control"))[0] == 200
        await eventually(lambda: command.health()["queue"]["backlog"] == 20, 5, "the rest of the lines")
        assert f'mien_messages_total{{event="accepted"}} {lines:.1f}' in command.asked("metrics")
        command.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(command.process.wait(), 15) == 0
    assert "was not taken" not in command.log.read_text()


async def _posted(command: Command, data: str, **fields: str) -> tuple[int, dict[str, Any]]:
    body = {"type": "text", "data": data} | fields
    async with aiohttp.ClientSession() as client, client.post(f"{command.url}api/say", json=body) as answer:
        return answer.status, await answer.json()


async def test_a_log_that_nobody_reads_and_a_full_disk_hold_nothing_up(server: RtmpServer, tmp_path: Path) -> None:
    taken, given = os.pipe()
    fcntl.fcntl(given, fcntl.F_SETPIPE_SZ, 4096)
    port = free_port()
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123 - a device
        process = await asyncio.create_subprocess_exec(
            *tied(sys.executable, "-m", "agent.cli", "stream", "--verbose", "--size", "256", "--port", str(port)),
            cwd=ROOT,
            env=os.environ | {"RTMP_URL": server.url("a"), "RTMP_RESOLUTION": "480x270", "RTMP_BITRATE": "600"},
            stdin=asyncio.subprocess.PIPE, stdout=full, stderr=given,
        )  # fmt: skip
    command = Command(process, tmp_path, time.monotonic(), f"http://127.0.0.1:{port}/")

    def served() -> bool:
        with contextlib.suppress(OSError):
            return bool(command.health())
        return False

    try:
        await eventually(served, READY_S, "serving")
        await command.ready()
        command.say("Nobody reads what I log, and I say this all the same.")
        await eventually(lambda: command.health()["queue"]["settled"]["played"] == 1, 30, "speaking")
        assert "a" in server.publishers()
        assert select.select([], [given], [], 0)[1] == [], "the log still fits its pipe: the test shows nothing"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(taken)
        os.close(given)
