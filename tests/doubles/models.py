"""A conversation's parts that cost nothing and say who they are: a tone for a voice, an echo for a mind."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from livekit.agents import APIConnectOptions, inference, llm, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from agent.models import Local, Models
from agent.settings import Settings
from agent.speech.chain import ChainTTS, Provider
from agent.thinking import SpokenFailures
from avatar.frames import SAMPLE_RATE_HZ, Pcm

WORD_S = 0.25


def tone(seconds: float, hz: float) -> Pcm:
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (9000 * np.sin(2 * np.pi * hz * at)).astype(np.int16)


class ToneTTS(tts.TTS[str]):
    """A quarter of a second of one pitch for each word."""

    def __init__(self, hz: float) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=SAMPLE_RATE_HZ, num_channels=1)
        self.hz = hz

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Tone(tts=self, input_text=text, conn_options=conn_options)


class _Tone(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        assert isinstance(self._tts, ToneTTS)
        output_emitter.initialize(request_id="tone", sample_rate=SAMPLE_RATE_HZ, num_channels=1, mime_type="audio/pcm")
        output_emitter.push(tone(WORD_S * len(self.input_text.split()), self._tts.hz).tobytes())


class EchoLLM(llm.LLM[Any]):
    """Answers ``NAME heard: `` and what was said last, a word every few milliseconds."""

    def __init__(self, name: str, *, word_s: float = 0.005) -> None:
        super().__init__()
        self.name = name
        self.word_s = word_s
        self.asked = 0
        self.cancelled = 0

    def chat(self, *, chat_ctx: llm.ChatContext, **options: Any) -> llm.LLMStream:
        return _Echo(self, chat_ctx=chat_ctx, tools=[], conn_options=DEFAULT_API_CONNECT_OPTIONS)


class _Echo(llm.LLMStream):
    async def _run(self) -> None:
        model = self._llm
        assert isinstance(model, EchoLLM)
        model.asked += 1
        said = [item.text_content or "" for item in self._chat_ctx.items if isinstance(item, llm.ChatMessage)]
        try:
            for number, word in enumerate(f"{model.name} heard: {said[-1]}".split()):
                await asyncio.sleep(model.word_s)
                text = word if number == 0 else f" {word}"
                self._event_ch.send_nowait(
                    llm.ChatChunk(id="echo", delta=llm.ChoiceDelta(role="assistant", content=text))
                )
        except asyncio.CancelledError:
            model.cancelled += 1
            raise


def echo_models(name: str, hz: float, *, word_s: float = 0.005) -> Models:
    """No microphone is listened to; ``name`` answers what is typed, in a voice of this pitch."""
    provider = Provider("tone", False, str(hz), lambda voice: ToneTTS(float(voice)))
    return Models(
        stt=None,
        llm=SpokenFailures(EchoLLM(name, word_s=word_s)),
        tts=ChainTTS([provider], f"tone:{hz}"),
        vad=inference.VAD(model="silero"),
        turn_detection="vad",
        why={"llm": "test", "tts": "test", "stt": "test", "turn_detection": "test"},
        llm_online=False,
        voices=(),
        whisper=None,
        local=Local(Settings()),
        client=None,
    )
