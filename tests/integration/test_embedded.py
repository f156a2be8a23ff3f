"""Which of a room's peers its conversation hears of: those that joined, each once, over real WebRTC on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiortc import RTCRtpSender

from avatar.frames import TICK_SAMPLES, Frame, Picture, Sink
from rooms.embedded import EmbeddedRoom, RoomClosed
from rooms.peer import PeerError, offer_media_on
from rooms.room import Message
from rooms.tracks import PeerSink
from tests.doubles.page import Page, until

pytestmark = pytest.mark.loopback

NO_OFFER = "v=0\r\nnonsense"


class Diary:
    """A presence that writes down who came and who was lost, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Sink]] = []
        self.messages: list[Message] = []
        self.left = False

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.entries]

    def on_joined(self, sink: Sink) -> None:
        self.entries.append(("joined", sink))

    def on_lost(self, sink: Sink) -> None:
        self.entries.append(("lost", sink))

    def on_watched(self, watched: bool) -> None: ...

    def on_page(self) -> None: ...

    def on_left(self) -> None:
        self.left = True

    def on_message(self, message: Message) -> None:
        self.messages.append(message)


class Visited:
    """A room and the pages that come to it."""

    def __init__(self) -> None:
        offer_media_on(["127.0.0.1"])
        self.diary = Diary()
        self.room = EmbeddedRoom(self.diary)
        self.pages: list[Page] = []

    async def join(self) -> None:
        before = self.diary.words.count("joined")
        self.pages.append(Page())
        await self.pages[-1].join(self.room.answer)
        await until(lambda: self.diary.words.count("joined") > before, "the page has joined")

    async def miss_the_answer(self) -> None:
        """A page offers, and the answer never reaches it: its peer here waits and never joins."""

        async def lost(sdp: str) -> str:
            await self.room.answer(sdp)
            raise ConnectionResetError

        self.pages.append(Page())
        with pytest.raises(ConnectionResetError):
            await self.pages[-1].join(lost)


@asynccontextmanager
async def visited() -> AsyncIterator[Visited]:
    visit = Visited()
    try:
        yield visit
    finally:
        for page in visit.pages:
            await page.aclose()
        async with asyncio.timeout(5):
            await visit.room.aclose()


async def test_an_offer_that_cannot_be_answered_costs_nobody_the_connection() -> None:
    async with visited() as visit:
        await visit.join()
        with pytest.raises(PeerError):
            await visit.room.answer(NO_OFFER)
        assert visit.diary.words == ["joined"]
        visit.room.send({"type": "notice"})
        await until(lambda: visit.pages[0].messages == [{"type": "notice"}], "the first page is still the room's")
    assert visit.diary.words == ["joined", "lost"]


async def test_a_peer_that_gives_way_is_lost_once_and_before_the_newer_one_joins() -> None:
    async with visited() as visit:
        await visit.join()
        await visit.join()
        assert visit.diary.words == ["joined", "lost", "joined"]
        first, lost, second = [sink for _, sink in visit.diary.entries]
        assert lost is first
        assert second is not first
    assert visit.diary.words == ["joined", "lost", "joined", "lost"]
    assert visit.diary.entries[-1][1] is second


async def test_a_peer_that_never_joined_is_never_lost() -> None:
    async with visited() as visit:
        await visit.miss_the_answer()
        await visit.join()
        await visit.miss_the_answer()
        await visit.join()
        assert visit.diary.words == ["joined", "lost", "joined"]


async def test_what_is_no_message_is_ignored_and_the_next_one_is_heard() -> None:
    async with visited() as visit:
        await visit.join()
        page = visit.pages[0]
        for text in ("", "{", "[]", '{"type": 7}', "[" * 60_000, '"' + "x" * 70_000 + '"'):
            page.send_text(text)
        page.send({"type": "interrupt"})
        await until(lambda: bool(visit.diary.messages), "the message after them")
        assert visit.diary.messages == [{"type": "interrupt"}]
        assert visit.diary.words == ["joined"]


def report(sender: RTCRtpSender) -> tuple[float, int]:
    """What a sender's next report would say: (NTP in seconds, RTP timestamp)."""
    ntp, rtp = (getattr(sender, f"_RTCRtpSender__{clock}_timestamp") for clock in ("ntp", "rtp"))
    return ntp / 2**32, rtp


async def test_reports_place_sound_and_picture_on_one_time_line() -> None:
    """However long a picture took to encode: the wall clock of a report is that of the media time, for both."""
    async with visited() as visit:
        await visit.join()
        [(_, sink)] = visit.diary.entries
        assert isinstance(sink, PeerSink)
        assert visit.room._peer is not None
        sound, picture = visit.room._peer._connection.getSenders()
        seen: list[tuple[tuple[float, int], tuple[float, int]]] = []
        noise = np.random.default_rng(0)
        for tick in range(12):
            planes = noise.integers(16, 235, (768, 512), dtype=np.uint8)
            sink.put(Frame(tick, 0, Picture(planes), np.zeros(TICK_SAMPLES, np.int16)))
            await asyncio.sleep(0.04)
            seen.append((report(sound), report(picture)))
        (first_sound, first_picture), *later = seen[2:]
        for at_sound, at_picture in later:
            assert at_sound[0] - first_sound[0] == pytest.approx(
                (at_sound[1] - first_sound[1]) % 2**32 / 48_000, abs=1e-5
            )
            passed = (at_picture[1] - first_picture[1]) % 2**32 / 90_000
            assert at_picture[0] - first_picture[0] == pytest.approx(passed, abs=1e-5)
            # The last packet of a tick begins 20 ms after its picture.
            ticks_apart = (at_sound[0] - at_picture[0]) / 0.02
            assert ticks_apart == pytest.approx(round(ticks_apart), abs=1e-3)


async def test_a_room_whose_conversation_is_over_lets_nobody_in() -> None:
    async with visited() as visit:
        await visit.join()
        visit.pages[0].send({"type": "leave"})
        await until(lambda: visit.diary.left, "the person has left")
        with pytest.raises(RoomClosed):
            await visit.room.answer(NO_OFFER)


async def test_an_answer_that_is_made_while_the_room_closes_is_taken_back() -> None:
    async with visited() as visit:

        async def answer_while_closing(sdp: str) -> str:
            answering = asyncio.create_task(visit.room.answer(sdp))
            await asyncio.sleep(0)
            await visit.room.aclose()
            return await answering

        visit.pages.append(Page())
        with pytest.raises(RoomClosed):
            await visit.pages[-1].join(answer_while_closing)
        assert visit.diary.words == []


async def test_a_room_that_nobody_joined_closes_without_a_loss() -> None:
    async with visited() as visit:
        await visit.miss_the_answer()
    assert visit.diary.words == []
