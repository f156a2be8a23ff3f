"""What every renderer owes the playout. Another one joins by a line in `RENDERERS`.

The makers take no arguments, must be cheap when called again, and give a renderer of a new conversation each time.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.watched import WatchedRenderer
from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm, Picture
from avatar.photo.renderer import PhotoRenderer
from avatar.puppet.renderer import PuppetRenderer
from avatar.renderer import Expression, Renderer, RendererError, Shot
from avatar.static import StaticRenderer
from tests.conformance.conftest import babble
from tests.doubles.engine import musetalk_renderer
from tests.doubles.portraits import readied

pytestmark = pytest.mark.unit

SIZE_PX = 256
PATIENCE_S = 20.0
"""How long an answer that must come may take on a busy machine."""
SETTLE_S = 0.05
"""How long one that must not come is watched."""


def static_renderer() -> StaticRenderer:
    planes = np.full((SIZE_PX * 3 // 2, SIZE_PX), 128, np.uint8)
    return StaticRenderer(Picture(planes))


def watched_renderer() -> WatchedRenderer:
    renderer = WatchedRenderer(PuppetRenderer({}, SIZE_PX))
    renderer.watched = True
    return renderer


RENDERERS: dict[str, Callable[[], Renderer]] = {
    "musetalk": musetalk_renderer,
    "portrait": lambda: PhotoRenderer(readied(SIZE_PX)),
    "puppet": lambda: PuppetRenderer({}, SIZE_PX),
    "static": static_renderer,
    "watched": watched_renderer,
}

Make = Callable[[], Renderer]


@pytest.fixture(params=sorted(RENDERERS))
def make(request: pytest.FixtureRequest) -> Make:
    return RENDERERS[request.param]


@asynccontextmanager
async def opened(make: Make) -> AsyncIterator[Renderer]:
    renderer = make()
    try:
        yield renderer
    finally:
        await renderer.aclose()


async def shown(renderer: Renderer, shot: Shot) -> Picture:
    return await asyncio.wait_for(renderer.request(shot), PATIENCE_S)


async def pictures(renderer: Renderer, shots: Sequence[Shot]) -> list[bytes]:
    return [(await shown(renderer, shot)).planes.tobytes() for shot in shots]


def needed(renderer: Renderer, n: int) -> int:
    """Samples after which picture n is due."""
    return TICK_SPEECH_SAMPLES * (n + 1) + round(renderer.lookahead_ms * SPEECH_RATE_HZ / 1000)


def row(segment: int, first: int, count: int, tick: int = 100) -> list[Shot]:
    return [Shot(tick + k, segment, first + k, first + k) for k in range(count)]


async def test_it_states_what_the_playout_plans_with(make: Make) -> None:
    async with opened(make) as renderer:
        assert renderer.name
        assert renderer.width % 2 == 0
        assert renderer.height % 2 == 0
        assert renderer.lookahead_ms >= 0
        assert renderer.lead_ticks >= 1
        assert renderer.start_ticks >= 0
        assert 0 < renderer.start_grace_ms <= 200


async def test_every_picture_has_the_stated_size(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech)
        answers = [await shown(renderer, Shot(3)), await shown(renderer, Shot(4, 1, 0)), renderer.still]
        assert {(picture.width, picture.height) for picture in answers} == {(renderer.width, renderer.height)}
        assert all(picture.planes.flags.c_contiguous for picture in answers)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 16_000), max_size=40), name=st.sampled_from(sorted(RENDERERS)))
def test_any_chunking_gives_the_same_pictures(cuts: list[int], name: str) -> None:
    audio = babble(1.0, seed=3)

    async def drawn(edges: list[int]) -> list[bytes]:
        async with opened(RENDERERS[name]) as renderer:
            for start, stop in itertools.pairwise(edges):
                renderer.push(1, audio[start:stop])
            renderer.end(1)
            return await pictures(renderer, row(1, 0, 25)[::3])

    assert asyncio.run(drawn([0, *sorted(cuts), len(audio)])) == asyncio.run(drawn([0, len(audio)]))


@settings(max_examples=10, deadline=None)
@given(n=st.integers(0, 30), seed=st.integers(1, 5), name=st.sampled_from(sorted(RENDERERS)))
def test_audio_beyond_the_lookahead_changes_nothing(n: int, seed: int, name: str) -> None:
    audio = babble(2.0, seed=9)

    async def drawn(change: bool) -> bytes:
        async with opened(RENDERERS[name]) as renderer:
            known = needed(renderer, n)
            later = babble(2.0, seed=seed)[: len(audio) - known] if change else audio[known:]
            renderer.push(1, np.concatenate([audio[:known], later]))
            return (await shown(renderer, Shot(50, 1, n, n))).planes.tobytes()

    assert asyncio.run(drawn(change=False)) == asyncio.run(drawn(change=True))


async def test_a_picture_waits_for_its_last_sample_and_comes_with_it(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        for n in (0, 3):
            edge = needed(renderer, n)
            renderer.push(n, speech[: edge - 1])
            answer = renderer.request(Shot(10, n, n, n))
            await asyncio.sleep(SETTLE_S)
            assert not answer.done()
            renderer.push(n, speech[edge - 1 : edge])
            assert (await asyncio.wait_for(answer, PATIENCE_S)).width == renderer.width


async def test_the_end_of_a_segment_completes_its_tail(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech[: TICK_SPEECH_SAMPLES * 2 + 100])
        answers = [renderer.request(Shot(10 + n, 1, n, n)) for n in range(3)]
        await asyncio.sleep(SETTLE_S)
        assert not answers[2].done()
        renderer.end(1)
        await asyncio.wait_for(asyncio.gather(*answers), PATIENCE_S)


async def test_what_lies_beyond_the_end_counts_as_silence(make: Make, speech: Pcm) -> None:
    short = speech[: TICK_SPEECH_SAMPLES * 5 + 77]
    shots = row(1, 0, 6)
    async with opened(make) as renderer:
        renderer.push(1, short)
        renderer.end(1)
        ended = await pictures(renderer, shots)
    async with opened(make) as renderer:
        renderer.push(1, np.concatenate([short, np.zeros(SPEECH_RATE_HZ, np.int16)]))
        padded = await pictures(renderer, shots)
    assert ended == padded


async def test_an_empty_segment_can_be_ended_and_asked_for(make: Make) -> None:
    async with opened(make) as renderer:
        renderer.end(4)
        assert (await shown(renderer, Shot(1, 4, 0))).width == renderer.width


async def test_a_picture_can_be_asked_for_again_at_other_ticks(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech)
        first = await pictures(renderer, [Shot(20, 1, 9, 9), Shot(21, 1, 10, 10)])
        await pictures(renderer, [Shot(90, 1, 9, 0), Shot(91, 1, 10, 1)])
        assert await pictures(renderer, [Shot(20, 1, 9, 9), Shot(21, 1, 10, 10)]) == first


async def test_pictures_do_not_depend_on_what_was_asked_before(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech)
        row_by_row = await pictures(renderer, row(1, 0, 20))
    async with opened(make) as renderer:
        renderer.push(1, speech)
        await pictures(renderer, [Shot(700), Shot(3, 1, 2)])
        assert await pictures(renderer, [row(1, 0, 20)[19]]) == row_by_row[19:]


async def test_an_unknown_segment_is_refused_in_the_answer(make: Make) -> None:
    async with opened(make) as renderer:
        with pytest.raises(RendererError):
            await shown(renderer, Shot(1, 77, 0))


async def test_clear_cancels_what_is_pending(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech[:640])
        answers = [renderer.request(Shot(1, 1, 5)), renderer.request(Shot(2, 1, 6))]
        renderer.clear(1)
        assert all(answer.cancelled() for answer in answers)


async def test_clear_cancels_what_is_being_drawn(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech)
        answers = [renderer.request(shot) for shot in row(1, 0, 30)]
        done = [answer for answer in answers if answer.done()]
        renderer.clear(1)
        await asyncio.sleep(SETTLE_S)
        assert all(answer.cancelled() for answer in answers if answer not in done)


async def test_cleared_segments_are_unknown(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech)
        renderer.push(2, speech)
        renderer.clear(1)
        for segment in (1, 2):
            with pytest.raises(RendererError):
                await shown(renderer, Shot(5, segment, 0))


async def test_after_clear_nothing_old_comes_out(make: Make, speech: Pcm) -> None:
    other = babble(1.0, seed=8)
    async with opened(make) as fresh:
        fresh.push(3, other)
        fresh.end(3)
        expected = await pictures(fresh, row(3, 0, 10))
    async with opened(make) as renderer:
        renderer.push(1, speech)
        await pictures(renderer, row(1, 0, 4, tick=80))
        renderer.push(2, speech)
        renderer.clear(1)
        renderer.push(3, other)
        renderer.end(3)
        assert await pictures(renderer, row(3, 0, 10)) == expected


async def test_segments_queued_behind_each_other_do_not_mix(make: Make, speech: Pcm) -> None:
    other = babble(1.0, seed=8)
    async with opened(make) as alone:
        alone.push(2, other)
        alone.end(2)
        expected = await pictures(alone, row(2, 0, 10))
    async with opened(make) as renderer:
        renderer.push(1, speech[:4000])
        renderer.push(2, other[:5000])
        renderer.end(1)
        renderer.push(2, other[5000:])
        renderer.end(2)
        await pictures(renderer, row(1, 0, 6, tick=90))
        assert await pictures(renderer, row(2, 0, 10)) == expected


async def test_the_mouth_that_after_names_outlives_clear(make: Make, speech: Pcm) -> None:
    easing = [Shot(60 + k, None, 0, k, (1, 20)) for k in range(6)]
    async with opened(make) as renderer:
        renderer.push(1, speech)
        await pictures(renderer, row(1, 15, 6, tick=54))
        before = await pictures(renderer, easing)
        renderer.clear(1)
        assert await pictures(renderer, easing) == before


async def test_an_expression_changes_no_picture_before_its_tick(make: Make) -> None:
    async with opened(make) as renderer:
        plain = await pictures(renderer, [Shot(10), Shot(29)])
        for expression in Expression:
            renderer.express(expression, 30)
            assert await pictures(renderer, [Shot(10), Shot(29)]) == plain
            assert (await shown(renderer, Shot(60))).height == renderer.height


async def test_a_caller_may_cancel_one_answer_and_get_the_next(make: Make, speech: Pcm) -> None:
    async with opened(make) as renderer:
        renderer.push(1, speech[:640])
        dropped, kept = renderer.request(Shot(1, 1, 2)), renderer.request(Shot(2, 1, 3))
        dropped.cancel()
        renderer.push(1, speech[640:])
        assert (await asyncio.wait_for(kept, PATIENCE_S)).width == renderer.width


async def test_closing_cancels_what_is_pending_and_leaves_no_thread(make: Make, speech: Pcm) -> None:
    threads = set(threading.enumerate())
    renderer = make()
    renderer.push(1, speech[:640])
    answers = [renderer.request(Shot(1, 1, 2)), *(renderer.request(Shot(k)) for k in range(2, 12))]
    await asyncio.wait_for(renderer.aclose(), PATIENCE_S)
    assert answers[0].cancelled()
    assert all(answer.done() for answer in answers)
    assert set(threading.enumerate()) <= threads
    await asyncio.wait_for(renderer.aclose(), PATIENCE_S)


async def test_conversations_do_not_share_state(make: Make, speech: Pcm) -> None:
    async with opened(make) as one, opened(make) as other:
        other.express(Expression.THINKING, 0)
        other.push(1, babble(1.0, seed=8))
        one.push(1, speech)
        mixed = [(await shown(one, shot), await shown(other, shot))[0].planes.tobytes() for shot in row(1, 0, 8)]
    async with opened(make) as alone:
        alone.push(1, speech)
        assert await pictures(alone, row(1, 0, 8)) == mixed
