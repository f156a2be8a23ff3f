"""How soon an RTMP server is tried again."""

from __future__ import annotations

import pytest

from rooms.rtmp_client import CONNECT_S, Disconnected, Refused
from rooms.rtmp_target import LONGEST_REFUSED_S, LONGEST_WAIT_S, SETTLED_S, Waits

pytestmark = pytest.mark.unit

AWAY, NO = Disconnected("nobody there"), Refused("not with this key")


def test_who_is_away_is_found_again_within_three_seconds_however_long_that_was() -> None:
    waits = Waits()
    waited = [waits.after(AWAY, 0.0) for _ in range(1000)]
    assert waited[:4] == [0.2, 0.4, 0.8, 0.8]
    assert max(waited) == LONGEST_WAIT_S
    assert LONGEST_WAIT_S + CONNECT_S < 3


def test_who_refuses_is_asked_more_and_more_seldom() -> None:
    waits = Waits()
    waited = [waits.after(NO, 0.1) for _ in range(12)]
    assert waited == sorted(waited)
    assert waited[-1] == LONGEST_REFUSED_S


def test_who_refused_and_then_went_away_is_expected_back_soon() -> None:
    waits = Waits()
    for _ in range(12):
        waits.after(NO, 0.1)
    assert waits.after(AWAY, 0.0) == LONGEST_WAIT_S
    assert waits.after(NO, 0.1) <= 2 * LONGEST_WAIT_S


@pytest.mark.parametrize("error", [AWAY, NO])
def test_a_connection_that_held_starts_the_waits_anew(error: Disconnected) -> None:
    waits = Waits()
    for _ in range(12):
        waits.after(NO, 0.1)
    assert [waits.after(error, SETTLED_S + 1), waits.after(error, 0.1)] == [0.2, 0.4]
