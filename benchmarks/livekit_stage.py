"""A stage in a LiveKit room that flashes, beeps and hums, in a process of its own: our playout's, or livekit-agents'.

In: ``ours`` or ``runner`` as argument; the LiveKit server by LIVEKIT_URL and its key and secret; on stdin ``flash`` for
one utterance, ``early`` for one of the control, ``hum`` for one of three seconds, ``cut`` to end it, ``tell`` for what
the playout has counted. Out, on stdout: the address of the page; then JSON lines ``{"e": "playout" | "pushed" | "cut" |
"finished", "at": …}``. Both kinds get the same renderer, the same sound and the same page.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import numpy as np
from livekit import api, rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, AvatarRunner, QueueAudioOutput, VideoGenerator

from agent.face import png
from agent.settings import load_settings
from avatar.frames import FPS, SAMPLE_RATE_HZ, TICK_MS, TICK_SAMPLES, Pcm
from avatar.playout import Finished, Playout, Started
from avatar.renderer import Shot
from avatar.resample import Decimator
from benchmarks.child import emit, told
from benchmarks.flash import BEEP_HZ, BEEP_PEAK, SIZE_PX, FlashRenderer, utterance
from benchmarks.flashing import COUNTED
from rooms.http import Guard, Service, make_app, serve
from rooms.livekit import connect
from rooms.livekit_messages import LiveKitMessages
from rooms.livekit_sink import LiveKitSink
from rooms.livekit_tracks import publish
from rooms.room import Message

HUM_S = 3.0
ROOM = "stage"


def hum() -> Pcm:
    at = np.arange(round(HUM_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.round(BEEP_PEAK * np.sin(2 * np.pi * BEEP_HZ * at)).astype(np.int16)


class Player(Protocol):
    """Either of the two."""

    async def say(self, sound: Pcm, *, early: bool) -> None: ...

    def cut(self) -> None: ...

    def counted(self) -> dict[str, int]: ...


class Ours:
    """Our playout and sink."""

    def __init__(self) -> None:
        self._renderer = FlashRenderer()
        self._playout = Playout(self._renderer, listener=self)

    async def say(self, sound: Pcm, *, early: bool) -> None:
        segment = self._playout.push(sound[:1])  # its first sample decides its number
        if early:
            self._renderer.early.add(segment)
        self._playout.push(sound[1:])
        self._playout.end()

    def cut(self) -> None:
        self._playout.clear()

    def counted(self) -> dict[str, int]:
        return {name: getattr(self._playout.stats, name) for name in COUNTED}

    def on_started(self, event: Started) -> None: ...

    def on_finished(self, event: Finished) -> None:
        emit("finished", position_s=round(event.position_s, 4), interrupted=event.interrupted)

    @asynccontextmanager
    async def playing(self, room: rtc.Room) -> AsyncIterator[None]:
        sink = LiveKitSink(SIZE_PX, SIZE_PX)
        await publish(room, sink, SIZE_PX, SIZE_PX)
        self._playout.attach(sink, primary=True)
        clock = asyncio.create_task(self._playout.run())
        try:
            yield
        finally:
            clock.cancel()
            self._playout.close()
            await sink.aclose()


class Theirs:
    """livekit-agents' runner, with all its defaults, around the same renderer."""

    def __init__(self) -> None:
        self._generator = FlashGenerator()
        self._output = QueueAudioOutput(sample_rate=SAMPLE_RATE_HZ, wait_playback_start=True)
        self._output.on(
            "playback_finished",
            lambda event: emit("finished", position_s=round(event.playback_position, 4), interrupted=event.interrupted),
        )

    async def say(self, sound: Pcm, *, early: bool) -> None:
        if early:
            self._generator.early_next()
        for start in range(0, sound.size, TICK_SAMPLES):
            part = sound[start : start + TICK_SAMPLES]
            await self._output.capture_frame(rtc.AudioFrame(part.tobytes(), SAMPLE_RATE_HZ, 1, part.size))
        self._output.flush()

    def cut(self) -> None:
        self._output.clear_buffer()

    def counted(self) -> dict[str, int]:
        return dict.fromkeys(COUNTED, 0)  # it counts nothing

    @asynccontextmanager
    async def playing(self, room: rtc.Room) -> AsyncIterator[None]:
        options = AvatarOptions(SIZE_PX, SIZE_PX, FPS, SAMPLE_RATE_HZ, 1)
        runner = AvatarRunner(room, audio_recv=self._output, video_gen=self._generator, options=options)
        await runner.start()
        try:
            yield
        finally:
            await runner.aclose()


