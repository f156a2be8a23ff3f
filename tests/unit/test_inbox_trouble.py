"""The program in trouble: ids that come again, a full inbox, voices that fail, an end in the middle."""

from __future__ import annotations

import asyncio

import pytest

from agent.inbox.inbox import Handed, Inbox, InboxFull, Outcome
from agent.inbox.messages import TextMessage, parse
from agent.inbox.program import HANDOVER_S
from agent.inbox.showing import LAST_S, LONGEST_READ_S, SHORTEST_READ_S, revealed
from agent.inbox.states import EASE_S, State
from agent.inbox.voicing import RECOVER_S
from tests.doubles.clock import run_virtually
from tests.doubles.program import Paper, Stage, kinds, perform

pytestmark = pytest.mark.unit


# -- once


def test_a_redelivered_id_is_not_said_twice_and_the_newer_delivery_is_settled() -> None:
    async def script(stage: Stage) -> None:
        old = stage.send("1", "alpha bravo charlie delta.")
        await asyncio.sleep(0.4)
        old.live = False  # its connection is gone, and the broker delivers again while it is being said
        new = stage.send("1", "alpha bravo charlie delta.")
        twin = stage.send("1", "alpha bravo charlie delta.")
        await stage.settled(new, twin)
        late = stage.send("1", "alpha bravo charlie delta.")
        assert late.outcomes == [Outcome("played")]
        await asyncio.sleep(2)
        assert old.outcomes == []
        assert new.outcomes == twin.outcomes == [Outcome("played")]

    stage = perform(script)
    assert stage.words == ["alpha", "bravo", "charlie", "delta"]
    assert kinds(stage) == {"1": ["accepted", "started", "finished"]}
    assert stage.inbox.duplicates == 3


def test_what_is_posted_again_and_again_while_it_is_held_leaves_nothing_behind() -> None:
    async def script() -> None:
        inbox, paper = Inbox(), Paper("broker's")
        message = TextMessage(type="text", data="one", id="1")
        inbox.put(message, paper)
        for _ in range(100):
            inbox.put(message, Handed())
        (item,) = inbox.waiting
        assert len(item.deliveries) == 2
        taken = inbox.take()
        assert taken is item
        inbox.settle(item, Outcome("played"))
        assert paper.outcomes == [Outcome("played")]

    run_virtually(script())


def test_a_control_that_comes_again_is_not_carried_out_again() -> None:
    async def script(stage: Stage) -> None:
        stage.send("s", "stop", "control")
        stage.control("start")
        again = stage.send("s", "stop", "control")
        assert stage.program.running
        assert again.outcomes == [Outcome("played")]

    perform(script)


def test_settled_ids_are_remembered_up_to_a_bound() -> None:
    async def script() -> None:
        inbox = Inbox(remembered=3)
        for number in range(5):
            inbox.put(parse(f'{{"type":"control","data":"start","id":"{number}"}}'), Handed())
        assert inbox.put(parse('{"type":"control","data":"start","id":"4"}'), Handed()) == "duplicate"
        assert inbox.put(parse('{"type":"control","data":"start","id":"0"}'), Handed()) == "done"

    run_virtually(script())


def test_a_full_inbox_refuses_and_settles_nothing() -> None:
    async def script() -> None:
        inbox = Inbox(capacity=2)
        for number in range(2):
            inbox.put(TextMessage(type="text", data="a", id=str(number)), Paper(str(number)))
        paper = Paper("x")
        with pytest.raises(InboxFull, match="2 messages wait already"):
            inbox.put(TextMessage(type="text", data="a", id="x"), paper)
        assert paper.outcomes == []
        assert inbox.put(TextMessage(type="text", data="a", id="x"), paper, bounded=False) == "accepted"

    run_virtually(script())


def test_a_few_long_ones_fill_the_inbox_too() -> None:
    async def script() -> None:
        inbox = Inbox(capacity_bytes=3 * 2**20)
        long = "a" * 40_000
        for number in range(78):
            inbox.put(TextMessage(type="text", data=long, id=str(number)), Handed())
        with pytest.raises(InboxFull, match="the 78 messages that wait hold 3 MiB"):
            inbox.put(TextMessage(type="text", data=long), Handed())
        assert inbox.put(TextMessage(type="text", data="short"), Handed()) == "accepted"
        inbox.take()
        assert inbox.put(TextMessage(type="text", data=long), Handed()) == "accepted"

    run_virtually(script())


# -- voices that fail


def test_the_next_provider_goes_on_where_a_voice_broke_off_and_later_the_first_is_tried_again() -> None:
    async def script(stage: Stage) -> None:
        stage.best.fail_after = 2
        stage.send("1", "alpha bravo charlie delta.")
        await stage.settled()
        stage.best.fail_after = None
        stage.send("2", "echo.")
        await stage.settled()
        assert stage.voices["best"].texts == ["alpha bravo charlie delta."]
        await asyncio.sleep(RECOVER_S)
        stage.send("3", "foxtrot.")
        await stage.settled()
        assert stage.voices["best"].texts[1:] == ["foxtrot."]

    stage = perform(script)
    # The word at which it broke off is said again: nobody knows whether it was heard to its end.
    assert stage.words == ["alpha", "bravo", "bravo", "charlie", "delta", "echo", "foxtrot"]
    assert {paper.outcomes[0].kind for paper in stage.papers} == {"played"}


