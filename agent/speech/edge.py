"""edge-tts as a livekit-agents TTS: text in; 24 kHz sound and word times out, while the service is still sending.

The service is online and the client unofficial: the text leaves the machine, so it is used only once a person agreed.
Its mp3 is decoded as it comes, so that the first sound does not wait for the last. A connection that is lost in the
middle looks to the client like the end; the service's "turn end" tells them apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import aiohttp
import av
import av.error
import edge_tts
import edge_tts.exceptions
from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, APIStatusError, APITimeoutError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from agent.speech.words import WordTimes
from avatar.frames import MienError

RATE_HZ = 24_000
FIRST_SOUND_S = 5.0
NEXT_SOUND_S = 4.0
TICKS_S = 10_000_000
"""The service counts in units of 100 ns."""


class UnknownVoice(MienError):
    """Not the name of one of the service's voices."""


class EdgeTTS(tts.TTS[str]):
    """Args:
        voice: the service's short name, for instance ``en-US-AvaNeural``.
        rate: relative speaking rate, for instance ``+5%``.
        connector: makes the connection to the service, one a sentence; None for the usual one.

    Raises:
        UnknownVoice: the name cannot be one of the service's.
    """

    def __init__(
        self, *, voice: str, rate: str = "+0%", connector: Callable[[], aiohttp.BaseConnector] | None = None
    ) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False, aligned_transcript=True),
            sample_rate=RATE_HZ,
            num_channels=1,
        )
        self.voice = voice
        self.rate = rate
        self.connector = connector
        try:
            edge_tts.Communicate("x", voice, rate=rate)
        except ValueError as error:
            raise UnknownVoice(f"edge-tts: {error} (voice {voice!r}): use a name such as en-US-AvaNeural") from None

    @property
    def model(self) -> str:
        return self.voice

    @property
    def provider(self) -> str:
        return "edge-tts"

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Sentence(self, text, conn_options)


class _Mp3:
    """Decodes mp3 as its bytes come; a packet of 24 ms at a time."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("mp3", "r")
        self._to_pcm = av.AudioResampler("s16", "mono", RATE_HZ)

    def push(self, data: bytes | None) -> bytes:
        """int16 for what is complete; None for the end.

        Raises:
            APIConnectionError: the bytes are not mp3.
        """
        pcm = bytearray()
        assert isinstance(self._codec, av.AudioCodecContext)
        try:
            for packet in self._codec.parse(data or b""):
                for frame in self._codec.decode(packet):
                    for piece in self._to_pcm.resample(frame):
                        pcm += bytes(piece.planes[0])[: piece.samples * 2]
        except av.error.FFmpegError as error:
            raise APIConnectionError("the sound that came is no mp3", retryable=False) from error
        return bytes(pcm)


class _Sentence(tts.ChunkedStream):
    def __init__(self, speaker: EdgeTTS, text: str, conn_options: APIConnectOptions) -> None:
        self._speaker = speaker
        super().__init__(tts=speaker, input_text=text, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=RATE_HZ, num_channels=1, mime_type="audio/pcm"
        )
        try:
            await self._receive(output_emitter)
        except TimeoutError:
            raise APITimeoutError("edge-tts did not send sound in time", retryable=False) from None
        except aiohttp.ClientResponseError as error:
            raise APIStatusError("edge-tts refused", status_code=error.status, retryable=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise APIConnectionError(f"edge-tts cannot be reached ({type(error).__name__})", retryable=False) from error
        except (edge_tts.exceptions.EdgeTTSException, ValueError, KeyError, RuntimeError) as error:
            # ValueError, KeyError: messages that the client cannot take apart. RuntimeError: it tries again after a 403
            # with a connector that it has closed.
            raise APIConnectionError(
                f"edge-tts answered strangely ({type(error).__name__})", retryable=False
            ) from error

    async def _receive(self, output_emitter: tts.AudioEmitter) -> None:
        request = edge_tts.Communicate(
            self.input_text,
            self._speaker.voice,
            rate=self._speaker.rate,
            boundary="WordBoundary",
            connector=self._speaker.connector() if self._speaker.connector is not None else None,
            connect_timeout=int(FIRST_SOUND_S),
        )
        mp3, times = _Mp3(), WordTimes(self.input_text)
        ends_s, limit_s, decoded = 0.0, FIRST_SOUND_S, False
        async with aclosing(request.stream()) as messages:
            deadline = asyncio.get_running_loop().time() + limit_s
            while True:
                async with asyncio.timeout_at(deadline):
                    message = await anext(messages, None)
                if message is None:
                    break
                if message["type"] == "audio":
                    pcm = mp3.push(message["data"])
                    if pcm:
                        decoded = True
                        output_emitter.push_frame(rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2))
                elif message["type"] == "WordBoundary":
                    start_s = message["offset"] / TICKS_S
                    ends_s = start_s + message["duration"] / TICKS_S
                    output_emitter.push_timed_transcript(times.finds(message["text"], start_s))
                if decoded:  # words alone do not put off the first sound's time
                    deadline = asyncio.get_running_loop().time() + NEXT_SOUND_S
        # Bytes are counted until the service says that the turn ended, then set to zero.
        if request.state["chunk_audio_bytes"] != 0:
            raise APIConnectionError("edge-tts broke off in the middle of a sentence", retryable=False)
        if pcm := mp3.push(None):
            output_emitter.push_frame(rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2))
        output_emitter.push_timed_transcript(times.ends(ends_s))
