"""The conversation's TTS over voices whose sound can be read: nothing of a reply is lost, said twice, or told at the
wrong time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from livekit.agents import APIConnectionError
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from agent.speech.chain import KEPT_VOICES, ChainTTS, NoSuchVoice, Provider
from avatar.frames import SAMPLE_RATE_HZ, Pcm
from tests.doubles.clock import run_virtually
from tests.doubles.tts import WORD_S, LevelTTS, Script, Vocabulary, plain

pytestmark = pytest.mark.unit

TEXT = "Alpha bravo charlie delta. Echo foxtrot golf hotel india. Juliet kilo lima mike november oscar!"
WORDS = [plain(word) for word in TEXT.split()]


@dataclass
class Heard:
    """What came out of one reply."""

    pcm: Pcm
    words: list[TimedString]
    first_s: float
    end_s: float

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass
class Stage:
    """A chain of an online voice, another one that needs a yes, and a local one."""

    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    best: Script = field(default_factory=Script)
    second: Script = field(default_factory=Script)
    local: Script = field(default_factory=Script)
    timed: bool = True
    agreed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.voices = {
            "best": LevelTTS("best", self.vocabulary, self.best, words=self.timed),
            "second": LevelTTS("second", self.vocabulary, self.second),
            "local": LevelTTS("local", self.vocabulary, self.local),
        }
        self.notices: list[tuple[str, str]] = []
        self.chain = ChainTTS(
            [
                Provider("best", True, "b", lambda _: self.voices["best"]),
                Provider("second", True, "s", lambda _: self.voices["second"]),
                Provider("local", False, "l", lambda _: self.voices["local"]),
            ],
            "best:b",
            agreed=self.agreed,
        )
        self.chain.on_notice = lambda code, text: self.notices.append((code, text))

    async def say(self, text: str = TEXT, *, token_delay_s: float = 0.0) -> Heard:
        now = asyncio.get_running_loop().time
        begun_s, first_s = now(), -1.0
        parts: list[Pcm] = []
        words: list[TimedString] = []

        async with self.chain.stream() as stream:

            async def feed() -> None:
                for start in range(0, len(text), 4):
                    stream.push_text(text[start : start + 4])
                    await asyncio.sleep(token_delay_s)
                stream.end_input()

            feeding = asyncio.create_task(feed())
            async for event in stream:
                if first_s < 0:
                    first_s = now() - begun_s
                assert event.frame.sample_rate == SAMPLE_RATE_HZ
                parts.append(np.frombuffer(event.frame.data, np.int16))
                words += event.frame.userdata[USERDATA_TIMED_TRANSCRIPT]
            await feeding
        return Heard(np.concatenate(parts), words, first_s, now() - begun_s)


def perform(script: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(script())


def sounding(pcm: Pcm) -> tuple[float, list[float]]:
    """Silence in front and the pauses inside, in seconds (the end left out)."""
    loud = np.flatnonzero(pcm != 0)
    gaps = np.diff(loud)
    return float(loud[0]) / SAMPLE_RATE_HZ, [float(gap - 1) / SAMPLE_RATE_HZ for gap in gaps if gap > 1]


def test_everything_is_said_once_in_order_with_pauses_trimmed() -> None:
    async def script() -> None:
        stage = Stage()
        heard = await stage.say()
        assert stage.vocabulary.read(heard.pcm) == WORDS
        assert heard.text == TEXT
        lead_s, pauses = sounding(heard.pcm)
        assert lead_s <= 0.020
        assert len(pauses) == 2
        assert all(0.14 <= pause <= 0.30 for pause in pauses)
        assert heard.pcm.size / SAMPLE_RATE_HZ == pytest.approx(
            len(WORDS) * WORD_S + sum(pauses) + 0.25 + lead_s, abs=0.02
        )
        assert stage.notices == []

    perform(script)


def test_words_are_told_when_they_sound() -> None:
    async def script() -> None:
        stage = Stage()
        heard = await stage.say()
        for word in heard.words:
            start, end = (round(float(time) * SAMPLE_RATE_HZ) for time in (word.start_time, word.end_time))  # type: ignore[arg-type]
            assert stage.vocabulary.read(heard.pcm[start + 50 : end - 50]) == [plain(word)]

    perform(script)


def test_short_words_that_sound_long_are_told_whole() -> None:
    async def script() -> None:
        stage = Stage(best=Script(word_delay_s=0.05))
        heard = await stage.say("Oh. I am he. You are it and so am I, my oh my.")
        assert [str(word).strip() for word in heard.words] == heard.text.split()

    perform(script)


def test_the_next_sentence_is_synthesized_while_this_one_is_handed_on_and_not_more() -> None:
    async def script() -> None:
        stage = Stage(best=Script(delay_s=1.0, word_delay_s=0.05))
        heard = await stage.say("One two three four five six seven. " * 5)
        begun = stage.voices["best"].begun_s
        assert begun[1] < 0.1
        assert begun[2] == pytest.approx(1.35, abs=0.1)
        # 1.35 s each, two at a time
        assert heard.end_s < 5 * 1.35 * 0.65

    perform(script)


@pytest.mark.parametrize(
    "failing", [Script(fail_after=0), Script(hang_after=0), Script(silent=True), Script(cut_after=0)]
)
def test_a_voice_that_never_sounds_is_replaced_and_nothing_is_lost(failing: Script) -> None:
    async def script() -> None:
        stage = Stage(best=failing)
        heard = await stage.say()
        assert stage.vocabulary.read(heard.pcm) == WORDS
        assert heard.text == TEXT
        assert stage.voices["local"].texts[0] == "Alpha bravo charlie delta."
        assert [code for code, _ in stage.notices] == ["tts_replaced"]
        assert stage.chain.voice == "local:l"
        assert heard.first_s < 5.2
        again = await stage.say()
        assert stage.vocabulary.read(again.pcm) == WORDS
        assert len(stage.voices["best"].texts) <= 2, "it is not asked again"

    perform(script)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("failing", [Script(fail_after=3), Script(hang_after=3)])
def test_a_sentence_that_breaks_off_goes_on_with_the_next_word(failing: Script, timed: bool) -> None:
    async def script() -> None:
        stage = Stage(best=failing, timed=timed)
        heard = await stage.say()
        spoken = stage.vocabulary.read(heard.pcm)
        assert heard.text == TEXT
        if timed:
            assert stage.voices["local"].texts[0].split()[-1] == "delta."
            # the word that was sounding when it broke off may be said again, none may be missing
            assert spoken in (WORDS, [*WORDS[:3], "charlie", *WORDS[3:]])
        else:
            assert set(spoken) >= set(WORDS[3:])
        assert len(stage.notices) == 1

    perform(script)


def test_a_cut_word_is_faded_out() -> None:
    async def script() -> None:
        stage = Stage(best=Script(fail_after=2))
        heard = await stage.say("Alpha bravo charlie delta.")
        steps = np.abs(np.diff(heard.pcm.astype(np.int32)))
        edges = [int(heard.pcm[place]) for place in np.flatnonzero((steps > 100) & (heard.pcm[1:] == 0))]
        assert edges == [stage.vocabulary.level("delta")], "only the end of the sentence stops at once"

    perform(script)


def test_an_online_voice_steps_in_only_after_a_yes() -> None:
    async def script() -> None:
        refused = Stage(best=Script(fail_after=0))
        await refused.say()
        assert refused.voices["second"].texts == []
        agreed = Stage(best=Script(fail_after=0), agreed=("second",))
        heard = await agreed.say()
        assert agreed.chain.voice == "second:s"
        assert agreed.vocabulary.read(heard.pcm) == WORDS

    perform(script)


def test_when_nobody_is_left_the_reply_fails_and_the_next_one_is_a_new_chance() -> None:
    async def script() -> None:
        stage = Stage(best=Script(fail_after=0), local=Script(fail_after=0))
        with pytest.raises(APIConnectionError, match="no TTS left"):
            await stage.say()
        assert [code for code, _ in stage.notices] == ["tts_replaced", "tts_failed"]
        stage.local.fail_after = None
        heard = await stage.say()
        assert stage.vocabulary.read(heard.pcm) == WORDS

    perform(script)


def test_a_voice_chosen_in_the_middle_speaks_from_the_next_sentence_on() -> None:
    async def script() -> None:
        stage = Stage(best=Script(word_delay_s=0.2))

        async def choose() -> None:
            await asyncio.sleep(0.3)
            stage.chain.set_voice("second:s")

        choosing = asyncio.create_task(choose())
        heard = await stage.say()
        await choosing
        assert stage.vocabulary.read(heard.pcm) == WORDS
        later = {"Echo foxtrot golf hotel india.", "Juliet kilo lima mike november oscar!"}
        assert set(stage.voices["second"].texts) == later
        assert stage.notices == []

    perform(script)


def test_choosing_a_failed_voice_tries_it_again_and_choosing_is_consent() -> None:
    async def script() -> None:
        stage = Stage(best=Script(fail_after=0))
        await stage.say()
        stage.best.fail_after = None
        stage.chain.set_voice("best:b")
        await stage.say()
        assert stage.chain.voice == "best:b"
        stage.chain.set_voice("second:s")
        stage.second.fail_after = 0
        stage.best.fail_after = 0
        await stage.say()
        assert stage.chain.voice == "local:l"

    perform(script)


def test_of_many_voices_the_last_ones_are_kept_and_never_one_that_speaks_is_closed() -> None:
    async def script() -> None:
        vocabulary, made = Vocabulary(), dict[str, list[LevelTTS]]()

        def make(voice: str) -> LevelTTS:
            speaker = LevelTTS(voice, vocabulary, Script(word_delay_s=0.2))
            made.setdefault(voice, []).append(speaker)
            return speaker

        chain = ChainTTS([Provider("best", False, "usual", make)], "best:usual")
        async with chain.stream() as stream:
            stream.push_text("Alpha bravo charlie. Delta echo foxtrot golf.")
            stream.end_input()
            said: list[Pcm] = []
            async for event in stream:
                if not said:  # it speaks its first sentence while a hundred others are chosen
                    for number in range(100):
                        chain.set_voice(f"best:v{number}")
                        await asyncio.sleep(0)
                    assert not made["usual"][0].closed
                said.append(np.frombuffer(event.frame.data, np.int16))
        # The second sentence is the last one chosen's.
        assert made["v99"][0].texts == ["Delta echo foxtrot golf."]
        assert vocabulary.read(np.concatenate(said)) == [
            "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf",
        ]  # fmt: skip
        chain.set_voice("best:v100")
        chain.set_voice("best:v98")
        await asyncio.sleep(0)
        kept = {name for name, (speaker, *_) in made.items() if not speaker.closed}
        assert kept == {f"v{number}" for number in range(101 - KEPT_VOICES, 101)}
        assert len(made["v98"]) == 1
        chain.set_voice("best:usual")  # anew
        assert len(made["usual"]) == 2
        await chain.aclose()
        assert all(speaker.closed for speakers in made.values() for speaker in speakers)

    perform(script)


def test_synthesis_keeps_a_stated_distance_from_what_is_heard() -> None:
    async def script() -> None:
        stage = Stage()
        stage.chain.ahead_s = 2.0
        heard = await stage.say("One two three four five six seven. " * 10)
        sentence_s = heard.pcm.size / SAMPLE_RATE_HZ / 10
        begun = stage.voices["best"].begun_s
        for number in range(3, 10):
            assert begun[number] == pytest.approx((number - 1) * sentence_s - 2.0, abs=sentence_s)
        assert stage.vocabulary.read(heard.pcm) == ["one", "two", "three", "four", "five", "six", "seven"] * 10

    perform(script)


def test_an_unknown_voice_changes_nothing() -> None:
    async def script() -> None:
        stage = Stage()
        with pytest.raises(NoSuchVoice, match="must be one of best, second, local"):
            stage.chain.set_voice("nobody:x")
        assert stage.chain.voice == "best:b"

    perform(script)


def test_leaving_a_reply_stops_all_voices() -> None:
    async def script() -> None:
        stage = Stage(best=Script(word_delay_s=1.0))
        async with stage.chain.stream() as stream:
            stream.push_text(TEXT)
            stream.end_input()
            async for _ in stream:
                break
        assert stage.voices["best"].stopped == len(stage.voices["best"].texts) == 2
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.sleep(0)
        assert [task for task in left if not task.done()] == []

    perform(script)


@pytest.mark.parametrize("text", ["…", "— ?!", "\n", "🙂"])
def test_a_reply_without_words_is_a_moment_of_silence_and_no_error(text: str) -> None:
    async def script() -> None:
        stage = Stage()
        heard = await stage.say(text)
        assert not heard.pcm.any()
        assert heard.text == text
        assert stage.voices["best"].texts == []

    perform(script)


def test_signs_between_sentences_are_in_the_captions_and_not_spoken() -> None:
    async def script() -> None:
        stage = Stage()
        text = "Alpha bravo charlie. … Delta echo foxtrot golf. — !"
        heard = await stage.say(text)
        assert heard.text == text
        assert stage.vocabulary.read(heard.pcm) == ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"]

    perform(script)


def test_a_long_first_sentence_starts_with_its_first_clause() -> None:
    async def script() -> None:
        stage = Stage()
        text = (
            "alpha bravo charlie delta echo, foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec "
            "romeo."
        )
        heard = await stage.say(text, token_delay_s=0.05)
        assert stage.voices["best"].texts[0] == "alpha bravo charlie delta echo,"
        assert heard.first_s < len(text) / 4 * 0.05
        assert heard.text == text
        _, pauses = sounding(heard.pcm)
        assert len(pauses) == 1
        assert 0.03 <= pauses[0] <= 0.16

    perform(script)
