"""`mien avatar` with an observer: what became of the speech that it got, as JSON lines on stdout.

In: the settings of the environment. Out: the line that says it is ready, then the events ``started`` and ``packet`` of
probe.py.
"""

from __future__ import annotations

import os
from typing import Any

from agent.avatar_room import Avatar
from agent.avatar_worker import run
from agent.settings import load_settings
from avatar.playout import Started
from benchmarks.probe import FirstPackets


class ObservedAvatar(Avatar):
    """The avatar itself; what its playout and its sink tell is told here too."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._packets = FirstPackets()
        self.on_sent = self._packets.sent

    def on_started(self, event: Started) -> None:
        self._packets.started(event)
        super().on_started(event)


if __name__ == "__main__":
    run(load_settings(os.environ), dev=True, avatar=ObservedAvatar)
