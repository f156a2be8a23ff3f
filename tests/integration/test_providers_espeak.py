"""espeak-ng in its child process: sound, times, cancelling, dying, closing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from agent import voices
from agent.speech.child import START_S, ChildDied
from agent.speech.espeak import (
    Chunk,
    Espeak,
    EspeakError,
    EspeakTTS,
    UnknownVoice,
    languages,
    library_voice,
    variants,
)
from agent.speech.espeak_worker import RATE_HZ
from avatar.frames import Pcm

pytestmark = pytest.mark.media

TEXT = "Good morning, this is a sentence with nine words."
LONG = " ".join(["The lighthouse keeper looked at the sea and waited for the boat."] * 25)


@pytest_asyncio.fixture
async def espeak() -> AsyncIterator[Espeak]:
    client = Espeak()
    client.start()
    yield client
    await client.aclose()


async def spoken(espeak: Espeak, text: str, voice: str = "en-us+f3", **options: int) -> list[Chunk]:
    return [chunk async for chunk in espeak.speak(text, voice, **options)]


def pcm_of(chunks: list[Chunk]) -> Pcm:
    return np.frombuffer(b"".join(chunk.pcm for chunk in chunks), np.int16)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")


async def test_it_speaks_with_word_and_phoneme_times(espeak: Espeak) -> None:
    chunks = await spoken(espeak, TEXT)
    pcm = pcm_of(chunks)
    duration_ms = pcm.size * 1000 / RATE_HZ
    assert 2000 < duration_ms < 5000
    assert np.sqrt(np.mean(pcm.astype(float) ** 2)) > 500
    words = [word for chunk in chunks for word in chunk.words]
    assert [position for _, position in words] == [0, 5, 14, 19, 22, 24, 33, 38, 43]
    assert [ms for ms, _ in words] == sorted(ms for ms, _ in words)
    phonemes = [phoneme for chunk in chunks for phoneme in chunk.phonemes if phoneme.name.strip()]
    assert len(phonemes) > 20
    assert phonemes[-1].start_ms <= chunks[-1].clause_ends_ms[-1] <= duration_ms + 1


async def test_word_times_point_at_the_sound(espeak: Espeak) -> None:
    """After a comma there is a pause, and the word after it begins where the sound does."""
    chunks = await spoken(espeak, "Stop, banana.")
    pcm = pcm_of(chunks).astype(float)
    (_, first), (second_ms, second) = (word for chunk in chunks for word in chunk.words)
    assert (first, second) == (0, 6)
    level = np.sqrt(np.convolve(pcm**2, np.ones(220) / 220, "same"))
    quiet = np.flatnonzero(level[: int((second_ms + 60) * RATE_HZ / 1000)] < 100)
    assert abs(quiet[-1] * 1000 / RATE_HZ - second_ms) < 60


async def test_the_first_sound_comes_before_the_rest_and_fast(espeak: Espeak) -> None:
    await spoken(espeak, "Warm up.")
    begun = time.perf_counter()
    async with aclosing(espeak.speak(LONG, "en-us+f3")) as chunks:
        async for chunk in chunks:
            if chunk.pcm:
                break
    assert time.perf_counter() - begun < 0.1
    assert len(chunk.pcm) < RATE_HZ  # half a second


async def test_a_faster_rate_and_another_voice_are_heard(espeak: Espeak) -> None:
    slow, fast = [pcm_of(await spoken(espeak, TEXT, rate_wpm=rate)).size for rate in (120, 240)]
    assert fast < slow * 0.7
    low, high = [pitch(pcm_of(await spoken(espeak, "Aaah.", voice))) for voice in ("en-us+m3", "en-us+f3")]
    assert high > low * 1.3


def pitch(pcm: Pcm) -> float:
    middle = pcm[pcm.size // 3 : pcm.size // 3 + 4096].astype(float) * np.hanning(4096)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(middle, 8192)) ** 2)
    shortest = RATE_HZ // 400
    return float(RATE_HZ / (shortest + np.argmax(correlation[shortest : RATE_HZ // 70])))


async def test_voices_are_checked_against_what_is_shipped(espeak: Espeak) -> None:
    assert {"en-us", "de", "fr-fr", "pl"} <= {language.code for language in languages()}
    assert {"f3", "m3"} <= variants()
    assert library_voice("de+m3") == "de+m3"
    assert library_voice("fr-fr+f3") == "fr+f3"
    wrongs = (
        ("xx", "no language 'xx'"),
        ("en-us+f33", "no variant 'f33'"),
        ("en-us+", "no variant ''"),
        ("", "no lang"),
    )
    for wrong, why in wrongs:
        with pytest.raises(UnknownVoice, match=why):
            await spoken(espeak, TEXT, wrong)


async def test_every_voice_on_offer_speaks(espeak: Espeak) -> None:
    offered = [
        voice.id.partition(":")[2] for voice in voices.available("en", openai=False) if voice.provider == "espeak"
    ]
    assert len(offered) > 50
    for voice in offered:
        assert pcm_of(await spoken(espeak, "1 2 3", voice)).size > RATE_HZ // 5, voice


async def test_odd_texts_do_no_harm(espeak: Espeak) -> None:
    for text in (
        "",
        " ",
        "…",
        "\0\0",
        "a\0b",
        "<speak>&amp;</speak>",
        "[[tEst]]",
        "🙂🙂",
        "你好",
        "\ud800".encode("utf-8", "replace").decode(),
    ):
        await spoken(espeak, text)
    assert pcm_of(await spoken(espeak, TEXT)).size > RATE_HZ
    with pytest.raises(EspeakError, match="at most"):
        await spoken(espeak, "x" * 3000)


async def test_sentences_asked_for_at_once_do_not_mix(espeak: Espeak) -> None:
    alone = [pcm_of(await spoken(espeak, f"Number {number}.")).size for number in range(6)]
    together = await asyncio.gather(*(spoken(espeak, f"Number {number}.") for number in range(6)))
    for expected, chunks in zip(alone, together, strict=True):
        assert pcm_of(chunks).size == pytest.approx(expected, rel=0.02)


async def test_leaving_a_sentence_stops_it(espeak: Espeak) -> None:
    """Ten long sentences that are left at once hold up the next one by less than they would take."""
    for _ in range(10):
        async with aclosing(espeak.speak(LONG, "en-us+f3")) as chunks:
            async for _chunk in chunks:
                break
    begun = time.perf_counter()
    await spoken(espeak, "Yes.")
    assert time.perf_counter() - begun < 0.5


async def test_a_child_that_dies_is_started_again_and_the_sentence_is_said(espeak: Espeak) -> None:
    await spoken(espeak, "Hello.")
    first = espeak.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert pcm_of(await spoken(espeak, TEXT)).size > RATE_HZ
    assert espeak.pid not in (None, first)
    complete = pcm_of(await spoken(espeak, LONG)).size
    seen = 0
    async for chunk in espeak.speak(LONG, "en-us+f3"):
        if not seen and espeak.pid is not None:
            os.kill(espeak.pid, signal.SIGKILL)
        seen += len(chunk.pcm) // 2
    assert seen == pytest.approx(complete, rel=0.01)


async def test_a_child_that_hangs_is_ended_in_time() -> None:
    client = Espeak(silence_s=0.4)
    await spoken(client, "Hello.")
    stopped = client.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    begun = time.perf_counter()
    assert pcm_of(await spoken(client, TEXT)).size > RATE_HZ
    assert time.perf_counter() - begun < 0.4 + START_S
    assert not alive(stopped)
    await client.aclose()


async def test_closing_ends_the_child_and_later_requests_fail() -> None:
    client = Espeak()
    await spoken(client, "Hello.")
    pid = client.pid
    assert pid is not None
    begun = time.perf_counter()
    await client.aclose()
    assert time.perf_counter() - begun < 1.5
    assert not alive(pid)
    with pytest.raises((EspeakError, ChildDied)):
        await spoken(client, "Hello.")


async def test_the_child_ends_with_its_parent() -> None:
    """Even where the parent has no time to say so."""
    program = (
        "import time; from agent.speech.espeak import Espeak; e = Espeak(); e.start(); "
        "print(e.pid, flush=True); time.sleep(60)"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert alive(child)
    parent.kill()
    await parent.wait()
    for _ in range(100):
        if not alive(child):
            break
        await asyncio.sleep(0.05)
    assert not alive(child)


async def test_it_serves_event_loops_of_other_threads(espeak: Espeak) -> None:
    def elsewhere() -> int:
        return asyncio.run(_size(espeak))

    sizes = await asyncio.gather(*(asyncio.to_thread(elsewhere) for _ in range(3)), _size(espeak))
    assert min(sizes) > RATE_HZ


async def _size(espeak: Espeak) -> int:
    return pcm_of(await spoken(espeak, TEXT)).size


async def test_as_a_tts_its_words_are_the_text(espeak: Espeak) -> None:
    words: list[TimedString] = []
    samples = 0
    text = "It's 1,000 apples — or $5.20; isn't it?"
    async with EspeakTTS(espeak, voice="en-us+f3").synthesize(text) as stream:
        async for event in stream:
            assert event.frame.sample_rate == RATE_HZ
            samples += event.frame.samples_per_channel
            words += event.frame.userdata[USERDATA_TIMED_TRANSCRIPT]
    assert "".join(words) == text
    assert [str(word) for word in words][:3] == ["It's ", "1,000 ", "apples — "]
    ends = [float(word.end_time) for word in words]  # type: ignore[arg-type]
    assert ends == sorted(ends)
    assert ends[-1] <= samples / RATE_HZ + 0.01
