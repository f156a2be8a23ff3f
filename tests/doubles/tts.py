"""A TTS that speaks readable sound: each word is a stretch of one level, so that what was said can be read off the
samples.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from agent.speech.words import WordTimes, cut
from avatar.frames import SAMPLE_RATE_HZ, Pcm

WORD_S = 0.2


@dataclass
class Script:
    """How a `LevelTTS` behaves.

    Args:
        fail_after: words after which every sentence breaks off with an error; 0 fails at once.
        cut_after: words after which every sentence ends as if it were complete.
        hang_after: words after which nothing more comes.
        delay_s: before the first sound of a sentence.
        word_delay_s: between words.
        lead_s, tail_s: silence around a sentence.
        silent: nothing but silence.
    """

    fail_after: int | None = None
    cut_after: int | None = None
    hang_after: int | None = None
    delay_s: float = 0.0
    word_delay_s: float = 0.0
    lead_s: float = 0.1
    tail_s: float = 0.6
    silent: bool = False


@dataclass
class Vocabulary:
    """The level of each word, shared by the voices of a test."""

    levels: dict[str, int] = field(default_factory=dict)

    def level(self, word: str) -> int:
        return self.levels.setdefault(plain(word), 400 * (len(self.levels) + 1))

    def read(self, pcm: Pcm) -> list[str]:
        """The words that were spoken, in order.

        A word that was cut short counts if half of it is there; the parts of one that was held and went on are one.
        """
        names = {level: word for word, level in self.levels.items()}
        edges = np.flatnonzero(np.diff(pcm.astype(np.int32)) != 0) + 1
        spoken: list[tuple[str, float]] = []
        for start, end in zip([0, *edges], [*edges, pcm.size], strict=True):
            name, length_s = names.get(int(pcm[start])), (end - start) / SAMPLE_RATE_HZ
            if name is None or length_s < WORD_S / 20:  # a fade passes through all levels below its own
                continue
            if spoken and spoken[-1][0] == name:
                length_s += spoken.pop()[1]
            spoken.append((name, length_s))
        return [name for name, length_s in spoken for _ in range(int(length_s / WORD_S + 0.5))]


def plain(word: str) -> str:
    return "".join(character for character in word if character.isalnum()).lower()


class LevelTTS(tts.TTS[str]):
    """Args:
    name: its provider's.
    words: tells word times.
    """

    def __init__(self, name: str, vocabulary: Vocabulary, script: Script, *, words: bool = True) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False, aligned_transcript=words),
            sample_rate=SAMPLE_RATE_HZ,
            num_channels=1,
        )
        self.name = name
        self.vocabulary = vocabulary
        self.script = script
        self.words = words
        self.texts: list[str] = []
        self.begun_s: list[float] = []
        self.stopped = 0
        self.closed = False

    @property
    def provider(self) -> str:
        return self.name

    async def aclose(self) -> None:
        self.closed = True

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Sentence(self, text, conn_options)


class _Sentence(tts.ChunkedStream):
    def __init__(self, speaker: LevelTTS, text: str, conn_options: APIConnectOptions) -> None:
        self._speaker = speaker
        super().__init__(tts=speaker, input_text=text, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        speaker, script = self._speaker, self._speaker.script
        speaker.texts.append(self.input_text)
        speaker.begun_s.append(asyncio.get_running_loop().time())
        output_emitter.initialize(request_id="r", sample_rate=SAMPLE_RATE_HZ, num_channels=1, mime_type="audio/pcm")
        times, now_s, position = WordTimes(self.input_text), script.lead_s, 0
        try:
            await asyncio.sleep(script.delay_s)
            self._push(output_emitter, script.lead_s, 0)
            for number, word in enumerate(cut(self.input_text)):
                if script.fail_after is not None and number >= script.fail_after:
                    await asyncio.sleep(0.01)  # what was pushed is on its way, as over a network
                    raise APIConnectionError("the test's voice broke off")
                if script.cut_after is not None and number >= script.cut_after:
                    return
                if script.hang_after is not None and number >= script.hang_after:
                    await asyncio.sleep(3600)
                if speaker.words:
                    output_emitter.push_timed_transcript(times.starts(position, now_s))
                self._push(output_emitter, WORD_S, 0 if script.silent else speaker.vocabulary.level(word))
                position += len(word)
                now_s += WORD_S
                await asyncio.sleep(script.word_delay_s)
            self._push(output_emitter, script.tail_s, 0)
            if speaker.words:
                output_emitter.push_timed_transcript(times.ends(now_s))
        except asyncio.CancelledError:
            speaker.stopped += 1
            raise

    def _push(self, output_emitter: tts.AudioEmitter, seconds: float, level: int) -> None:
        pcm = np.full(round(seconds * SAMPLE_RATE_HZ), level, np.int16)
        if pcm.size:
            output_emitter.push_frame(rtc.AudioFrame(pcm.tobytes(), SAMPLE_RATE_HZ, 1, pcm.size))