def test_what_nobody_can_say_is_shown_as_long_as_one_reads_it_and_fails_with_its_reason() -> None:
    text = "alpha bravo charlie delta echo foxtrot golf hotel."

    async def script(stage: Stage) -> None:
        stage.best.fail_after = stage.local.fail_after = 0
        paper, other = stage.send("1", text), stage.send("2", "india.")
        await stage.until(lambda: bool(stage.captions))
        began = asyncio.get_running_loop().time()
        await stage.until(lambda: stage.captions[-1] == ("1", text, True))
        # Seven words of thirty-seven letters before the last one.
        assert asyncio.get_running_loop().time() - began == pytest.approx(37 / 15, abs=0.1)
        shown = [caption for _, caption, _ in stage.captions]
        assert shown == sorted(set(shown), key=len)
        assert len(shown) == 8
        assert stage.program.state is State.PROCESSING
        await asyncio.sleep(0.5)
        stage.best.fail_after = stage.local.fail_after = None
        assert paper.outcomes == []
        await stage.settled()
        assert paper.outcomes[0].kind == "failed"
        assert "no TTS left" in paper.outcomes[0].reason
        assert other.outcomes == [Outcome("played")]

    stage = perform(script)
    assert stage.words == ["india"]
    assert kinds(stage)["1"] == ["accepted", "failed"]
    assert next(event.reason for event in stage.events if event.kind == "failed").startswith("the text could not")


def test_a_failure_in_the_middle_plays_what_there_is_shows_the_rest_and_fails() -> None:
    async def script(stage: Stage) -> None:
        stage.best.fail_after = 2
        stage.local.fail_after = 0
        paper, other = stage.send("1", "alpha bravo charlie delta echo foxtrot."), stage.send("2", "golf.")
        await stage.until(lambda: stage.program.state is State.TALKING)
        await stage.until(lambda: stage.program.state is State.PROCESSING)
        stage.best.fail_after = stage.local.fail_after = None
        assert paper.outcomes == []
        await stage.settled()
        assert paper.outcomes[0].kind == "failed"
        assert "no TTS left" in paper.outcomes[0].reason
        assert other.outcomes == [Outcome("played")]

    stage = perform(script)
    assert stage.words == ["alpha", "bravo", "golf"]
    shown = [text.strip() for name, text, _ in stage.captions if name == "1"]
    assert shown[-1] == "bravo charlie delta echo foxtrot."
    assert kinds(stage)["1"] == ["accepted", "started", "failed"]


def test_what_broke_off_can_be_skipped_while_its_rest_is_shown() -> None:
    async def script(stage: Stage) -> None:
        stage.best.fail_after = 2
        stage.local.fail_after = 0
        paper = stage.send("1", "alpha bravo charlie delta echo foxtrot.")
        await stage.until(lambda: stage.program.state is State.TALKING)
        await stage.until(lambda: stage.program.state is State.PROCESSING)
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        assert stage.program.skip()
        await stage.settled()
        assert asyncio.get_running_loop().time() - began < 0.1
        assert paper.outcomes == [Outcome("skipped", "skip")]
        await stage.until(lambda: stage.program.state is State.IDLE)

    perform(script)


@pytest.mark.parametrize("text", ["word " * 2000, "你好" * 2000, "a", "... a ...", "Ein Satz, noch ein Satz."])
def test_a_text_that_is_shown_grows_to_its_end_or_for_a_minute(text: str) -> None:
    shown = list(revealed(text))
    assert all(text.startswith(each) for each, _ in shown)
    assert [len(each) for each, _ in shown] == sorted(len(each) for each, _ in shown)
    total_s = sum(seconds for _, seconds in shown)
    assert SHORTEST_READ_S <= total_s <= LONGEST_READ_S + LAST_S
    assert (shown[-1][0] == text) == (len(text) < 900)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"voice": "cloud:x"}, "its provider must be one of"), ({"voice": "local:l"}, ""), ({"voice": "b"}, "")],
)
def test_a_message_chooses_only_among_allowed_voices(fields: dict[str, str], said: str) -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha.", **fields)
        stage.send("2", "bravo.")
        await stage.settled()
        outcome = stage.papers[0].outcomes[0]
        assert outcome.kind == ("failed" if said else "played")
        assert said in outcome.reason

    stage = perform(script)
    assert stage.voices["best"].texts[-1] == "bravo."
    assert stage.voices["local"].texts == (["alpha."] if fields["voice"] == "local:l" else [])


# -- the end


def test_at_the_end_the_sentence_is_finished_and_the_message_left_to_its_broker() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha bravo charlie. Delta echo foxtrot golf hotel. India juliet kilo.")
        stage.send("2", "lima.")
        await asyncio.sleep(1.1)  # in the second sentence
        await stage.program.finish(10.0)

    stage = perform(script)
    assert stage.words == ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]
    assert [paper.outcomes for paper in stage.papers] == [[], []]


def test_at_the_end_a_sentence_without_end_is_cut_in_time() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", " ".join(f"w{number}" for number in range(200)))
        await asyncio.sleep(1.0)
        began = asyncio.get_running_loop().time()
        await stage.program.finish(2.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.05)

    perform(script)


def test_the_bounds_are_what_they_say() -> None:
    assert HANDOVER_S <= 0.4
    assert EASE_S <= 0.3
