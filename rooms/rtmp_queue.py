"""What waits to be sent to one target, and what is dropped when it waits too long: pictures before sound.

Packets in, in order; packets out, from a keyframe on. Pure policy: it knows no thread, no clock and no socket.
"""

from __future__ import annotations

from collections import deque

from rooms.rtmp_encoder import Packet

MAX_PICTURES_MS = 2000
"""A server this far behind loses pictures, up to the next keyframe."""
MAX_SOUND_MS = 6000


class SendQueue:
    """One target's; its owner locks."""

    def __init__(self) -> None:
        self.pictures_dropped = 0
        self.sounds_dropped = 0
        self._waiting: deque[Packet] = deque()
        self._open = False
        self._at_keyframe = True
        """Pictures are left out until the next keyframe."""
        self._begun = False
        """Whether anything was queued since it was opened."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def behind_ms(self) -> float:
        return self._waiting[-1].time_ms - self._waiting[0].time_ms if self._waiting else 0.0

    def open(self) -> None:
        """There is a connection: the next keyframe begins it."""
        self._waiting.clear()
        self._open, self._at_keyframe, self._begun = True, True, False

    def close(self) -> None:
        """There is none: nothing is kept for one that may come."""
        self._waiting.clear()
        self._open = False

    def push(self, packet: Packet) -> None:
        if not self._open:
            return
        if packet.video and self._at_keyframe:
            if not packet.keyframe:
                self.pictures_dropped += self._begun
                return
            self._at_keyframe = False
            self._begun = True
        elif not self._begun:
            return  # sound from before the first picture
        self._waiting.append(packet)
        self._make_room(packet.time_ms)

    def pop(self) -> Packet | None:
        return self._waiting.popleft() if self._waiting else None

    def _make_room(self, now_ms: float) -> None:
        if now_ms - self._waiting[0].time_ms > MAX_PICTURES_MS and any(packet.video for packet in self._waiting):
            sounds = deque(packet for packet in self._waiting if not packet.video)
            self.pictures_dropped += len(self._waiting) - len(sounds)
            self._waiting = sounds
            self._at_keyframe = True
        while self._waiting and now_ms - self._waiting[0].time_ms > MAX_SOUND_MS:
            self._waiting.popleft()
            self.sounds_dropped += 1
