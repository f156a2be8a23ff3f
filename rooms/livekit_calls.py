"""What others in a LiveKit room may call us for.

In: methods and what answers them. Out: answers, until the block ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from livekit import rtc

Answer = Callable[[rtc.RpcInvocationData], str]


@contextmanager
def answering(room: rtc.Room, methods: Mapping[str, Answer]) -> Iterator[None]:
    """Answer these in a room that was joined.

    Leave the room within the block: who calls in its last moment is then told that we are gone, not that we know no
    such method. But end the block: livekit frees nothing of a room, half a MiB, while a method is registered in it.
    """
    local = room.local_participant
    for method, answer in methods.items():
        local.register_rpc_method(method, answer)
    try:
        yield
    finally:
        for method in methods:
            local.unregister_rpc_method(method)
