"""The arithmetic of blocks: who hears what, and that nothing is heard too early or too late."""

from __future__ import annotations

import itertools

import pytest

from avatar.musetalk import windows

pytestmark = pytest.mark.unit


def test_blocks_are_1_1_2_and_then_4_without_a_gap() -> None:
    blocks = [windows.block(index) for index in range(7)]
    assert [block.stop - block.start for block in blocks] == [1, 1, 2, 4, 4, 4, 4]
    assert all(one.stop == two.start for one, two in itertools.pairwise(blocks))
    assert all(windows.block_of(n).start <= n < windows.block_of(n).stop for n in range(40))
    assert [windows.block_of(n).index for n in range(9)] == [0, 1, 2, 2, 3, 3, 3, 3, 4]


def test_a_block_hears_exactly_to_its_last_token() -> None:
    for index in range(20):
        block = windows.block(index)
        assert windows.TOKEN_SAMPLES * (block.token_stop - 1) + windows.TOKEN_REACH_SAMPLES == block.audio_stop
        assert block.token_start == 2 * block.start - 4
        assert block.token_stop == 2 * (block.stop - 1) + 6


def test_no_picture_depends_on_audio_past_the_lookahead() -> None:
    assert windows.LOOKAHEAD_MS == 212.5
    for n in range(100):
        heard_ms = windows.block_of(n).audio_stop / 16
        assert 40 * (n + 1) + 92.5 <= heard_ms <= 40 * (n + 1) + windows.LOOKAHEAD_MS


def test_the_first_picture_needs_132_5_ms() -> None:
    assert windows.block(0).audio_stop == 2120


@pytest.mark.parametrize("wrong", [-1, -7])
def test_negative_indices_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="counted from 0"):
        windows.block(wrong)
    with pytest.raises(ValueError, match="counted from 0"):
        windows.block_of(wrong)


def test_lengths() -> None:
    assert [windows.picture_count(samples) for samples in (0, 1, 640, 641)] == [0, 1, 1, 2]
    assert [windows.whole_tokens(samples) for samples in (319, 320, 16_000)] == [0, 1, 50]
