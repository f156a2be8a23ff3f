"""How a parent and its worker process talk: frames over a pipe, both ways.

A frame is one byte of kind, a request number (u32) and a payload length (u32), big-endian, then the payload. A request
comes whole (ASK), or bit by bit: BEGIN, any number of FEED, FINISH. This file imports next to nothing, so that a worker
stays small.
"""

from __future__ import annotations

import struct
from typing import IO

HEADER = struct.Struct(">cII")
ASK = b"?"
BEGIN = b"<"
FEED = b"+"
FINISH = b">"
CANCEL = b"x"
DONE = b"."
FAILED = b"!"
"""Every other kind is the worker's own."""


def read_frame(source: IO[bytes]) -> tuple[bytes, int, bytes] | None:
    """The next (kind, request, payload), or None at the end of the stream."""
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, request, length = HEADER.unpack(header)
    payload = source.read(length)
    return (kind, request, payload) if len(payload) == length else None


def write_frame(target: IO[bytes], kind: bytes, request: int, payload: bytes = b"") -> None:
    target.write(HEADER.pack(kind, request, len(payload)) + payload)
    target.flush()
