"""`mien agent` with the observer of probe.py: what happened in its conversations, as JSON lines on stdout.

In: the settings of the environment. Out: the line that says it is ready, then probe.py's events.
"""

from __future__ import annotations

import os

from agent.settings import load_settings
from agent.worker import run
from benchmarks.probe import ObservedConversation

if __name__ == "__main__":
    run(load_settings(os.environ), dev=True, conversation=ObservedConversation)
