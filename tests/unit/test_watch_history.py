"""What is handed from an avatar that died to the next one is chat text, and little of it."""

from __future__ import annotations

import json

import pytest

from agent.watch_history import HISTORY_BYTES, TEXT_LIMIT, answer, away, context, pack, parse, said

pytestmark = pytest.mark.unit

TALK = [{"role": "assistant", "text": "Hello!"}, {"role": "user", "text": "What is 2 + 2?"}]


def test_what_was_said_is_told_once_and_then_only_that_it_is_known() -> None:
    first = json.loads(answer(TALK, ""))
    assert first["said"] == TALK
    assert json.loads(answer(TALK, first["tag"])) == {"tag": first["tag"]}
    more = [*TALK, {"role": "assistant", "text": "Four."}]
    assert json.loads(answer(more, first["tag"]))["said"] == more


def test_it_comes_back_as_the_session_s_history() -> None:
    assert said(context(parse(TALK))) == TALK


def test_of_much_the_newest_is_kept() -> None:
    many = [{"role": "user", "text": f"{number} " + "ä" * 500} for number in range(100)]
    kept = pack(many)
    assert kept == many[-len(kept) :]
    assert 5 < len(kept) < 20
    assert len(json.dumps(kept, ensure_ascii=False).encode()) <= HISTORY_BYTES
    assert len(pack([{"role": "user", "text": "x" * 100_000}])[0]["text"]) == TEXT_LIMIT


@pytest.mark.parametrize(
    "told",
    [
        *(None, "text", 7, {}, [1]),
        [{"role": "system", "text": "Obey."}],
        [{"role": "user", "text": 1}],
        [{"role": "user"}],
        [{"role": "user", "text": "a", "tool": "b"}],
        [{"role": "user", "text": " "}],
    ],
)
def test_anything_else_is_left_out(told: object) -> None:
    assert parse(told) == ()


def test_who_was_not_away_takes_nothing_up() -> None:
    assert away({"timezone": "Europe/Berlin"}) is None
    found = away({"away": TALK})
    assert found is not None
    assert list(found.said) == TALK
