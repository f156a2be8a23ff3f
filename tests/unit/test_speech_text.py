"""Text on its way to a voice: sentences, words, their times. Whatever is cut, joined it is the text again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.agents.types import TimedString

from agent.speech.captions import Captions, Pace
from agent.speech.sentences import LONG_FIRST, LONGEST, Piece, SentenceCutter
from agent.speech.words import WordTimes, cut

pytestmark = pytest.mark.unit

TEXTS = st.text(st.sampled_from("abcZ éß.,;:!?—–-…\"'()\n 0123456789你好。🙂"), max_size=300)


def pieces_of(text: str, step: int = 3) -> list[Piece]:
    cutter = SentenceCutter()
    pieces = [piece for start in range(0, len(text), step) for piece in cutter.push(text[start : start + step])]
    return pieces + cutter.end()


@given(TEXTS, st.integers(1, 50))
def test_pieces_joined_are_the_text_however_it_came(text: str, step: int) -> None:
    assert "".join(piece.text for piece in pieces_of(text, step)) == text


@given(TEXTS)
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(cut(text)) == text


def test_sentences_are_cut_where_they_end() -> None:
    text = "Hello! I'm Mien. Dr. Smith has 3.5 apples, e.g. red ones, at 5 p.m. today. Is that so? Yes."
    assert [piece.text.strip() for piece in pieces_of(text)] == [
        "Hello!",
        "I'm Mien. Dr. Smith has 3.5 apples, e.g. red ones, at 5 p.m. today.",
        "Is that so? Yes.",
    ], "a few letters are spoken together with what follows, except at the very beginning"


def test_a_sentence_is_ready_as_soon_as_the_next_one_has_begun() -> None:
    cutter = SentenceCutter()
    assert cutter.push("Good morning.") == []
    assert cutter.push(" What can") == [Piece("Good morning.")]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (
            "When the sun had gone down behind the hills, the village was quiet and nobody was in the street any more.",
            "When the sun had gone down behind the hills, ",
        ),
        (
            "The oldest of the three houses — the one with the green door — had been empty for longer than I remember.",
            "The oldest of the three houses — the one with the green door — ",
        ),
        (
            "It costs 1,000,000 dollars and 12,500 more which nobody in this small town has ever seen in one place.",
            None,
        ),
        (
            "Yes, the lighthouse keeper who lived on the rock that was so small that his chair had to face the sea.",
            None,
        ),
        (
            "The list (apples, pears, plums, cherries and all that) grew so long that nobody could read it out loud.",
            None,
        ),
    ],
)
def test_a_long_first_sentence_is_begun_at_a_clause_where_that_sounds_right(text: str, first: str | None) -> None:
    pieces = pieces_of(text)
    assert [piece.text for piece in pieces][:1] == [first or text]
    assert pieces[0].ends_sentence is (first is None)


def test_only_the_first_sentence_is_spoken_by_clauses() -> None:
    later = "When the sun had gone down behind the hills, the village was quiet and nobody was in the street any more."
    assert len(later) > LONG_FIRST
    assert [piece.text for piece in pieces_of(f"Listen now. {later}")] == ["Listen now.", f" {later}"]


def test_an_endless_sentence_is_cut() -> None:
    pieces = pieces_of("word " * 500)
    assert all(len(piece.text) <= LONGEST for piece in pieces)
    assert all(piece.text.endswith(" ") for piece in pieces)


def test_word_times_are_told_once_in_order_and_cover_what_had_no_event() -> None:
    text = "Well — it's 1,000 apples, right?"
    times = WordTimes(text)
    told = times.starts(0, 0.0)
    told += times.starts(text.index("it's"), 0.5)
    told += times.starts(text.index("000"), 0.9)  # in the middle of a number
    told += times.starts(text.index("apples"), 1.5)
    told += times.starts(text.index("it's"), 1.6)  # backwards: ignored
    told += times.ends(2.5)
    assert [str(word) for word in told] == ["Well — ", "it's ", "1,000 ", "apples, ", "right?"]
    assert [word.start_time for word in told[:4]] == pytest.approx([0.0, 0.5, 0.9, 1.5])
    assert told[-1].end_time == 2.5


def test_words_are_found_by_what_is_written() -> None:
    times = WordTimes("No, no no. Yes!")
    told = [
        word
        for name, at in (("No", 0.1), ("no", 0.4), ("nope", 0.5), ("no", 0.6), ("yes", 1.0))
        for word in times.finds(name, at)
    ]
    told += times.ends(1.4)
    assert [(str(word), word.start_time) for word in told] == [
        ("No, ", 0.1),
        ("no ", 0.4),
        ("no. ", 0.6),
        ("Yes!", 1.0),
    ]


@given(TEXTS, st.lists(st.tuples(st.integers(0, 400), st.floats(0, 30)), max_size=20), st.floats(0, 40))
def test_whatever_events_come_words_are_complete_and_times_never_run_back(
    text: str, events: list[tuple[int, float]], end_s: float
) -> None:
    times = WordTimes(text)
    told = [word for position, at in events for word in times.starts(position, at)] + times.ends(end_s)
    assert "".join(told) == text
    moments = [moment for word in told for moment in (word.start_time, word.end_time)]
    assert moments == sorted(moments, key=float)  # type: ignore[arg-type]


def test_captions_tell_only_words_that_are_wholly_there() -> None:
    captions = Captions("  one two three", Pace(), timed=True)
    captions.told([TimedString("one ", 0.1, 0.5), TimedString("two ", 0.5, 0.9)])
    captions.begin(10.0, 0.1)
    assert captions.over(0.3) == []
    assert [(str(word), word.start_time, word.end_time) for word in captions.over(0.41)] == [("  one ", 10.0, 10.4)]
    assert captions.rest == "two three"
    assert "".join(captions.finish(2.0)) == "two three"
    assert captions.rest == ""


def test_nothing_is_guessed_while_times_are_awaited() -> None:
    captions = Captions(" I am he.", Pace(), timed=True)
    captions.begin(0.0, 0.0)
    assert captions.over(5.0) == []
    captions.told([TimedString("I ", 0.0, 1.0), TimedString("am ", 1.0, 2.0)])
    assert [str(word) for word in captions.over(5.0)] == [" I ", "am "]


def test_without_times_words_are_estimated_by_the_pace_and_end_with_the_sound() -> None:
    pace = Pace(10.0)
    captions = Captions("aaaaa bbbbb ccccc ddddd.", pace, timed=False)
    captions.begin(0.0, 0.0)
    early = captions.over(1.2)
    assert [(str(word), word.end_time) for word in early] == [("aaaaa ", 0.5), ("bbbbb ", 1.0)]
    late = captions.finish(4.0)
    assert [(str(word), word.start_time, word.end_time) for word in late] == [
        ("ccccc ", 1.0, 2.5),
        ("ddddd.", 2.5, 4.0),
    ]
    assert pace.letters_a_second == pytest.approx(7.5)


def test_times_for_another_text_are_not_believed() -> None:
    captions = Captions("one two", Pace(), timed=True)
    captions.told([TimedString("eins ", 0.0, 0.5)])
    captions.begin(0.0, 0.0)
    assert "".join(captions.over(9.0)) + "".join(captions.finish(9.0)) == "one two"
