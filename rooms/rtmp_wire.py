"""RTMP's bytes: AMF0 values and chunked messages. Values and messages in, bytes out, and back; it knows no socket.

After Adobe's specification of RTMP 1.0 (chapters 5 and 7) and of AMF0.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avatar.frames import MienError

Amf = float | int | bool | str | None | Mapping[str, "Amf"] | Sequence["Amf"]
"""What AMF0 carries. Decoded objects and arrays are dicts and lists."""

SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE, PEER_BANDWIDTH = 1, 2, 3, 4, 5, 6
AUDIO, VIDEO, DATA, COMMAND = 8, 9, 18, 20
"""Types of messages."""

_EXTENDED = 0xFFFFFF
_WRAP = 1 << 32
MAX_MESSAGE_BYTES = 1 << 20
"""What a server sends is small; more is not RTMP."""


class WireError(MienError):
    """The other side does not speak RTMP."""


# -- AMF0


def amf(*values: Amf) -> bytes:
    """AMF0 values, one after the other."""
    return b"".join(map(_encoded, values))


def _encoded(value: Amf) -> bytes:
    match value:
        case None:
            return b"\x05"
        case bool():
            return bytes((1, value))
        case int() | float():
            return b"\x00" + struct.pack(">d", value)
        case str():
            return b"\x02" + _name(value)
        case Mapping():
            fields = b"".join(_name(name) + _encoded(field) for name, field in value.items())
            return b"\x03" + fields + b"\x00\x00\x09"
        case _:
            return b"\x0a" + struct.pack(">I", len(value)) + amf(*value)


def _name(text: str) -> bytes:
    content = text.encode()
    if len(content) > 0xFFFF:
        raise WireError(f"a text of {len(content)} bytes does not fit AMF0's 65535: shorten it")
    return struct.pack(">H", len(content)) + content


def from_amf(content: bytes) -> list[Amf]:
    """All values of a message.

    Raises:
        WireError: it is not AMF0, or of a type that no RTMP server sends.
    """
    values: list[Amf] = []
    place = 0
    try:
        while place < len(content):
            value, place = _decoded(content, place, 0)
            values.append(value)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise WireError(f"the server's message is no AMF0: {error}") from None
    return values


def _decoded(content: bytes, place: int, depth: int) -> tuple[Amf, int]:
    kind, place = content[place], place + 1
    if depth > 16:
        raise WireError("the server's message is nested too deeply")
    match kind:
        case 0:
            return float(struct.unpack_from(">d", content, place)[0]), place + 8
        case 1:
            return bool(content[place]), place + 1
        case 2 | 12:
            return _text(content, place, ">H" if kind == 2 else ">I")
        case 5 | 6:
            return None, place
        case 3 | 8:
            return _fields(content, place + (4 if kind == 8 else 0), depth)
        case 10:
            (count,) = struct.unpack_from(">I", content, place)
            place += 4
            items: list[Amf] = []
            for _ in range(count):
                item, place = _decoded(content, place, depth + 1)
                items.append(item)
            return items, place
        case 11:  # a date: milliseconds and a time zone that is always 0
            return float(struct.unpack_from(">d", content, place)[0]), place + 10
    raise WireError(f"the server's message holds an AMF0 value of type {kind}")


def _text(content: bytes, place: int, size: str = ">H") -> tuple[str, int]:
    (length,) = struct.unpack_from(size, content, place)
    place += struct.calcsize(size)
    if place + length > len(content):
        raise WireError("the server's message ends within a text")
    return content[place : place + length].decode(), place + length


def _fields(content: bytes, place: int, depth: int) -> tuple[dict[str, Amf], int]:
    fields: dict[str, Amf] = {}
    while content[place : place + 3] != b"\x00\x00\x09":
        name, place = _text(content, place)
        fields[name], place = _decoded(content, place, depth + 1)
    return fields, place + 3


# -- chunks


@dataclass(frozen=True, slots=True)
class Message:
    kind: int
    timestamp_ms: int
    payload: bytes


class ChunkWriter:
    """Cuts messages into chunks. The first message of a chunk stream is stamped in full, later ones by their distance
    from the one before: so a stream that runs for days needs extended timestamps only where it is joined.

    Args:
        size: bytes of payload a chunk; the other side must have been told when it is not 128.
    """

    def __init__(self, size: int = 128) -> None:
        self.size = size
        self._last: dict[int, tuple[int, int]] = {}
        """By chunk stream: (timestamp, message stream) of its last message."""

    def message(self, chunk_stream: int, kind: int, timestamp_ms: int, stream: int, payload: bytes) -> bytes:
        """Args:
        chunk_stream: 2 to 63.
        timestamp_ms: of any size; what does not fit 32 bits wraps.
        """
        last_ms, last_stream = self._last.get(chunk_stream, (0, -1))
        self._last[chunk_stream] = (timestamp_ms, stream)
        step_ms = timestamp_ms - last_ms
        head = len(payload).to_bytes(3) + bytes((kind,))
        if last_stream == stream and 0 <= step_ms < _EXTENDED:
            first, extended = bytes((0x40 | chunk_stream,)) + step_ms.to_bytes(3) + head, b""
        else:
            stamp = timestamp_ms % _WRAP
            extended = stamp.to_bytes(4) if stamp >= _EXTENDED else b""
            first = bytes((chunk_stream,)) + min(stamp, _EXTENDED).to_bytes(3) + head + stream.to_bytes(4, "little")
        parts = [first, extended, payload[: self.size]]
        for place in range(self.size, len(payload), self.size):
            parts += [bytes((0xC0 | chunk_stream,)), extended, payload[place : place + self.size]]
        return b"".join(parts)


@dataclass(slots=True)
class _Incoming:
    timestamp_ms: int = 0
    step_ms: int = 0
    length: int = 0
    kind: int = 0
    extended: bool = False
    payload: bytes = b""


class ChunkReader:
    """Joins chunks to messages; takes bytes as they come."""

    def __init__(self) -> None:
        self._size = 128
        self._buffer = bytearray()
        self._streams: dict[int, _Incoming] = {}

    def feed(self, content: bytes) -> list[Message]:
        """The messages that are complete now.

        Raises:
            WireError: this is no RTMP.
        """
        self._buffer += content
        messages = []
        while (taken := self._chunk()) is not None:
            place, message = taken
            del self._buffer[:place]
            if message is None:
                continue
            if message.kind == SET_CHUNK_SIZE and len(message.payload) >= 4:
                self._size = int.from_bytes(message.payload[:4]) & 0x7FFFFFFF or 128
            elif message.kind == ABORT and len(message.payload) >= 4:
                self._streams.pop(int.from_bytes(message.payload[:4]), None)
            else:
                messages.append(message)
        return messages

    def _chunk(self) -> tuple[int, Message | None] | None:
        """One chunk: where it ends, and the message that it completes; None while it is not all there."""
        buffer = self._buffer
        if not buffer or len(buffer) < {0: 2, 1: 3}.get(buffer[0] & 0x3F, 1):
            return None
        form, number, place = buffer[0] >> 6, buffer[0] & 0x3F, 1
        if number == 0:
            number, place = 64 + buffer[1], 2
        elif number == 1:
            number, place = 64 + buffer[1] + 256 * buffer[2], 3
        header = (11, 7, 3, 0)[form]
        if len(buffer) < place + header:
            return None
        known = self._streams.get(number, _Incoming())
        fields = bytes(buffer[place : place + header])
        place += header
        stamp = int.from_bytes(fields[:3]) if header else 0
        extended = stamp == _EXTENDED if header else known.extended
        if extended:
            if len(buffer) < place + 4:
                return None
            stamp, place = int.from_bytes(buffer[place : place + 4]), place + 4
        length = int.from_bytes(fields[3:6]) if header >= 7 else known.length
        kind = fields[6] if header >= 7 else known.kind
        if length > MAX_MESSAGE_BYTES:
            raise WireError(f"the server announces a message of {length} bytes")
        part = min(self._size, length - len(known.payload))
        if part < 0:
            raise WireError("the server's chunks do not fit together")
        if len(buffer) < place + part:
            return None
        if not known.payload:  # a message begins
            if form == 0:
                known.timestamp_ms, known.step_ms = stamp, 0
            else:
                known.step_ms = stamp if header else known.step_ms
                known.timestamp_ms = (known.timestamp_ms + known.step_ms) % _WRAP
        known.length, known.kind, known.extended = length, kind, extended
        known.payload += bytes(buffer[place : place + part])
        self._streams[number] = known
        place += part
        if len(known.payload) < length:
            return place, None
        message = Message(kind, known.timestamp_ms, known.payload)
        known.payload = b""
        return place, message
