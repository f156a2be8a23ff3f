"""A message's speech: the message in; its sound in pieces, with timed words where there are any, out.

Text is spoken by the conversation's own TTS chain, in portions: a long text is never synthesized further ahead than one
portion, however fast the provider is. Recordings are decoded on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from livekit.agents import APIError
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from agent import voices
from agent.inbox.messages import AudioMessage, Speakable
from agent.inbox.sound import decode
from agent.speech.chain import ChainTTS, NoSuchVoice
from agent.speech.rendering import SENTENCE_PAUSE_MS
from agent.speech.sentences import SentenceCutter
from agent.speech.shaping import QUIET, silence
from avatar.frames import SAMPLE_RATE_HZ, MienError, Pcm

PORTION = 600
"""Characters synthesized as one reply: some 40 s."""
RECOVER_S = 120.0
"""How long after it failed a voice is tried again: a stream runs for days."""


class Unspeakable(MienError):
    """Nobody can say this message, or not to its end."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of a message's sound.

    Args:
        pcm: int16 at 48 kHz.
        words: told with it; times in seconds from the message's first sample.
    """

    pcm: Pcm
    words: tuple[TimedString, ...] = ()


class Voicing:
    """One program's voices. Messages are spoken one after the other.

    Args:
        speaker: the chain; its voice at the start is the one for messages that name none.
        allowed: names of providers that a message may choose beside that voice's own and espeak; online ones only with
            the operator's consent, since a message is no consent.
    """

    def __init__(self, speaker: ChainTTS, *, allowed: Collection[str] = ()) -> None:
        self._speaker = speaker
        self._usual = speaker.voice
        self._allowed = {*allowed, _provider(self._usual), "espeak"}
        self._stand_in: tuple[str, float] | None = None
        """Who stepped in for the usual voice, and when."""

    async def speak(self, message: Speakable) -> AsyncGenerator[Spoken]:
        """The message's sound as it is made.

        Raises:
            NoSuchVoice: the message asks for a voice or a language that there is not.
            Unspeakable: every provider failed.
            InvalidMessage: the recording is damaged.
        """
        if isinstance(message, AudioMessage):
            pieces = decode(message.data, message.format)
            while (pcm := await asyncio.to_thread(_next_half_second, pieces)).size:
                yield Spoken(pcm)
            return
        self._choose(message.voice, message.language)
        made, quiet = 0, 0
        for portion in portions(message.data):
            if made:
                # Between portions, as between sentences: at least a short pause, whatever the provider left.
                pause = silence(max(0.0, SENTENCE_PAUSE_MS[0] - quiet * 1000 / SAMPLE_RATE_HZ))
                made += pause.size
                yield Spoken(pause)
            base_s = made / SAMPLE_RATE_HZ
            async with aclosing(self._reply(portion)) as reply:
                async for spoken in reply:
                    made += spoken.pcm.size
                    quiet = _quiet_tail(spoken.pcm, quiet)
                    yield Spoken(spoken.pcm, tuple(_later(word, base_s) for word in spoken.words))

    def _choose(self, voice: str | None, language: str | None) -> None:
        """Have the chain speak with what the message asks for, else with the usual voice."""
        wanted = self._usual_now()
        if voice is not None and ":" not in voice:
            wanted = f"{_provider(self._usual)}:{voice}"
        elif voice is not None:
            if _provider(voice) not in self._allowed:
                raise NoSuchVoice(
                    f"voice={voice!r} may not be used here: its provider must be one of "
                    f"{', '.join(sorted(self._allowed))}; or start the program with that provider (TTS_PROVIDER)"
                )
            wanted = voice
        elif language is not None:
            wanted = self._for_language(language)
        if self._speaker.voice != wanted:
            self._speaker.set_voice(wanted)

    def _usual_now(self) -> str:
        """The usual voice, or for a while after it failed the one that stepped in."""
        if self._stand_in is not None:
            voice, since = self._stand_in
            if asyncio.get_running_loop().time() - since < RECOVER_S:
                return voice
            self._stand_in = None
        return self._usual

    def _for_language(self, language: str) -> str:
        match _provider(self._usual):
            case "espeak":
                return f"espeak:{voices.espeak_default(language)}"
            case "edge-tts":
                return f"edge-tts:{voices.edge_default(language)}"
            case _:
                return self._usual  # its voices speak many

    async def _reply(self, text: str) -> AsyncGenerator[Spoken]:
        before = self._speaker.voice
        try:
            async with self._speaker.stream() as reply:
                reply.push_text(text)
                reply.end_input()
                async for event in reply:
                    words = tuple(event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, ()))
                    yield Spoken(np.frombuffer(event.frame.data, np.int16), words)
        except APIError as error:
            raise Unspeakable(f"the text could not be spoken: {error}") from error
        finally:
            if before == self._usual and self._speaker.voice != before:
                self._stand_in = self._speaker.voice, asyncio.get_running_loop().time()


def portions(text: str) -> Iterator[str]:
    """The text in whole sentences, about PORTION characters at a time; joined they are the text."""
    cutter = SentenceCutter()
    portion = ""
    for start in range(0, len(text), PORTION):
        last = start + PORTION >= len(text)
        for piece in [*cutter.push(text[start : start + PORTION]), *(cutter.end() if last else ())]:
            if portion and len(portion) + len(piece.text) > PORTION and _speakable(portion):
                yield portion
                portion = ""
            portion += piece.text
    if portion:
        yield portion


def _provider(voice: str) -> str:
    return voice.partition(":")[0]


def _quiet_tail(pcm: Pcm, before: int) -> int:
    """How many samples of silence there are at the end, if there were ``before`` in front of these."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > QUIET)
    return int(pcm.size - 1 - loud[-1]) if loud.size else before + pcm.size


def _speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _later(word: TimedString, by_s: float) -> TimedString:
    start_s, end_s = word.start_time, word.end_time
    return TimedString(
        str(word),
        start_time=start_s + by_s if isinstance(start_s, float | int) else by_s,
        end_time=end_s + by_s if isinstance(end_s, float | int) else by_s,
    )


def _next_half_second(pieces: Iterator[Pcm]) -> Pcm:
    """Join pieces to at least half a second; empty at the end."""
    joined, samples = [np.zeros(0, np.int16)], 0
    while samples < SAMPLE_RATE_HZ // 2 and (piece := next(pieces, None)) is not None:
        joined.append(piece)
        samples += piece.size
    return np.concatenate(joined)
