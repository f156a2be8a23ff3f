"""One reply on its way through the conversation's TTS: its text in, as it streams; sound and timed words out, in order.

Pieces are begun ahead of the one that is handed on. What breaks off is gone on with by the next provider.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectOptions, tts, utils
from livekit.agents.types import TimedString

from agent.speech.captions import Captions, Pace
from agent.speech.rendering import ProviderFailed, Rendering
from agent.speech.sentences import Piece, SentenceCutter
from agent.speech.shaping import silence
from avatar.frames import SAMPLE_RATE_HZ, Pcm

if TYPE_CHECKING:
    from agent.speech.chain import ChainTTS

AHEAD = 1
"""Sentences synthesized ahead of the one that is handed on."""
FADE_MS = 8


class Reply(tts.SynthesizeStream):
    """One reply: cuts the text, renders pieces ahead, hands them on in order."""

    def __init__(self, chain: ChainTTS, conn_options: APIConnectOptions) -> None:
        self._chain = chain
        super().__init__(tts=chain, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("reply_"),
            sample_rate=SAMPLE_RATE_HZ,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        output_emitter.start_segment(segment_id=utils.shortuuid())
        begun: asyncio.Queue[Rendering | str | None] = asyncio.Queue()
        places = asyncio.Semaphore(1 + AHEAD)
        out = _Out(output_emitter)
        tasks = (
            asyncio.create_task(self._begin(begun, places, out)),
            asyncio.create_task(self._hand_on(begun, places, out)),
        )
        try:
            await asyncio.gather(*tasks)
        finally:
            await utils.aio.cancel_and_wait(*tasks)
            while not begun.empty():
                if isinstance(left := begun.get_nowait(), Rendering):
                    await left.aclose()

    async def _begin(self, begun: asyncio.Queue[Rendering | str | None], places: asyncio.Semaphore, out: _Out) -> None:
        """Cut the text as it comes and begin to speak its pieces, at most AHEAD before they are wanted."""
        cutter = SentenceCutter()
        first = True

        async def begin(piece: Piece) -> None:
            nonlocal first
            if not piece.speakable:
                begun.put_nowait(piece.text)
                return
            await places.acquire()
            while (early_s := out.unheard_s - self._chain.ahead_s) > 0:  # noqa: ASYNC110 - it waits for the clock
                await asyncio.sleep(early_s)
            self._mark_started()
            begun.put_nowait(self._chain.render(piece, first=first))
            first = False

        async for text in self._input_ch:
            if isinstance(text, str):
                for piece in cutter.push(text):
                    await begin(piece)
        for piece in cutter.end():
            await begin(piece)
        begun.put_nowait(None)

    async def _hand_on(
        self, begun: asyncio.Queue[Rendering | str | None], places: asyncio.Semaphore, out: _Out
    ) -> None:
        while (next_up := await begun.get()) is not None:
            if isinstance(next_up, str):
                out.write(next_up)
                continue
            await self._speak(next_up, out)
            places.release()
        out.end()

    async def _speak(self, rendering: Rendering, out: _Out) -> None:
        """Hand on one piece to its end, by as many providers as it takes."""
        piece = rendering.piece
        if rendering.voice != self._chain.voice:
            # The voice was changed, or its provider replaced, after this was begun and before any of it was heard.
            await rendering.aclose()
            rendering = self._chain.render(piece, first=out.empty)
        while True:
            try:
                await out.take(rendering, self._chain.pace(rendering.voice))
                return
            except ProviderFailed as error:
                self._chain.replace(rendering.voice, error)
            finally:
                await rendering.aclose()
            piece = Piece(out.broken_off(), piece.ends_sentence)
            if not piece.speakable:
                out.write(piece.text)
                return
            rendering = self._chain.render(piece, first=out.empty)


class _Out:
    """The reply's time line: sound and words, in order, into livekit's emitter."""

    def __init__(self, emitter: tts.AudioEmitter) -> None:
        self._emitter = emitter
        self._pushed = 0
        self._began_s = 0.0
        self._pause_owed_ms = 0.0
        self._captions: Captions | None = None
        self._last = 0

    @property
    def empty(self) -> bool:
        return self._pushed == 0

    @property
    def unheard_s(self) -> float:
        """How much more was handed on than a listener can have heard since it began."""
        return self._pushed / SAMPLE_RATE_HZ - (asyncio.get_running_loop().time() - self._began_s)

    async def take(self, rendering: Rendering, pace: Pace) -> None:
        """Hand on a piece's sound and words.

        Raises:
            ProviderFailed: the rest of it does not come; ``broken_off`` says what is missing.
        """
        self._captions = captions = Captions(rendering.piece.text, pace, timed=rendering.timed)
        base = -1
        async with aclosing(rendering.sounds()) as sounds:
            async for sound in sounds:
                captions.told(sound.words)
                if not sound.pcm.size:
                    continue
                if base < 0:
                    self._push(silence(self._pause_owed_ms))
                    self._pause_owed_ms = 0.0
                    base = self._pushed
                    captions.begin(base / SAMPLE_RATE_HZ, rendering.cut_s)
                self._push(sound.pcm)
                self._tell(captions.over((self._pushed - base) / SAMPLE_RATE_HZ))
        self._tell(captions.finish((self._pushed - base) / SAMPLE_RATE_HZ))
        self._pause_owed_ms = rendering.pause_owed_ms

    def broken_off(self) -> str:
        """What of the piece taken last was not heard to the end of a word; the sound so far is faded out."""
        if self._last:
            steps = FADE_MS * SAMPLE_RATE_HZ // 1000
            self._push((self._last * np.linspace(1, 0, steps)).astype(np.int16))
        return self._captions.rest if self._captions is not None else ""

    def write(self, text: str) -> None:
        """Text that is not spoken: it belongs to the captions all the same."""
        now_s = self._pushed / SAMPLE_RATE_HZ
        self._tell([TimedString(text, start_time=now_s, end_time=now_s)])

    def end(self) -> None:
        if self.empty:  # nothing of the reply could be spoken; livekit takes a reply without any sound for an error
            self._push(silence(100))

    def _push(self, pcm: Pcm) -> None:
        if pcm.size:
            if self.empty:
                self._began_s = asyncio.get_running_loop().time()
            self._pushed += pcm.size
            self._last = int(pcm[-1])
            self._emitter.push_frame(rtc.AudioFrame(pcm.tobytes(), SAMPLE_RATE_HZ, 1, pcm.size))

    def _tell(self, words: list[TimedString]) -> None:
        if words:
            self._emitter.push_timed_transcript(words)
