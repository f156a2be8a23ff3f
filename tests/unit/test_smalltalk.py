"""The built-in persona: what it says, what it does not claim, and that asking twice gives the same words."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.agents import llm

from agent.arithmetic import calculate
from agent.smalltalk import SmallTalk, clock_in
from agent.smalltalk_lines import FOREIGN, JOKES, STORIES, UNKNOWN
from agent.smalltalk_turn import language_of, name_in

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 21, 17, 5, tzinfo=UTC)


class Chat:
    """A conversation with a fresh persona."""

    def __init__(self, *, language: str = "en", seed: int = 0, introduced: bool = True) -> None:
        self.persona = SmallTalk(persona="Mien", greeting="Hello!", language=language, clock=lambda: NOW, seed=seed)
        self.messages: list[tuple[str, str]] = []
        if introduced:
            self.messages += [("user", "Hello."), ("assistant", "Hi. I'm the small built-in persona.")]

    def say(self, text: str) -> str:
        self.messages.append(("user", text))
        answer = self.persona.reply(self.messages)
        self.messages.append(("assistant", answer))
        return answer


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("What time is it?", "It's 5:05 p.m."),
        ("What's the date today?", "Today is Saturday, November 21, 2026."),
        ("What is twelve times seven?", "12 times 7 is 84."),
        ("Who are you?", "Mien"),
        ("Are you a human?", "AI avatar"),
        ("Are you ChatGPT?", "No language model"),
        ("Can you see me?", "can't see"),
        ("What can you do?", "time and the date"),
        ("How do I add my API key?", "OPENAI API KEY"),
        ("Tell me a story, please.", "."),
        ("Do you like cats?", ""),
        ("Thanks a lot!", ""),
        ("Bye bye", ""),
        ("Sing me a song", "can't sing"),
        ("Please spell avatar", "A, V, A, T, A, R."),
        ("Count to five", "1, 2, 3, 4, 5."),
        ("repeat after me: red lorry", "red lorry"),
    ],
)
def test_small_talk(said: str, expected: str) -> None:
    answer = Chat().say(said)
    assert expected in answer
    assert answer not in UNKNOWN
    assert "built-in" not in answer or "Who are you" in said or "model" in answer or "human" in said


@pytest.mark.parametrize(
    "said",
    [
        "What is the capital of France?",
        "Who was Napoleon?",
        "Who won the game last night?",
        "Will it rain tomorrow?",
        "Explain quantum physics to me",
        "Translate dog into Finnish",
    ],
)
def test_what_it_does_not_know_it_says(said: str) -> None:
    assert Chat().say(said) in UNKNOWN


def test_its_first_answer_says_what_it_is_and_later_ones_do_not() -> None:
    chat = Chat(introduced=False)
    assert "built-in" in chat.say("Hello there!")
    assert "built-in" not in chat.say("How are you?")


def test_with_nothing_to_answer_it_greets_and_says_what_it_is() -> None:
    answer = Chat(introduced=False).persona.reply([])
    assert answer.startswith("Hello!")
    assert "built-in" in answer


def test_it_remembers_the_name_it_was_told_last() -> None:
    chat = Chat()
    assert "haven't told me" in chat.say("Do you remember my name?")
    assert "Ada" in chat.say("I'm Ada.")
    chat.say("I'm tired")
    assert chat.say("What's my name?") == "Your name is Ada."
    chat.say("Call me Bob")
    assert chat.say("what is my name") == "Your name is Bob."


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("My name is anna", "Anna"),
        ("Hi, I'm O'Brien!", "O'Brien"),
        ("this is Zoë", "Zoë"),
        ("I'm hungry", None),
        ("I'm Going home", None),
        ("I am from Berlin", None),
        ("I'm not sure", None),
        ("what is my name", None),
    ],
)
def test_names(said: str, name: str | None) -> None:
    assert name_in(said) == name


def test_it_repeats_itself_and_the_user() -> None:
    chat = Chat()
    joke = chat.say("Tell me a joke")
    assert chat.say("Can you repeat that?") == joke
    chat.say("The sky is very blue")
    assert chat.say("What did I just say?") == "You said: The sky is very blue"


def test_jokes_and_fallbacks_do_not_repeat_while_there_are_others() -> None:
    chat = Chat()
    assert {chat.say("another joke please") for _ in JOKES} == set(JOKES)
    assert len({chat.say(f"tell me about topic number {number}") for number in range(len(UNKNOWN))}) == len(UNKNOWN)


def test_stories_are_long_enough_to_be_interrupted() -> None:
    assert len(set(STORIES)) >= 3
    for story in STORIES:
        assert len(story.split()) / 165 * 60 >= 20, "seconds at espeak's rate"


@pytest.mark.parametrize("said", ["", "   ", "…", "?!", "x", "\n"])
def test_unclear_input_is_met_shortly(said: str) -> None:
    answer = Chat().say(said) if said.strip() else Chat().persona.reply([("user", "hm?"), ("user", "…")])
    assert 0 < len(answer) < 120


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Wie heißt du und wie geht es dir?", "de"),
        ("Bonjour, comment vous appelez-vous ?", "fr"),
        ("Hola, ¿cómo estás?", "es"),
        ("Ciao, come stai?", "it"),
        ("Olá, como você está?", "pt"),
        ("Hoe gaat het met jou?", "nl"),
        ("Cześć, jak się masz?", "pl"),
    ],
)
def test_other_languages_get_one_honest_sentence_of_their_own(said: str, code: str) -> None:
    assert Chat().say(said) == FOREIGN[code]


@pytest.mark.parametrize(
    "said", ["What is that in the garden?", "Is it late?", "I want to go to Paris", "Do you know Die Hard?"]
)
def test_english_is_not_taken_for_another_language(said: str) -> None:
    assert language_of(said) is None


def test_a_persona_of_another_language_says_once_that_it_speaks_english() -> None:
    chat = Chat(language="de-AT", introduced=False)
    assert chat.say("Hello!") == FOREIGN["de"]
    assert "12" in chat.say("What is five plus seven?")


@given(st.text(max_size=200), st.integers(0, 3))
def test_whatever_is_said_there_is_a_short_answer_and_the_same_one_twice(said: str, seed: int) -> None:
    messages = [("user", "Hi"), ("assistant", "I'm the small built-in persona."), ("user", said)]
    first, second = (SmallTalk(persona="Mien", clock=lambda: NOW, seed=seed).reply(messages) for _ in range(2))
    assert first == second
    assert first.strip()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("what's 15% of 80", "15 percent of 80 is 12."),
        ("five hundred and twenty-one minus twenty", "521 minus 20 is 501."),
        ("2 + 3 * 4", "2 plus 3 times 4 is 14."),
        ("10 divided by 4", "10 divided by 4 is 2.5."),
        ("ten divided by zero", "Dividing by zero has no answer, not even for me."),
        ("3 minus 5", "3 minus 5 is minus 2."),
        ("half of 9", "Half of 9 is 4.5."),
        ("the square root of 144", "The square root of 144 is 12."),
        ("one third is nice", None),
        ("call 555-1234", None),
        ("I have two dogs", None),
        ("9999999 times 9999999 times 99", "That's a bigger number than I'd like to read out."),
    ],
)
def test_sums(said: str, answer: str | None) -> None:
    assert calculate(said) == answer


def test_the_clock_is_the_users_and_an_unknown_zone_is_no_error() -> None:
    tokyo, here = clock_in("Asia/Tokyo")(), clock_in("Middle/Earth")()
    assert tokyo.utcoffset() is not None
    assert abs((tokyo.timestamp()) - here.timestamp()) < 5


def test_it_streams_word_by_word() -> None:
    async def ask() -> list[str]:
        context = llm.ChatContext.empty()
        context.add_message(role="system", content="You are Mien.")
        context.add_message(role="user", content="Tell me a story")
        async with SmallTalk(persona="Mien", clock=lambda: NOW).chat(chat_ctx=context) as stream:
            return [chunk.delta.content or "" async for chunk in stream if chunk.delta is not None]

    parts = asyncio.run(ask())
    assert len(parts) > 80
    assert all(re.fullmatch(r"\s*\S+", part) for part in parts)
    assert any(story in "".join(parts) for story in STORIES)
