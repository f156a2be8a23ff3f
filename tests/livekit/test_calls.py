"""What others may call the avatar for, and what stays of a room that was left."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys

import pytest
from livekit import rtc

from rooms.livekit import connect
from rooms.livekit_calls import answering
from tests.livekit.server import LiveKitServer

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(120)]

ROUNDS = 6
ROOM_MIB = 0.3
"""Less than livekit keeps of a room that it does not let go of."""


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def in_use_mib() -> float:
    """What the whole process has allocated and not freed; what the allocator keeps besides does not count."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    held = mallinfo2()
    return float(held.uordblks + held.hblkhd) / 2**20


async def test_a_call_is_answered_until_the_block_ends(livekit: LiveKitServer) -> None:
    avatar, other = rtc.Room(), rtc.Room()
    await connect(avatar, livekit.url, livekit.token("avatar", "calls"))
    await connect(other, livekit.url, livekit.token("other", "calls"))

    async def call() -> str:
        return await other.local_participant.perform_rpc(
            destination_identity="avatar", method="mien.test", payload="ho"
        )

    with answering(avatar, {"mien.test": lambda call: f"{call.payload} {call.caller_identity}"}):
        assert await call() == "ho other"
    with pytest.raises(rtc.RpcError) as refused:
        await call()
    assert refused.value.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD
    await other.disconnect()
    await avatar.disconnect()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
async def test_livekit_frees_a_room_that_was_left(livekit: LiveKitServer) -> None:
    async def visit(number: int) -> None:
        room = rtc.Room()
        await connect(room, livekit.url, livekit.token("avatar", f"freed-{number}"))
        with answering(room, {"mien.test": lambda call: "ok"}):
            await room.local_participant.send_text("here", topic="mien.test")  # its connections are up
            await room.disconnect()

    for number in range(3):  # the first make what stays
        await visit(number)
    await asyncio.sleep(1)
    before = in_use_mib()
    for number in range(ROUNDS):
        await visit(3 + number)
    for _ in range(50):  # livekit frees on threads of its own
        if in_use_mib() - before < ROUNDS * ROOM_MIB:
            break
        await asyncio.sleep(0.2)
    assert in_use_mib() - before < ROUNDS * ROOM_MIB
