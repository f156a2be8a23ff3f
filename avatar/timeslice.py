"""Short time slices on the processor, for threads that owe somebody a picture or a packet.

Linux (6.12 and later) gives a thread that asked for shorter slices the processor sooner when it has work to do, and the
same share of it in the long run; it takes no right to ask. Elsewhere nothing changes.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import threading

SLICE_S = 0.0005
"""Others have 1.4 to 3 ms, and each that is ahead of a picture has it wait for so long. At the beginning of a reply,
with a browser on the same two cores, the first picture waited 8.3 ms for a core; so it waits 5.4 (means of 46)."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_RESET_ON_FORK = 1
"""Threads and processes that it starts have the usual ones again."""
_ATTRIBUTES = struct.Struct("IIQiIQQQ")
"""sched_setattr(2): size, policy, flags, nice, priority; runtime (a normal thread's slice), deadline, period in ns."""


def short_slices() -> bool:
    """Ask for them, for the calling thread. Whether the wish was taken; an older Linux takes it and does nothing."""
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    wish = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, round(SLICE_S * 1e9), 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.c_char_p(wish), 0) == 0)
