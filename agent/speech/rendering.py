"""One piece of a reply, being synthesized by one provider. Text in; shaped sound with word times out, in order.

It runs ahead of who reads it, so the next sentence is ready when the one before it has been handed on. It decides
nothing about other providers: what goes wrong is raised as `ProviderFailed`, with what is known of the words so far.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import numpy as np
from livekit.agents import APIConnectOptions, APIError, APIStatusError, APITimeoutError, tts, utils
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from agent.speech.captions import letters
from agent.speech.sentences import Piece
from agent.speech.shaping import Shaper
from avatar.frames import SAMPLE_RATE_HZ, MienError, Pcm

FIRST_SOUND_S = 5.0
NEXT_SOUND_S = 4.0
FASTEST_LETTERS_S = 45.0
"""Nobody speaks more letters a second; a sentence that is over sooner was cut off on the way."""
SENTENCE_PAUSE_MS = (150.0, 250.0)
CLAUSE_PAUSE_MS = (40.0, 120.0)
"""Shortest and longest pause after a sentence, and after a clause spoken by itself."""
AT_ONCE_S, PACE = 1.0, 8.0
"""A reply's first second is handed on as it comes, everything after it so many times faster than it is heard. Providers
give all of it at once, and to bring a long text to our rate in one go held up the pictures of what was being said."""
FIRST_LEAD_MS = 15.0
LEAD_MS = 30.0


class ProviderFailed(MienError):
    """A provider did not speak a sentence, or not to its end: which, and why."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of a piece's sound.

    Args:
        pcm: int16 at 48 kHz.
        words: the words told with it; times in seconds from the provider's first sample (see ``Rendering.cut_s``).
    """

    pcm: Pcm
    words: tuple[TimedString, ...] = ()


class Rendering:
    """Synthesizes ``piece`` with ``speaker``, starting now.

    Args:
        voice: the id of the voice, to be told apart later.
        first: it opens the reply, so no silence is left in front of it.

    Attributes:
        closed: nobody wants more of it.
    """

    def __init__(self, speaker: tts.TTS[Any], voice: str, piece: Piece, *, first: bool) -> None:
        self.voice = voice
        self.piece = piece
        self.closed = False
        self._speaker = speaker
        pause_ms = SENTENCE_PAUSE_MS if piece.ends_sentence else CLAUSE_PAUSE_MS
        self._shaper = Shaper(speaker.sample_rate, lead_ms=FIRST_LEAD_MS if first else LEAD_MS, tail_ms=pause_ms[1])
        self._shortest_pause_ms = pause_ms[0]
        self._at_once = AT_ONCE_S * SAMPLE_RATE_HZ if first else 0.0
        self._tail_ms = 0.0
        self._sounds: asyncio.Queue[Sound | Exception | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(), name=f"speak {voice}")

    @property
    def timed(self) -> bool:
        """The provider tells word times."""
        return self._speaker.capabilities.aligned_transcript

    async def sounds(self) -> AsyncGenerator[Sound, None]:
        """Yield the sound as it is made; may be read once.

        Raises:
            ProviderFailed: the rest will not come.
        """
        while (sound := await self._sounds.get()) is not None:
            if isinstance(sound, Exception):
                raise sound
            yield sound

    @property
    def cut_s(self) -> float:
        """Silence cut in front: a provider's word times count from before it."""
        return self._shaper.cut_s

    @property
    def pause_owed_ms(self) -> float:
        """How much silence is missing behind it to the shortest pause; known once all its sound was made."""
        return max(0.0, self._shortest_pause_ms - self._tail_ms)

    async def aclose(self) -> None:
        """Stop the synthesis."""
        self.closed = True
        await utils.aio.cancel_and_wait(self._task)

    async def _run(self) -> None:
        try:
            await self._synthesize()
        except ProviderFailed as error:
            self._sounds.put_nowait(error)
        except Exception as error:  # whatever a provider's library raises, the reply goes on without it
            self._sounds.put_nowait(ProviderFailed(f"{self._speaker.provider}: {reason(error)}"))
        else:
            self._sounds.put_nowait(None)

    async def _synthesize(self) -> None:
        options = APIConnectOptions(max_retry=0, timeout=FIRST_SOUND_S)
        limit_s, made = FIRST_SOUND_S, 0
        async with self._speaker.synthesize(self.piece.text.strip(), conn_options=options) as stream:
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        event = await anext(stream)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    what = "no sound" if limit_s == FIRST_SOUND_S else "no further sound"
                    raise ProviderFailed(f"{self._speaker.provider}: {what} within {limit_s:g} s") from None
                limit_s = NEXT_SOUND_S
                pcm = self._shaper.push(event.frame)
                made += pcm.size
                words = tuple(event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, ()))
                if pcm.size or words:
                    self._sounds.put_nowait(Sound(pcm, words))
                if made > self._at_once:
                    await asyncio.sleep(pcm.size / SAMPLE_RATE_HZ / PACE)
        if not self._shaper.heard:
            raise ProviderFailed(f"{self._speaker.provider}: only silence came")
        rest, tail = self._shaper.end()
        made_s, count = (made + rest.size) / SAMPLE_RATE_HZ, letters(self.piece.text)
        if made_s < count / FASTEST_LETTERS_S:
            raise ProviderFailed(
                f"{self._speaker.provider}: the sound was cut off ({made_s:.2f} s for {count} letters)"
            )
        self._tail_ms = tail.size * 1000 / SAMPLE_RATE_HZ
        self._sounds.put_nowait(Sound(np.concatenate([rest, tail])))


def reason(error: Exception) -> str:
    """What went wrong, in words for a person and without anything of the request, where keys could be."""
    match error:
        case APIStatusError(status_code=401 | 403 as status):
            return f"refused the key (HTTP {status})"
        case APIStatusError(status_code=status):
            return f"answered HTTP {status}"
        case APITimeoutError():
            return "did not answer in time"
        case APIError(__cause__=Exception() as cause):
            return reason(cause)  # livekit-agents wraps what came after its last attempt
        case APIError() | MienError():
            return str(error)[:200]
        case _:
            return type(error).__name__
