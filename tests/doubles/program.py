"""A program over a live playout in virtual time: two scripted voices, a sink that holds what real ones do, papers for
its deliveries. What it said, its states, captions, gaps and events are there to be read afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agent.inbox.inbox import Event, Inbox, Outcome
from agent.inbox.messages import Message, parse
from agent.inbox.program import Program, State
from agent.inbox.voicing import Voicing
from agent.speech.chain import ChainTTS, Provider
from avatar.playout import Playout, TickReport
from rooms.memory import MemorySink
from tests.doubles.clock import run_virtually
from tests.doubles.renderers import ScriptedRenderer
from tests.doubles.sinks import PacketSink
from tests.doubles.tts import LevelTTS, Script, Vocabulary


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
