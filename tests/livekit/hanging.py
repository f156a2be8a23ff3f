"""A worker whose conversations take their thread and never give it back."""

from __future__ import annotations

import logging
import os
import sys
import time

from agent.cli import _log_to_stderr
from agent.conversation import Conversation
from agent.settings import load_settings
from agent.worker import run
from rooms.room import Room


class Hanging(Conversation):
    async def run(self, room: Room) -> None:
        print("hangs now", file=sys.stderr, flush=True)
        while True:
            time.sleep(1)  # noqa: ASYNC251 - this is what is tested


if __name__ == "__main__":
    _log_to_stderr(False, logging.INFO)
    run(load_settings(os.environ), dev=False, conversation=Hanging)
