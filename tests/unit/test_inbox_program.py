"""The program over a live playout in virtual time: order, gaps, states, controls, failing voices, and the laws."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.inbox.inbox import Event, Handed, Inbox, InboxFull, Outcome
from agent.inbox.messages import Message, TextMessage, parse
from agent.inbox.program import HANDOVER_S, Program, State
from agent.inbox.speech import READY_S
from agent.inbox.states import EASE_S
from agent.inbox.voicing import PORTION, RECOVER_S, Voicing, portions
from agent.speech.chain import ChainTTS, Provider
from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES
from avatar.playout import Playout, TickReport
from rooms.memory import MemorySink
from tests.doubles.clock import run_virtually
from tests.doubles.renderers import ScriptedRenderer
from tests.doubles.sinks import PacketSink
from tests.doubles.tts import WORD_S, LevelTTS, Script, Vocabulary

pytestmark = pytest.mark.unit


class Paper:
    """A delivery that keeps what it was told."""

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self.live = True
        self.outcomes: list[Outcome] = []

    def settle(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@dataclass
class Stage:
    """Two voices; a sink that holds what it is given for 20 ms and more, as real ones do."""

    best: Script = field(default_factory=Script)
    local: Script = field(default_factory=Script)
    renderer: ScriptedRenderer = field(default_factory=ScriptedRenderer)
    packets: bool = True

    def __post_init__(self) -> None:
        self.inbox = Inbox(capacity=20)
        self.vocabulary = Vocabulary()
        self.voices = {name: LevelTTS(name, self.vocabulary, getattr(self, name)) for name in ("best", "local")}
        self.chain = ChainTTS(
            [
                Provider("best", True, "b", lambda _: self.voices["best"]),
                Provider("local", False, "l", lambda _: self.voices["local"]),
            ],
            "best:b",
        )
        self.program = Program(self.inbox, Voicing(self.chain, allowed=("local",)).speak)
        self.playout = Playout(self.renderer, listener=self.program)
        self.playout.on_tick = self._tick
        self.program.bind(self.playout)
        self.sink = PacketSink(asyncio.get_running_loop().time) if self.packets else MemorySink()
        self.playout.attach(self.sink, primary=True)
        self.states: list[tuple[State, str | None]] = []
        self.program.on_state = lambda state, message_id: self.states.append((state, message_id))
        self.captions: list[tuple[str, str, bool]] = []
        self.program.on_caption = lambda *told: self.captions.append(told)
        self.gaps: list[float] = []
        self.program.on_gap = self.gaps.append
        self.events: list[Event] = []
        self.inbox.listeners.append(self.events.append)
        self.ticks: list[TickReport] = []
        self.papers: list[Paper] = []

    def _tick(self, report: TickReport) -> None:
        self.program.on_tick(report)
        self.ticks.append(report)

    def send(self, message_id: str, data: str = "", kind: str = "text", **fields: Any) -> Paper:
        text = data or f"word{message_id} ends"
        paper = Paper(message_id)
        self.papers.append(paper)
        message: Message = parse(json.dumps({"type": kind, "data": text, "id": message_id} | fields))
        self.inbox.put(message, paper, bounded=False)
        return paper

    def control(self, command: str) -> Paper:
        return self.send(f"control-{len(self.papers)}", command, "control")

    async def until(self, condition: Callable[[], bool], timeout_s: float = 400.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.01)

    async def settled(self, *papers: Paper) -> None:
        await self.until(lambda: all(paper.outcomes for paper in papers or self.papers))

    @property
    def words(self) -> list[str]:
        return self.vocabulary.read(self.sink.sound)


def perform(script: Callable[[Stage], Awaitable[None]], **options: Any) -> Stage:
    async def play() -> Stage:
        stage = Stage(**options)
        clock = asyncio.create_task(stage.playout.run())
        program = asyncio.create_task(stage.program.run())
        await asyncio.sleep(0.1)
        await script(stage)
        for task in (program, clock):
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(program, clock, return_exceptions=True)
        await stage.program.aclose()
        stage.playout.close()
        return stage

    return run_virtually(play())


def kinds(stage: Stage) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for event in stage.events:
        told.setdefault(event.id, []).append(event.kind)
    return told


def test_a_message_is_spoken_and_settled_when_it_was_heard_to_its_end() -> None:
    async def script(stage: Stage) -> None:
        paper = stage.send("1", "alpha bravo charlie.")
        await asyncio.sleep(0.4)
        assert stage.program.state is State.TALKING
        assert paper.outcomes == []
        await stage.settled()
        heard = stage.sink.sound[: stage.sink.sound.size - stage.sink.unsent()]
        assert stage.vocabulary.read(heard) == ["alpha", "bravo", "charlie"]
        assert paper.outcomes == [Outcome("played")]
        await asyncio.sleep(1)

    stage = perform(script)
    assert stage.states == [
        (State.PROCESSING, "1"),
        (State.TALKING, "1"),
        (State.TRANSITIONING, "1"),
        (State.IDLE, None),
    ]
    assert kinds(stage) == {"1": ["accepted", "started", "finished"]}
    assert [each.value for each, _ in stage.renderer.expressions] == ["speaking", "idle"]
    assert stage.captions[-1] == ("1", "alpha bravo charlie.", True)
    assert [len(text) for _, text, _ in stage.captions] == sorted(len(text) for _, text, _ in stage.captions)


def test_ten_messages_follow_each_other_with_hardly_a_tick_between() -> None:
    async def script(stage: Stage) -> None:
        for number in range(10):
            stage.send(str(number), f"word{number} two three four five.")
        await stage.settled()

    stage = perform(script, best=Script(delay_s=0.5))
    assert [word for word in stage.words if word.startswith("word")] == [f"word{number}" for number in range(10)]
    assert len(stage.gaps) == 9
    assert max(stage.gaps) == 0.0
    segments = [report.segment for report in stage.ticks]
    spoken = [number for number, segment in enumerate(segments) if segment is not None]
    idle = sum(segment is None for segment in segments[spoken[0] : spoken[-1]])
    assert idle == 0  # the next one stood ready at every end
    assert all(state is not State.IDLE for state, _ in stage.states[:-1])


def test_very_short_messages_and_a_slow_voice_leave_no_more_than_300_ms() -> None:
    async def script(stage: Stage) -> None:
        for number in range(12):
            stage.send(str(number), f"w{number}.")
        await stage.settled()

    # 0.2 s of speech and 0.25 s of pause each, of which synthesis takes 0.2 s
    stage = perform(script, best=Script(delay_s=0.2, tail_s=0.3))
    assert len(stage.gaps) == 11
    assert max(stage.gaps) <= 0.3


def test_the_highest_priority_goes_first_even_past_one_that_was_prepared() -> None:
    async def script(stage: Stage) -> None:
        stage.send("a", "alpha one two three four five six seven eight nine.")
        stage.send("b", "bravo")
        await asyncio.sleep(0.6)  # b is prepared by now
        stage.send("c", "charlie", priority=1)
        stage.send("d", "delta", priority=9)
        stage.send("e", "echo", priority=9)
        await stage.settled()

    stage = perform(script)
    named = [word for word in stage.words if word in ("alpha", "bravo", "charlie", "delta", "echo")]
    assert named == ["alpha", "delta", "echo", "charlie", "bravo"]
    assert all(told == ["accepted", "started", "finished"] for told in kinds(stage).values())
    assert max(stage.gaps) == 0.0


def test_a_long_text_is_made_only_some_seconds_ahead() -> None:
    words = [f"w{number % 60}" for number in range(1500)]
    text = " ".join(f"{word}." if number % 8 == 7 else word for number, word in enumerate(words))
    ahead: list[float] = []

    async def script(stage: Stage) -> None:
        stage.send("long", text)
        while not stage.papers[0].outcomes:
            await asyncio.sleep(1)
            made = sum(len(said.split()) for said in stage.voices["best"].texts) * WORD_S
            heard = sum(report.segment is not None for report in stage.ticks) * 0.04
            ahead.append(made - heard)

    stage = perform(script)
    assert stage.words == words
    assert len(stage.voices["best"].texts) > 10
    portion_s = PORTION / len(text) * 1500 * WORD_S
    assert max(ahead) < 2 * portion_s + READY_S + 4.0 + 2
    assert stage.captions[-1] == ("long", text, True)
    assert stage.playout.stats.dry == 0


def test_portions_are_whole_sentences_and_together_the_text() -> None:
    draw = random.Random(1)
    text = " ".join("x" * draw.randint(1, 12) + draw.choice(["", "", "", ".", ",", "!"]) for _ in range(2000))
    parts = list(portions(text))
    assert "".join(parts) == text
    assert max(len(part) for part in parts) <= PORTION
    assert len(parts) < 2 * len(text) / PORTION
    assert list(portions("Hi.")) == ["Hi."]


# -- controls


def test_skip_ends_the_one_that_plays_and_not_the_one_that_waits() -> None:
    async def script(stage: Stage) -> None:
        first = stage.send("1", "alpha bravo charlie delta echo foxtrot golf.")
        stage.send("2", "hotel india.")
        await asyncio.sleep(0.5)
        stage.control("skip")
        assert first.outcomes == [Outcome("skipped", "skip")]
        await stage.settled()

    stage = perform(script)
    assert "golf" not in stage.words
    assert stage.words[-2:] == ["hotel", "india"]
    assert kinds(stage) == {"1": ["accepted", "started", "skipped"], "2": ["accepted", "started", "finished"]}


@pytest.mark.parametrize("before_end_s", [0.05, 0.15, 0.25, 0.35, 0.45])
def test_a_skip_just_before_the_end_loses_nothing_of_the_next_one(before_end_s: float) -> None:
    async def script(stage: Stage) -> None:
        first = stage.send("1", "alpha bravo charlie delta.")
        second = stage.send("2", "hotel india juliet.")
        third = stage.send("3", "kilo.")
        await stage.until(lambda: stage.program.state is State.TALKING)
        await asyncio.sleep(0.015 + 4 * WORD_S + 0.25 - before_end_s)
        assert first.outcomes == []
        stage.control("skip")
        await stage.settled()
        assert [paper.outcomes for paper in (second, third)] == [[Outcome("played")], [Outcome("played")]]

    stage = perform(script, best=Script(tail_s=0.6))
    assert stage.words[-4:] == ["hotel", "india", "juliet", "kilo"]
    assert stage.words.count("hotel") == 1


def test_pause_holds_in_mid_word_and_resume_goes_on() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha bravo charlie delta.")
        await asyncio.sleep(0.5)
        stage.control("pause")
        before = len(stage.ticks)
        await asyncio.sleep(5)
        assert {report.segment for report in stage.ticks[before:]} == {None}
        assert stage.papers[0].outcomes == []
        assert stage.program.status()["paused"]
        stage.control("resume")
        await stage.settled()
        assert stage.papers[0].outcomes == [Outcome("played")]

    assert perform(script, packets=False).words[-2:] == ["charlie", "delta"]


def test_stop_lets_the_one_that_plays_end_and_begins_no_other_until_start() -> None:
    async def script(stage: Stage) -> None:
        first, second = stage.send("1", "alpha bravo charlie delta echo."), stage.send("2", "foxtrot.")
        await asyncio.sleep(0.4)
        stage.control("stop")
        await stage.settled(first)
        await asyncio.sleep(5)
        assert second.outcomes == []
        assert stage.program.state is State.IDLE
        assert [each["state"] for each in stage.program.status()["messages"]] == ["waiting"]
        stage.control("start")
        await stage.settled()

    stage = perform(script)
    assert stage.words == ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]


def test_clear_takes_out_what_waits_and_what_is_prepared_and_not_what_plays() -> None:
    async def script(stage: Stage) -> None:
        for number in range(5):
            stage.send(str(number), f"word{number} two three four.")
        await asyncio.sleep(0.4)
        stage.control("clear")
        await stage.settled()
        await asyncio.sleep(3)

    stage = perform(script)
    assert stage.words == ["word0", "two", "three", "four"]
    assert [paper.outcomes[0].kind for paper in stage.papers] == ["played", *["skipped"] * 4, "played"]


def test_one_message_is_removed_wherever_it_is() -> None:
    async def script(stage: Stage) -> None:
        for number in range(4):
            stage.send(str(number), f"word{number} two three.")
        await asyncio.sleep(0.4)
        assert stage.program.remove("0")  # on air
        assert stage.program.remove("3")  # waits
        assert stage.program.remove("1")  # prepared, or handed over again
        assert not stage.program.remove("9")
        assert not stage.program.remove("0")
        await stage.settled()

    stage = perform(script)
    assert [word for word in stage.words if word.startswith("word")] == ["word0", "word2"]


def test_skip_and_clear_at_once_leave_nothing_and_the_program_idle() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha bravo charlie delta.")
        stage.send("2", "echo.")
        stage.control("pause")
        await asyncio.sleep(0.5)
        stage.control("skip")
        stage.control("clear")
        assert stage.states[-1] == (State.IDLE, None)
        stage.control("resume")
        await asyncio.sleep(1)

    assert perform(script).words == []


def test_skip_while_the_voice_is_still_thinking() -> None:
    async def script(stage: Stage) -> None:
        stage.send("1", "alpha.")
        await asyncio.sleep(0.5)
        assert stage.states == [(State.PROCESSING, "1")]
        stage.control("skip")
        assert stage.states[-1] == (State.IDLE, None)
        assert stage.papers[0].outcomes == [Outcome("skipped", "skip")]
        await asyncio.sleep(5)

    assert perform(script, best=Script(delay_s=3)).words == []


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
        assert stage.captions == [("1", text, True)]
        await asyncio.sleep(2.0)
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


def test_a_failure_in_the_middle_plays_what_there_is_and_fails() -> None:
    async def script(stage: Stage) -> None:
        stage.best.fail_after = 2
        stage.local.fail_after = 0
        stage.send("1", "alpha bravo charlie delta.")
        await stage.settled()
        assert stage.papers[0].outcomes[0].kind == "failed"

    stage = perform(script)
    assert stage.words[:2] == ["alpha", "bravo"]
    assert stage.captions[-1] == ("1", "alpha bravo charlie delta.", True)


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


# -- the laws

SENDS = st.tuples(st.just("send"), st.integers(0, 14), st.integers(0, 3))
OTHERS = st.tuples(
    st.sampled_from(["wait", "skip", "clear", "remove", "again", "disconnect", "pause", "resume", "stop", "start"]),
    st.integers(0, 14),
    st.integers(0, 30),
)


@given(
    script=st.lists(st.one_of(SENDS, SENDS, OTHERS), min_size=3, max_size=25),
    slow=st.sampled_from([0.0, 0.05, 0.4]),
)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_each_id_is_said_once_and_each_delivery_settled_once(
    script: list[tuple[str, int, int]], slow: float
) -> None:
    async def play(stage: Stage) -> None:
        for what, number, amount in script:
            message_id = str(number)
            text = f"begin{number} middle end{number}."
            match what:
                case "send":
                    if all(paper.id != message_id for paper in stage.papers):
                        stage.send(message_id, text, priority=amount)
                case "again":
                    if any(paper.id == message_id for paper in stage.papers):
                        stage.send(message_id, text)
                case "disconnect":
                    # All that is unsettled dies with its connection and is delivered again, in order.
                    lost = [paper for paper in stage.papers if paper.live and not paper.outcomes]
                    for paper in lost:
                        paper.live = False
                    await asyncio.sleep(amount / 10)
                    for paper in lost:
                        stage.send(paper.id, text)
                case "wait":
                    await asyncio.sleep(amount / 20)
                case "remove":
                    stage.program.remove(message_id)
                case command:
                    stage.control(command)
        stage.control("start")
        stage.control("resume")
        await stage.until(lambda: all(paper.outcomes for paper in stage.papers if paper.live), 60)
        await stage.until(lambda: stage.program.state is State.IDLE, 10)
        assert stage.program.status()["messages"] == []

    stage = perform(play, best=Script(delay_s=slow, lead_s=0.02, tail_s=0.1))
    begun = Counter(word for word in stage.words if word.startswith("begin"))
    assert all(count == 1 for count in begun.values()), begun
    for paper in stage.papers:
        assert len(paper.outcomes) == (1 if paper.live else 0) or (not paper.live and len(paper.outcomes) <= 1)
    told = kinds(stage)
    for message_id, events in told.items():
        assert Counter(events)["accepted"] == 1, message_id
        assert Counter(events)["started"] <= 1, message_id
        assert events[-1] in ("finished", "skipped")
        assert events.count("finished") + events.count("skipped") == 1
    ended = Counter(word for word in stage.words if word.startswith("end"))
    for message_id, events in told.items():
        if events[-1] == "finished":
            assert ended[f"end{message_id}"] == 1, message_id


@given(
    sends=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), min_size=2, max_size=12),
)
@settings(max_examples=40, deadline=None)
def test_whoever_is_begun_had_the_highest_priority_of_those_that_could_still_be_begun(
    sends: list[tuple[int, int]],
) -> None:
    """At each start no other waits that outranks it, unless it came within the handover."""
    arrived: dict[str, tuple[float, int]] = {}
    started: list[tuple[str, float]] = []

    async def play(stage: Stage) -> None:
        now = asyncio.get_running_loop().time
        stage.inbox.listeners.append(
            lambda event: started.append((event.id, now())) if event.kind == "started" else None
        )
        for number, (priority, wait) in enumerate(sends):
            arrived[str(number)] = now(), priority
            stage.send(str(number), f"word{number} two three.", priority=priority)
            await asyncio.sleep(wait / 20)
        await stage.settled()

    stage = perform(play)
    assert len(started) == len(sends)
    position = {message_id: place for place, (message_id, _) in enumerate(started)}
    slack_s = HANDOVER_S + 0.2
    for message_id, at in started:
        for other, (other_at, priority) in arrived.items():
            if position[other] > position[message_id] and other_at < at - slack_s:
                own = -arrived[message_id][1], int(message_id)
                assert own < (-priority, int(other)), f"{message_id} before {other}"
    assert stage.sink.sound.size % TICK_SAMPLES == 0
    assert np.any(stage.sink.sound)
    assert SAMPLE_RATE_HZ == 48_000
