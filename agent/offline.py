"""Videos without a conversation: `mien render` (a recording speaks) and `mien say` (a text speaks).

In: speech, and the settings. Out: an MP4 file. The same renderer and the same playout as live pair picture and sound;
only the clock is not the wall's: a tick is released as soon as its picture is there and the file has room for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from agent.face import choose_face
from agent.persona import Persona, load_persona
from agent.settings import Settings
from agent.speechfile import read_speech, speech_duration_s
from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, MienError, Pcm
from avatar.playout import Playout
from avatar.renderer import Expression, Renderer
from rooms.mp4 import Provenance
from rooms.recording import RecordingSink

if TYPE_CHECKING:
    from agent.speech.chain import ChainTTS

log = logging.getLogger(__name__)

LEAD_IN_TICKS = 5
"""0.2 s of the idle face before the speech begins."""
TAIL_OUT_TICKS = 15
"""0.6 s after it: the mouth eases shut."""
AHEAD_S = 2.0
"""How much speech the playout is given before a tick is released: more than any renderer's lookahead, so that speech
that comes slowly never leaves a gap."""


class OfflineError(MienError):
    """There was nothing to make a video of."""


async def render_recording(speech: Path, out: Path, settings: Settings, *, version: str) -> None:
    """Make a video of the avatar speaking a sound file.

    Raises:
        MienError: the file, the persona or the output cannot be used; no video is left behind.
    """
    duration_s = await asyncio.to_thread(speech_duration_s, speech)
    await _render(_decoded(speech), duration_s, out, settings, load_persona(settings.avatar.persona), version)


async def render_text(text: str, out: Path, settings: Settings, *, version: str) -> None:
    """Make a video of the avatar saying a text, with the voice that the settings choose.

    Raises:
        MienError: nothing can be spoken, or the persona or the output cannot be used; no video is left behind.
    """
    if not text.strip():
        raise OfflineError("there is nothing to say: the text is empty")
    persona = load_persona(settings.avatar.persona)
    # livekit-agents takes seconds to load, and a recording is rendered without it.
    from agent.models import Local, choose_models

    local = Local(settings)
    models = choose_models(settings, persona, consented=set(), local=local)
    try:
        await _render(_synthesized(models.tts, text), None, out, settings, persona, version)
    finally:
        await models.aclose()
        await local.aclose()


async def _synthesized(speaker: ChainTTS, text: str) -> AsyncGenerator[Pcm]:
    """The text's sound as it is made, at 48 kHz."""
    from livekit.agents import APIError

    try:
        async with speaker.synthesize(text) as sentences:
            async for spoken in sentences:
                yield np.frombuffer(spoken.frame.data, np.int16)
    except APIError as error:
        raise OfflineError(f"the text could not be spoken: {error}") from error


async def _render(
    speech: AsyncGenerator[Pcm],
    speech_s: float | None,
    out: Path,
    settings: Settings,
    persona: Persona,
    version: str,
) -> None:
    """The face of the settings, on a renderer of its own, for one video."""
    async with aclosing(speech):
        face = choose_face(settings.avatar, persona)
        if settings.avatar.backend == "musetalk" != face.backend:
            print(f"The face is the {face.backend}: {face.why}", file=sys.stderr)
        renderer = await asyncio.to_thread(face.make, patient=True)
        around_s = (LEAD_IN_TICKS + TAIL_OUT_TICKS) * TICK_MS / 1000
        progress = Progress(out, None if speech_s is None else speech_s + around_s, sys.stderr)
        try:
            await render_file(renderer, speech, out, Provenance(version, persona.name, renderer.name), progress)
        except BaseException:
            progress.failed()
            raise
        finally:
            await renderer.aclose()
        progress.done()


async def _decoded(path: Path) -> AsyncGenerator[Pcm]:
    """The file's sound, decoded beside the event loop, about a second at a time."""
    pieces = read_speech(path)
    while (pcm := await asyncio.to_thread(_next_second, pieces)).size:
        yield pcm


def _next_second(pieces: Iterator[Pcm]) -> Pcm:
    """Join pieces to at least a second; empty at the end."""
    joined, samples = [np.zeros(0, np.int16)], 0
    while samples < SAMPLE_RATE_HZ and (piece := next(pieces, None)) is not None:
        joined.append(piece)
        samples += piece.size
    return np.concatenate(joined)


async def render_file(
    renderer: Renderer, speech: AsyncIterable[Pcm], out: Path, provenance: Provenance, progress: Progress
) -> None:
    """Let the renderer speak and write what is seen and heard to ``out``, faster than real time where it can.

    Args:
        speech: int16 [any length] at 48 kHz.

    Raises:
        OfflineError: the speech is empty.
        SinkClosed, RecordingError: the file cannot be written.
    """
    sink = RecordingSink(out, renderer.width, renderer.height, provenance, fragmented=False)
    # The playout's clock is the media time: its deadlines are then the same in every run, on every machine.
    playout = Playout(renderer, clock=lambda: playout.tick * TICK_MS / 1000)
    playout.attach(sink, primary=True)

    async def step(ticks: int = 1) -> None:
        for _ in range(ticks):
            await sink.ready()
            await playout.ready()
            playout.advance()
            progress.show(playout.tick * TICK_MS / 1000)

    try:
        await step(LEAD_IN_TICKS)
        empty = True
        playout.express(Expression.SPEAKING)
        async for pcm in speech:
            if pcm.size:
                empty = False
                playout.push(pcm)
            while playout.ahead_s > AHEAD_S:
                await step()
        if empty:
            raise OfflineError(f"there is no speech to make {out} of: the sound is empty")
        playout.end()
        while playout.ahead_s > 0:
            await step()
        playout.express(Expression.IDLE)
        await step(TAIL_OUT_TICKS)
        playout.detach(sink)
        await sink.aclose()
    except BaseException:
        await sink.discard()
        raise
    finally:
        playout.close()
    if playout.stats.late or playout.stats.renderer_errors:
        log.warning(
            "%s: %d pictures were not there in time, %d failed",
            out,
            playout.stats.late,
            playout.stats.renderer_errors,
        )


class Progress:
    """How far a video is, on a terminal; elsewhere one line when it is done.

    Args:
        duration_s: of the whole video, where it is known.
    """

    WIDTH = 30
    EVERY_S = 0.1

    def __init__(self, out: Path, duration_s: float | None, stream: TextIO) -> None:
        self._out = out
        self._duration_s = duration_s
        self._stream = stream
        self._live = stream.isatty()
        self._began = time.monotonic()
        self._shown = 0.0
        self._made_s = 0.0

    def show(self, made_s: float) -> None:
        """``made_s`` seconds of the video have been made."""
        self._made_s = made_s
        now = time.monotonic()
        if not self._live or now - self._shown < self.EVERY_S:
            return
        self._shown = now
        bar = ""
        if self._duration_s:
            done = min(1.0, made_s / self._duration_s)
            filled = round(done * self.WIDTH)
            bar = f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {done:4.0%}  "
        self._stream.write(f"\r{bar}{made_s:.1f} s, {self._speed():.1f} times real time\x1b[K")
        self._stream.flush()

    def done(self) -> None:
        """Say what was made."""
        start = "\r\x1b[K" if self._live else ""
        self._stream.write(f"{start}{self._out}: {self._made_s:.1f} s, made at {self._speed():.1f} times real time\n")

    def failed(self) -> None:
        """Leave the terminal's line to the error message."""
        if self._live:
            self._stream.write("\r\x1b[K")

    def _speed(self) -> float:
        return self._made_s / max(1e-3, time.monotonic() - self._began)
