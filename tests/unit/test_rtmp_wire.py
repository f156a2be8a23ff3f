"""RTMP's bytes and addresses, and H.264's units: what goes in comes out, whatever the cuts."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.rtmp_address import Address, AddressError
from rooms.rtmp_encoder import avc_config, nal_units, shown_at, with_lengths
from rooms.rtmp_wire import Amf, ChunkReader, ChunkWriter, Message, WireError, amf, from_amf

pytestmark = pytest.mark.unit

SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=50)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=9), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=4))
def test_amf_comes_back(values: list[Amf]) -> None:
    assert from_amf(amf(*values)) == values


@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(1, 30))
def test_amf_that_is_cut_off_is_an_error_and_nothing_worse(values: list[Amf], cut: int) -> None:
    content = amf(*values)[:-cut]
    with contextlib.suppress(WireError):
        from_amf(content)


@given(st.binary(max_size=60))
def test_any_bytes_are_amf_or_a_wire_error(content: bytes) -> None:
    with contextlib.suppress(WireError):
        from_amf(content)


MESSAGES = st.lists(
    st.tuples(st.sampled_from([4, 6, 7]), st.integers(0, 3_000_000_000), st.binary(min_size=1, max_size=700)),
    min_size=1,
    max_size=12,
)


@given(MESSAGES, st.sampled_from([1, 7, 128, 4096]), st.integers(1, 300))
def test_messages_come_back_whatever_the_chunks_and_the_pieces(
    messages: list[tuple[int, int, bytes]], size: int, piece: int
) -> None:
    writer, reader = ChunkWriter(), ChunkReader()
    content = writer.message(2, 1, 0, 0, size.to_bytes(4))
    writer.size = size
    for chunk_stream, timestamp_ms, payload in messages:
        content += writer.message(chunk_stream, 9, timestamp_ms, 1, payload)
    came: list[Message] = []
    for at in range(0, len(content), piece):
        came += reader.feed(content[at : at + piece])
    assert [(message.timestamp_ms, message.payload) for message in came] == [
        (timestamp_ms, payload) for _, timestamp_ms, payload in messages
    ]


def test_time_wraps_after_49_days_and_steps_stay_small() -> None:
    writer, reader = ChunkWriter(4096), ChunkReader()
    reader.feed(writer.message(2, 1, 0, 0, (4096).to_bytes(4)))
    start = (1 << 32) - 60
    content = b"".join(writer.message(6, 9, start + step, 1, b"x") for step in (0, 40, 80, 120))
    assert [message.timestamp_ms for message in reader.feed(content)] == [start, start + 20 + 20, 20, 60]


def test_what_is_no_rtmp_is_refused() -> None:
    with pytest.raises(WireError, match="announces"):
        ChunkReader().feed(b"\x03\x00\x00\x00\xff\xff\xff\x14" + bytes(4))


@pytest.mark.parametrize(
    ("url", "app", "key", "port"),
    [
        ("rtmp://live.example.org/app/key", "app", "key", 1935),
        ("rtmps://live.example.org/rtmp/FB-1?s_bl=1&s_oil=0", "rtmp", "FB-1?s_bl=1&s_oil=0", 443),
        ("rtmp://127.0.0.1:19350/a/b/key", "a/b", "key", 19350),
        (" rtmp://[::1]:1/app/key ", "app", "key", 1),
    ],
)
def test_addresses(url: str, app: str, key: str, port: int) -> None:
    address = Address.parse(url)
    assert (address.app, address.key, address.port) == (app, key, port)
    for shown in (str(address), repr(address), address.url):
        assert key not in shown
    assert address.hidden(f"no such stream: {key}") == "no such stream: ***"


@pytest.mark.parametrize(
    "url",
    ["http://example.org/app/secret", "rtmp://example.org/secret", "rtmp://u:secret@h/app/k", "rtmp://[bad/a/secret"],
)
def test_addresses_that_are_none_are_refused_without_their_key(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        Address.parse(url)
    assert "secret" not in str(refused.value)
    assert "RTMP address" in str(refused.value) or "rtmp://" in str(refused.value)


def test_thirty_a_second_shows_every_fifth_picture_twice_and_none_far_from_its_sound() -> None:
    shown = [(tick, place) for tick in range(500) for place in shown_at(tick, 30)]
    assert [place for _, place in shown] == list(range(600))
    assert max(abs(tick * 40 - place * 1000 / 30) for tick, place in shown) <= 20
    twice = [tick for tick in range(500) if len(shown_at(tick, 30)) == 2]
    assert {later - one for one, later in itertools.pairwise(twice)} == {5}
    assert [list(shown_at(tick, 25)) for tick in range(3)] == [[0], [1], [2]]


UNIT = st.binary(min_size=1, max_size=40).filter(
    lambda unit: b"\0\0\0" not in unit and b"\0\0\1" not in unit and unit[-1] != 0 and unit[:1] != b"\0"
)


@given(st.lists(UNIT, min_size=1, max_size=6), st.booleans())
def test_units_are_found_between_start_codes(units: list[bytes], long: bool) -> None:
    stream = b"".join((b"\0\0\0\1" if long else b"\0\0\1") + unit for unit in units)
    assert nal_units(stream) == units
    lengths, place = [], with_lengths(stream)
    while place:
        size = int.from_bytes(place[:4])
        lengths.append(place[4 : 4 + size])
        place = place[4 + size :]
    assert lengths == [unit for unit in units if unit[0] & 0x1F not in (7, 8, 9)]


def test_the_configuration_record_holds_the_parameter_sets() -> None:
    record = avc_config(b"\0\0\0\1\x67\x42\x00\x1f\xaa\0\0\0\1\x68\xbb")
    assert record == b"\x01\x42\x00\x1f\xff\xe1\x00\x05\x67\x42\x00\x1f\xaa\x01\x00\x02\x68\xbb"
