"""Somebody else's agent gets a face: its own process, livekit-plugins-mien, `mien avatar`, a real server."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.doubles.page import until
from tests.livekit.person import LiveKitPerson
from tests.livekit.server import ROOT, LiveKitServer, environment
from tests.livekit.worker import START_S, Worker, working

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

PATIENCE_S = 60
AVATAR = ("-m", "agent.cli", "avatar", "start")
PLUGIN = ROOT / "plugins/livekit-plugins-mien"
CHARACTER_S = 0.05
"""How long the plain agent hums a character."""
SENTENCE = "a sentence of three seconds, more or less, as it is hummed: "


@dataclass
class PlainAgent:
    process: subprocess.Popen[str]
    log: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    def told(self, room: str, event: str) -> list[dict[str, Any]]:
        return [one for one in list(self.events) if one["event"] == event and one["room"] == room]


@contextmanager
def plain_agent(server: LiveKitServer, folder: Path, name: str) -> Iterator[PlainAgent]:
    """Runs where nothing of Mien's can be imported but the plugin."""
    home = folder / name
    home.mkdir()
    shutil.copy(ROOT / "tests/livekit/avatar_agent/agent.py", home)
    log = home / "log"
    with log.open("a") as errors:  # so that both write at its end
        process = subprocess.Popen(
            [sys.executable, "agent.py", "start"],
            cwd=home,
            env=environment(**server.environment, PYTHONPATH=str(PLUGIN), PLAIN_AGENT=name),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    agent = PlainAgent(process, log)

    def follow() -> None:
        """livekit-agents logs to standard output too."""
        assert process.stdout is not None
        with log.open("a") as logged:
            for line in process.stdout:
                told = json.loads(line) if line.startswith("{") else {}
                if "event" in told and "room" in told:
                    agent.events.append(told)
                else:
                    print(line, end="", file=logged, flush=True)

    following = threading.Thread(target=follow)
    following.start()
    try:
        give_up = time.monotonic() + START_S
        while not agent.told("", "registered"):
            assert time.monotonic() < give_up, log.read_text()[-3000:]
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.05)
        yield agent
    finally:
        process.kill()
        process.wait(10)
        following.join()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def avatars(livekit: LiveKitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with working(
        livekit, tmp_path_factory.mktemp("avatars"), "mien-avatar", program=AVATAR, MIEN_AVATAR_NAME="mien-avatar"
    ) as worker:
        yield worker


@pytest.fixture(scope="module")
def agent(livekit: LiveKitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainAgent]:
    with plain_agent(livekit, tmp_path_factory.mktemp("plain"), "plain") as running:
        yield running


@asynccontextmanager
async def meeting(
    server: LiveKitServer, agent: PlainAgent, room: str, name: str, avatar: str = "mien-avatar"
) -> AsyncIterator[LiveKitPerson]:
    person = LiveKitPerson()
    told = json.dumps({"avatar_name": avatar})
    try:
        await person.join(server.url, server.token("ada", room, agent=name, metadata=told), microphone=False)
        await until(lambda: bool(agent.told(room, "ready")), "agent and avatar are there", PATIENCE_S)
        await until(lambda: len(person.pictures) > 5, "its face", PATIENCE_S)
        yield person
    finally:
        await person.leave()


def loud_s(person: LiveKitPerson, since: int = 0) -> float:
    pieces = person.sound[since:]
    return sum(int(np.abs(piece.astype(int)).max()) > 300 for piece in pieces) / 100


async def heard_out(person: LiveKitPerson) -> None:
    """What was sent is heard later, by what the ears' jitter buffer holds: much, on a busy machine."""
    await until(lambda: not person.loud(0.3), "silence", 5)


async def test_an_agent_that_knows_nothing_of_us_gets_a_face_and_a_voice(
    livekit: LiveKitServer, avatars: Worker, agent: PlainAgent
) -> None:
    async with meeting(livekit, agent, "face", "plain") as person:
        others = list(person.room.remote_participants.values())
        avatar = next(one for one in others if one.track_publications)
        (speaker,) = (one for one in others if one is not avatar)
        assert avatar.attributes["lk.publish_on_behalf"] == speaker.identity
        assert avatar.identity.startswith("mien-avatar-")
        assert sorted(publication.name for publication in avatar.track_publications.values()) == ["face", "voice"]
        quiet = len(person.pictures)
        await person.write(SENTENCE)
        await until(lambda: bool(agent.told("face", "finished")), "it is said", PATIENCE_S)
        (finished,) = agent.told("face", "finished")
        assert len(agent.told("face", "started")) == 1
        await heard_out(person)
        assert not finished["interrupted"]
        assert finished["position_s"] == pytest.approx(len(SENTENCE.strip()) * CHARACTER_S, abs=0.2)
        assert loud_s(person) == pytest.approx(finished["position_s"], abs=0.3)
        assert {(picture.width, picture.height) for picture in person.pictures} == {(512, 512)}
        spoken = person.pictures[quiet:]
        moved = [
            float(np.abs(a.planes.astype(int) - b.planes).mean()) for a, b in zip(spoken, spoken[3:], strict=False)
        ]
        assert max(moved) > 0.3
        assert person.senders == {avatar.identity}


async def test_an_interruption_empties_the_buffer_and_tells_the_position(
    livekit: LiveKitServer, avatars: Worker, agent: PlainAgent
) -> None:
    async with meeting(livekit, agent, "cut", "plain") as person:
        for round_ in range(1, 4):
            since = len(person.sound)
            await person.write(SENTENCE * 4)
            await until(lambda: loud_s(person, since) > 1.0, "it speaks", PATIENCE_S)  # noqa: B023
            await person.write("/stop")
            await until(lambda: len(agent.told("cut", "finished")) == round_, "it was cut", PATIENCE_S)  # noqa: B023
            await heard_out(person)
            heard = loud_s(person, since)
            finished = agent.told("cut", "finished")[-1]
            assert finished["interrupted"]
            assert finished["position_s"] == pytest.approx(heard, abs=0.3), "what was heard is what is told"
            await asyncio.sleep(0.5)
            assert loud_s(person, since) == heard, "nothing comes after it"


async def test_each_utterance_ends_once_however_it_is_interrupted(
    livekit: LiveKitServer, avatars: Worker, agent: PlainAgent
) -> None:
    async with meeting(livekit, agent, "often", "plain") as person:
        for cuts, after_s in enumerate((0.0, 0.05, 0.15, 0.3, 0.0, 0.1, 0.2), 1):
            if cuts == 7:  # the last is cut while its stream begins
                await person.write("/slow 0.4")
                await until(lambda: bool(agent.told("often", "slow")), "streams begin late", PATIENCE_S)
            await person.write(f"/brief {after_s} {SENTENCE * 3}")
            await until(lambda: len(agent.told("often", "cut")) == cuts, "it was cut", PATIENCE_S)  # noqa: B023
        await person.write("still there")
        await until(
            lambda: any(item["text"] == "still there" for item in agent.told("often", "item")), "it goes on", PATIENCE_S
        )
        last = agent.told("often", "finished")[-1]
        assert not last["interrupted"], "no end of one that was cut counts as this one's"
        assert last["position_s"] == pytest.approx(11 * CHARACTER_S, abs=0.2)
        assert "marking playout as done" not in agent.log.read_text()
        assert "called more times" not in agent.log.read_text()


async def test_a_pause_holds_the_voice_and_the_rest_comes_later(
    livekit: LiveKitServer, avatars: Worker, agent: PlainAgent
) -> None:
    async with meeting(livekit, agent, "pause", "plain") as person:
        assert agent.told("pause", "ready")[0]["can_pause"]
        await person.write(SENTENCE)
        await until(lambda: loud_s(person) > 0.8, "it speaks", PATIENCE_S)
        await person.write("/pause")
        await until(lambda: not person.loud(0.3), "it holds", PATIENCE_S)
        await asyncio.sleep(0.5)
        assert not person.loud(0.4)
        assert not agent.told("pause", "finished")
        await person.write("/resume")
        await until(lambda: bool(agent.told("pause", "finished")), "the rest", PATIENCE_S)
        (finished,) = agent.told("pause", "finished")
        assert not finished["interrupted"]
        await heard_out(person)
        assert loud_s(person) == pytest.approx(finished["position_s"], abs=0.4)


async def test_the_avatar_leaves_with_its_agent(livekit: LiveKitServer, avatars: Worker, agent: PlainAgent) -> None:
    async with meeting(livekit, agent, "left", "plain") as person:
        await person.write("/leave")
        await until(lambda: not person.room.remote_participants, "both have left", PATIENCE_S)
        await until(lambda: avatars.conversations() == 0, "its job is over", PATIENCE_S)


@pytest.mark.slow
async def test_the_avatar_leaves_when_its_agent_dies(livekit: LiveKitServer, avatars: Worker, tmp_path: Path) -> None:
    with plain_agent(livekit, tmp_path, "mortal") as agent:
        async with meeting(livekit, agent, "died", "mortal") as person:
            agent.process.kill()
            await until(lambda: not person.room.remote_participants, "both have left", PATIENCE_S)
            await until(lambda: avatars.conversations() == 0, "its job is over", PATIENCE_S)


@pytest.mark.slow
async def test_the_avatar_is_back_after_its_worker_died(
    livekit: LiveKitServer, agent: PlainAgent, tmp_path: Path
) -> None:
    with working(livekit, tmp_path, "mortal", program=AVATAR, MIEN_AVATAR_NAME="mortal") as first:
        async with meeting(livekit, agent, "restart", "plain", "mortal") as person:
            await person.write(SENTENCE * 20)
            await until(lambda: loud_s(person) > 1, "it speaks", PATIENCE_S)
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            killed = time.monotonic()
            await until(lambda: bool(agent.told("restart", "finished")), "no end is missing", PATIENCE_S)
            ended = time.monotonic()
            assert agent.told("restart", "finished")[0]["interrupted"]
            pictures = len(person.pictures)
            (tmp_path / "again").mkdir()
            with working(livekit, tmp_path / "again", "mortal", program=AVATAR, MIEN_AVATAR_NAME="mortal"):
                await person.write(SENTENCE)
                await until(lambda: len(person.pictures) > pictures + 20, "its face again", PATIENCE_S)
                print(f"told {ended - killed:.1f} s after the kill, back {time.monotonic() - killed:.1f} s after it")
                await until(lambda: len(agent.told("restart", "finished")) == 2, "what waited for it", PATIENCE_S)
                assert not agent.told("restart", "finished")[-1]["interrupted"]
                # New ears: those that heard the old track would count the new one twice.
                guest = LiveKitPerson(identity="bob")
                await guest.join(livekit.url, livekit.token("bob", "restart"), microphone=False)
                await until(lambda: len(guest.pictures) > 5, "the guest sees it", PATIENCE_S)
                await person.write(SENTENCE)
                await until(lambda: len(agent.told("restart", "finished")) == 3, "its voice again", PATIENCE_S)
                finished = agent.told("restart", "finished")[-1]
                assert not finished["interrupted"]
                await heard_out(guest)
                assert loud_s(guest) == pytest.approx(finished["position_s"], abs=0.4)
                await guest.leave()


@pytest.mark.slow
async def test_two_rooms_of_one_worker_do_not_cross_over(
    livekit: LiveKitServer, avatars: Worker, agent: PlainAgent
) -> None:
    async with (
        meeting(livekit, agent, "one", "plain") as ada,
        meeting(livekit, agent, "two", "plain") as bob,
    ):
        await until(lambda: avatars.conversations() == 2, "both in one worker, and no others", PATIENCE_S)
        await ada.write(SENTENCE)
        await until(lambda: bool(agent.told("one", "finished")), "it is said", PATIENCE_S)
        await heard_out(ada)
        assert loud_s(ada) > 2
        assert loud_s(bob) == 0
        assert not agent.told("two", "finished")
        assert ada.senders.isdisjoint(bob.senders)