class FlashGenerator(VideoGenerator):
    """The flash renderer behind livekit-agents' interface: each picture, then its own 40 ms of sound; pictures alone
    while there is nothing to say."""

    def __init__(self) -> None:
        self._renderer = FlashRenderer()
        self._segment = 0
        self._sound: dict[int, Pcm] = {}
        self._ended: set[int] = set()
        self._decimator = Decimator()
        self._next = 0
        """The number of the segment that is shown."""
        self._shown = 0
        """Of its pictures."""
        self._tick = 0

    def early_next(self) -> None:
        self._renderer.early.add(self._segment)

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        if isinstance(frame, AudioSegmentEnd):
            self._decimator = Decimator()
            self._renderer.end(self._segment)
            self._ended.add(self._segment)
            self._segment += 1
            return
        pcm = np.frombuffer(frame.data, np.int16)
        self._sound[self._segment] = np.concatenate([self._sound.get(self._segment, np.zeros(0, np.int16)), pcm])
        self._renderer.push(self._segment, self._decimator.push(pcm))

    def clear_buffer(self) -> None:
        self._renderer.clear(self._segment)
        self._sound.clear()
        self._ended.clear()
        self._decimator = Decimator()
        self._segment += 1
        self._next, self._shown = self._segment, 0

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        while True:
            segment, start = self._next, self._shown * TICK_SAMPLES
            sound = self._sound.get(segment, np.zeros(0, np.int16))[start : start + TICK_SAMPLES]
            if segment in self._ended and not sound.size:
                self._next, self._shown = segment + 1, 0
                yield AudioSegmentEnd()
                continue
            speaks = sound.size == TICK_SAMPLES or (segment in self._ended and sound.size > 0)
            if not speaks:
                yield self._picture(self._renderer.still)
                await asyncio.sleep(TICK_MS / 1000)
                continue
            shot = Shot(self._tick, segment, self._shown)
            try:
                picture = await self._renderer.request(shot)
            except asyncio.CancelledError:
                if self._next == segment:
                    raise
                continue  # it was cleared meanwhile
            if self._next != segment:
                continue
            self._shown += 1
            self._tick += 1
            yield self._picture(picture)
            yield rtc.AudioFrame(sound.tobytes(), SAMPLE_RATE_HZ, 1, sound.size)

    def _picture(self, picture: Any) -> rtc.VideoFrame:
        return rtc.VideoFrame(SIZE_PX, SIZE_PX, rtc.VideoBufferType.I420, picture.planes.tobytes())


def page(still: Any, url: str, key: str, secret: str) -> Service:
    """The real page, whose visitors come to the stage's room."""
    config = {
        "mode": "livekit",
        "agent": ROOM,
        "persona": {"name": "Benchmark", "language": "en", "greeting": ""},
        "ice_servers": [],
        "auth": False,
        "version": "benchmark",
        "disclosure": "This is a benchmark.",
    }

    def token(request: Mapping[str, Any]) -> dict[str, str]:
        made = api.AccessToken(key, secret).with_identity("viewer")
        jwt = made.with_grants(api.VideoGrants(room_join=True, room=ROOM)).to_jwt()
        return {"serverUrl": url, "roomName": ROOM, "participantName": "", "participantToken": jwt}

    return Service(
        config=lambda authorized: config,
        offer=None,
        health=lambda: {"status": "ok"},
        metrics=lambda: b"",
        poster=lambda: png(still),
        token=token,
        connects_to=(url, url.replace("ws", "http", 1)),
    )


@asynccontextmanager
async def joined(url: str, key: str, secret: str) -> AsyncIterator[rtc.Room]:
    """The avatar's connection, which greets whoever comes."""
    room = rtc.Room()
    token = api.AccessToken(key, secret).with_identity("avatar").with_kind("agent")
    await connect(room, url, token.with_grants(api.VideoGrants(room_join=True, room=ROOM, agent=True)).to_jwt())
    hello = {"session": ROOM, "version": "benchmark", "persona": {"name": "Benchmark"}, "parts": [], "voices": []}

    def asked(identity: str, message: Message) -> None:
        messages.to = identity
        if message["type"] == "hello":
            messages.send({"type": "hello", "voice": "", "offers": [], "history": [], **hello})
        elif "id" in message:
            messages.send({"type": "heard", "id": message["id"]})

    messages = LiveKitMessages(room, asked)
    try:
        yield room
    finally:
        await messages.aclose()
        await room.disconnect()


async def stand(kind: str) -> None:
    """Until interrupted, or until stdin ends."""
    url, key, secret = load_settings(os.environ).livekit.credentials()
    reader = await told()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    player: Ours | Theirs = Ours() if kind == "ours" else Theirs()
    service = page(FlashRenderer().still, url, key, secret)
    runner, address = await serve(make_app(service, Guard(True, None, ())), "127.0.0.1", 0)
    async with joined(url, key, secret) as room, player.playing(room):
        gc.freeze()
        print(f"{kind} at {address}", flush=True)
        obeying = asyncio.create_task(_obey(reader, player))
        await asyncio.wait([obeying, asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        obeying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await obeying
    await runner.cleanup()


async def _obey(reader: asyncio.StreamReader, player: Player) -> None:
    while line := (await reader.readline()).decode().strip():
        match line:
            case "flash" | "early":
                await player.say(utterance(), early=line == "early")
            case "hum":
                emit("pushed")
                await player.say(hum(), early=False)
            case "cut":
                player.cut()
                emit("cut")
            case "tell":
                emit("playout", **player.counted())
            case _:
                raise SystemExit(f"livekit_stage: {line!r} is none of flash, early, hum, cut, tell")


if __name__ == "__main__":
    asyncio.run(stand(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # livekit's threads must not hold the process
