"""espeak-ng as a livekit-agents TTS: text in; 22,050 Hz sound, word times and phoneme times out, made in a child
process.

`Espeak` is the shared client (one child for all conversations of a process); `EspeakTTS` is one conversation's TTS
over it. The child is `agent.speech.espeak_worker`. Voices are names such as ``en-us+f3``: a language of espeak-ng's
data, then a variant (the kind of voice). espeak-ng takes unknown variants without a word, so names are checked
against the files that the library ships with.
"""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from agent.speech.child import Child, ChildDied, ChildRefused
from agent.speech.espeak_worker import AUDIO, EVENTS, RATE_HZ
from agent.speech.words import WordTimes
from avatar.frames import MienError

MAX_TEXT = 2_000
"""Characters in one request: some two minutes of speech. The chain sends sentences."""
SILENCE_S = 3.0
"""The child's first sound comes after a millisecond; one that takes this long is stuck."""
PITCH = 50
PITCH_RANGE = 62
"""espeak-ng's default of 50 is flat; a little more lifts the melody of short answers."""
RATE_WPM = 165


class UnknownVoice(MienError):
    """The voice is none of espeak-ng's: which part is wrong, and what there is."""


class EspeakError(MienError):
    """espeak-ng could not speak a text."""


@dataclass(frozen=True, slots=True)
class Language:
    """One of espeak-ng's languages.

    Args:
        code: BCP-47-like, as espeak-ng names it, for instance ``en-us``.
        name: its English name.
        file: what the library itself calls it; it does not know all of its codes.
    """

    code: str
    name: str
    file: str


@functools.cache
def languages() -> tuple[Language, ...]:
    """All languages of the shipped data that have their dictionary, by code."""
    data = Path(espeakng_loader.get_data_path())
    found: dict[str, Language] = {}
    for file in sorted((data / "lang").rglob("*")):
        if not file.is_file():
            continue
        text = file.read_text("utf-8", "replace")
        lines = [line.partition("//")[0].split() for line in text.splitlines()]
        fields = {words[0]: words[1:] for words in reversed(lines) if len(words) > 1}
        code = fields["language"][0].lower()
        dictionary = fields.get("dictionary", [code.partition("-")[0]])[0]
        if (data / f"{dictionary}_dict").is_file():
            found.setdefault(code, Language(code, " ".join(fields.get("name", [code])), file.name))
    return tuple(found[code] for code in sorted(found))


@functools.cache
def variants() -> frozenset[str]:
    """The names that may follow the ``+`` of a voice."""
    return frozenset(file.name for file in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir())


def library_voice(voice: str) -> str:
    """What the library calls a voice, for instance ``fr+f3`` for ``fr-fr+f3``.

    Raises:
        UnknownVoice: espeak-ng would not know the language, or would silently ignore the variant.
    """
    code, plus, variant = voice.partition("+")
    language = next(
        (language for language in languages() if code.lower() in (language.code, language.file.lower())), None
    )
    if language is None:
        near = ", ".join(language.code for language in languages() if language.code[:2] == code[:2].lower())
        raise UnknownVoice(
            f"espeak has no language {code!r} (voice {voice!r}): use {near or 'a code such as en-us or de'}"
        )
    if plus and variant not in variants():
        some = ", ".join(sorted(name for name in variants() if len(name) == 2))
        raise UnknownVoice(f"espeak has no variant {variant!r} (voice {voice!r}): use one of {some}, …")
    return f"{language.file}{plus}{variant}"


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One phoneme of espeak-ng's, with its stress marks.

    Args:
        start_ms: from the start of the sentence.
    """

    start_ms: int
    name: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a sentence's sound and what happens in it.

    Args:
        pcm: int16 little-endian mono at ``RATE_HZ``.
        words: (start_ms, position): the word that begins at this character of the text begins to sound here.
        clause_ends_ms: where clauses end; the last one is the end of the sentence.
    """

    pcm: bytes
    words: tuple[tuple[int, int], ...] = ()
    phonemes: tuple[Phoneme, ...] = ()
    clause_ends_ms: tuple[int, ...] = ()


