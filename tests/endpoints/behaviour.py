"""How a local endpoint misbehaves on its next requests: shared by the servers in this folder."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass
class Behaviour:
    """What an endpoint does until it is told otherwise.

    Args:
        status: answer with this HTTP status and nothing else, where it is not 200.
        delay_s: wait before the first part of the answer.
        part_delay_s: wait between parts.
        drop_after: close the connection after this many parts.
        hang_after: say nothing more after this many parts.
        malformed: answer with what is not of the protocol.
        silent: sound without anything to hear.
    """

    status: int = 200
    delay_s: float = 0.0
    part_delay_s: float = 0.0
    drop_after: int | None = None
    hang_after: int | None = None
    malformed: bool = False
    silent: bool = False

    async def before_part(self, number: int) -> bool:
        """Wait as long as part ``number`` (from 0) has to; False: the connection is to be dropped instead."""
        if self.hang_after is not None and number >= self.hang_after:
            await asyncio.sleep(3600)
        if self.drop_after is not None and number >= self.drop_after:
            return False
        wait_s = self.delay_s if number == 0 else self.part_delay_s
        if wait_s:
            await asyncio.sleep(wait_s)
        return True
