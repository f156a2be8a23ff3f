"""A LiveKit agent as somebody else writes it, in a file of the usual name: all that it knows of Mien are three lines.

What is written to it on `lk.chat` it says; `/stop`, `/pause`, `/resume` and `/leave` it does; of
`/brief SECONDS TEXT` it says the text, and stops after so long; from `/slow SECONDS` on a stream takes so long to begin
as it may where the machine is busy. On standard output: one JSON object a line for what its session told it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import struct
from typing import Any

from livekit import rtc
from livekit.agents import (
    NOT_GIVEN,
    Agent,
    AgentServer,
    AgentSession,
    APIConnectOptions,
    JobContext,
    JobExecutorType,
    cli,
    room_io,
    tts,
)
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.plugins import mien

RATE_HZ = 24_000
CHARACTER_S = 0.05


def tell(event: str, **more: object) -> None:
    print(json.dumps({"event": event} | more), flush=True)


class Hum(tts.TTS[str]):
    """Hums for 50 ms a character, louder and softer four times a second."""

    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE_HZ, num_channels=1)

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Humming(tts=self, input_text=text, conn_options=conn_options)


class _Humming(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(request_id="hum", sample_rate=RATE_HZ, num_channels=1, mime_type="audio/pcm")
        for block in range(math.ceil(len(self.input_text) * CHARACTER_S / 0.1)):
            times = [(block * RATE_HZ // 10 + sample) / RATE_HZ for sample in range(RATE_HZ // 10)]
            swell = [6000 * (1.2 - math.cos(8 * math.pi * at)) for at in times]
            hum = (round(loud * math.sin(2 * math.pi * 180 * at)) for loud, at in zip(swell, times, strict=True))
            output_emitter.push(struct.pack(f"<{len(times)}h", *hum))
        output_emitter.flush()


server = AgentServer(job_executor_type=JobExecutorType.THREAD, port=0, num_idle_processes=1, load_fnc=lambda: 0.0)


@server.rtc_session(agent_name=os.environ["PLAIN_AGENT"])
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(tts=Hum(), vad=NOT_GIVEN, turn_handling={"turn_detection": "manual"})

    def said(session: AgentSession[None], event: room_io.TextInputEvent) -> None:
        audio = session.output.audio
        assert audio is not None
        match event.text:
            case "/stop":
                session.interrupt()
            case "/pause":
                audio.pause()
            case "/resume":
                audio.resume()
            case "/leave":
                ctx.shutdown("asked to")
            case text if text.startswith("/brief "):
                _, after_s, text = text.split(" ", 2)
                session.say(text)
                asyncio.get_running_loop().call_later(float(after_s), cut)
            case text if text.startswith("/slow "):
                slow(float(text.removeprefix("/slow ")))
            case text:
                session.say(text)

    def cut() -> None:
        session.interrupt()
        tell("cut", room=room)

    def slow(late_s: float) -> None:
        begin = ctx.room.local_participant.stream_bytes

        async def begin_late(*args: Any, **options: Any) -> rtc.ByteStreamWriter:
            await asyncio.sleep(late_s)
            return await begin(*args, **options)

        ctx.room.local_participant.stream_bytes = begin_late  # type: ignore[method-assign]
        tell("slow", room=room)

    avatar = mien.AvatarSession(**json.loads(ctx.job.metadata or "{}"))
    await avatar.start(session, room=ctx.room)
    options = room_io.RoomOptions(audio_input=False, text_input=room_io.TextInputOptions(text_input_cb=said))
    await session.start(Agent(instructions=""), room=ctx.room, room_options=options)
    assert session.output.audio is not None
    room = ctx.room.name
    session.output.audio.on("playback_started", lambda event: tell("started", room=room))
    session.output.audio.on(
        "playback_finished",
        lambda event: tell("finished", room=room, position_s=event.playback_position, interrupted=event.interrupted),
    )
    session.on("conversation_item_added", lambda event: tell("item", room=room, text=event.item.text_content))
    await avatar.wait_for_join(timeout=60)
    tell("ready", room=room, can_pause=session.output.audio.can_pause)


@server.on("worker_registered")
def registered(*_: object) -> None:
    tell("registered", room="")


if __name__ == "__main__":
    cli.run_app(server)