class Espeak:
    """The client of the child process: shared by all conversations of a process, safe from any event loop.

    Args:
        silence_s: how long the child may take for its next piece of sound before it is replaced.
    """

    def __init__(self, *, silence_s: float = SILENCE_S) -> None:
        self._child = Child("agent.speech.espeak_worker", silence_s=silence_s)

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        """Start the child now rather than with the first sentence."""
        self._child.start()

    async def speak(
        self, text: str, voice: str, *, rate_wpm: int = RATE_WPM, pitch: int = PITCH, pitch_range: int = PITCH_RANGE
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the sentence's chunks as they are made. Leaving the iteration early stops the synthesis.

        A child that dies is started again and the sentence taken up where it broke off, once.

        Raises:
            UnknownVoice: ``voice`` is not one of espeak-ng's.
            EspeakError: the text is too long, or the child failed twice.
        """
        name = library_voice(voice)
        if len(text) > MAX_TEXT:
            raise EspeakError(f"espeak takes at most {MAX_TEXT} characters at once, not {len(text)}: send sentences")
        payload = json.dumps(
            {
                # A zero would end the text early.
                "text": text.replace("\0", " "),
                "voice": name,
                "rate_wpm": rate_wpm,
                "pitch": pitch,
                "pitch_range": pitch_range,
            }
        ).encode()
        given = 0
        for attempt in (1, 2):
            seen = 0
            try:
                async for chunk in self._attempt(payload):
                    seen += 1
                    if seen > given:  # said again it is the same but for a few samples: skip what was handed out
                        given = seen
                        yield chunk
            except ChildDied as error:
                if attempt == 2:
                    raise EspeakError(f"espeak failed twice on one sentence: {error}") from error
            except ChildRefused as error:
                raise EspeakError(f"espeak could not speak with voice {voice!r}: {error}") from error
            else:
                return

    async def _attempt(self, payload: bytes) -> AsyncGenerator[Chunk, None]:
        words: list[tuple[int, int]] = []
        phonemes: list[Phoneme] = []
        clause_ends: list[int] = []
        async for kind, content in self._child.ask(payload):
            if kind == EVENTS:
                for event in json.loads(content):
                    match event:
                        case ["w", ms, position, _length]:
                            words.append((ms, position))
                        case ["p", ms, name]:
                            phonemes.append(Phoneme(ms, name))
                        case ["c", ms]:
                            clause_ends.append(ms)
            elif kind == AUDIO:
                yield Chunk(content, tuple(words), tuple(phonemes), tuple(clause_ends))
                words, phonemes, clause_ends = [], [], []
        if words or phonemes or clause_ends:
            yield Chunk(b"", tuple(words), tuple(phonemes), tuple(clause_ends))

    async def aclose(self) -> None:
        await self._child.aclose()


class EspeakTTS(tts.TTS[str]):
    """One conversation's espeak voice.

    Args:
        espeak: the process's client.
        voice: for instance ``en-us+f3``.
        rate_wpm: words a minute.

    Raises:
        UnknownVoice: at once, not at the first sentence.
    """

    def __init__(self, espeak: Espeak, *, voice: str, rate_wpm: int = RATE_WPM) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False, aligned_transcript=True),
            sample_rate=RATE_HZ,
            num_channels=1,
        )
        library_voice(voice)
        self.espeak = espeak
        self.voice = voice
        self.rate_wpm = rate_wpm

    @property
    def model(self) -> str:
        return self.voice

    @property
    def provider(self) -> str:
        return "espeak"

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Sentence(self, text, conn_options)


class _Sentence(tts.ChunkedStream):
    def __init__(self, speaker: EspeakTTS, text: str, conn_options: APIConnectOptions) -> None:
        self._speaker = speaker
        super().__init__(tts=speaker, input_text=text, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=RATE_HZ, num_channels=1, mime_type="audio/pcm"
        )
        times = WordTimes(self.input_text)
        ends_ms = 0
        try:
            async for chunk in self._speaker.espeak.speak(
                self.input_text, self._speaker.voice, rate_wpm=self._speaker.rate_wpm
            ):
                for start_ms, position in chunk.words:
                    output_emitter.push_timed_transcript(times.starts(position, start_ms / 1000))
                ends_ms = max((ends_ms, *chunk.clause_ends_ms))
                if chunk.pcm:
                    samples = len(chunk.pcm) // 2
                    output_emitter.push_frame(rtc.AudioFrame(chunk.pcm, RATE_HZ, 1, samples))
        except EspeakError as error:
            raise APIConnectionError(str(error), retryable=False) from error
        output_emitter.push_timed_transcript(times.ends(ends_ms / 1000))
        output_emitter.flush()
