"""The avatar is amused for a moment: after a joke of its own and when the person laughs, and never while it speaks."""

from __future__ import annotations

import asyncio

import pytest

from agent.amusement import Amusement, funny
from agent.smalltalk_lines import INTRODUCTION, JOKES, STORIES
from avatar.renderer import Expression

pytestmark = pytest.mark.unit

MOMENT_S = 0.02


@pytest.mark.parametrize(
    "text",
    [f"{INTRODUCTION} {JOKES[0]}", "Hahaha!", "ha ha... haha", "Ahaha, good one", "LOL", "That’s so funny", "nice 😂"],
)
def test_laughter_and_jokes_are_funny(text: str) -> None:
    assert funny(text)


@pytest.mark.parametrize(
    "text", ["", STORIES[0], "Tell me something funny", "He had a hat", "Have you heard?", "Ja ja", "The lollipop fell"]
)
def test_other_words_are_not(text: str) -> None:
    assert not funny(text)


async def test_after_a_joke_it_is_amused_for_a_moment_and_then_listens() -> None:
    worn: list[Expression] = []
    face = Amusement(worn.append, MOMENT_S)
    face.state("speaking")
    face.said(JOKES[1])
    assert worn == [Expression.SPEAKING]
    face.state("listening")
    assert worn[-1] is Expression.AMUSED
    await asyncio.sleep(3 * MOMENT_S)
    assert worn == [Expression.SPEAKING, Expression.AMUSED, Expression.LISTENING]


async def test_it_joins_in_when_the_person_laughs_and_stops_when_it_speaks() -> None:
    worn: list[Expression] = []
    face = Amusement(worn.append, 60.0)
    face.state("listening")
    face.said("Haha!")
    face.state("thinking")
    assert worn == [Expression.LISTENING, Expression.AMUSED]
    face.state("speaking")
    face.state("listening")
    assert worn[2:] == [Expression.SPEAKING, Expression.LISTENING]


async def test_a_closed_face_expresses_nothing_later() -> None:
    worn: list[Expression] = []
    face = Amusement(worn.append, MOMENT_S)
    face.said("Haha!")
    face.close()
    await asyncio.sleep(3 * MOMENT_S)
    assert worn == [Expression.AMUSED]
