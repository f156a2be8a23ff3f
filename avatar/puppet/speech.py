"""The voice behind the pictures: segments of audio in, the `Mouth` of picture n out, in bounded memory.

It belongs to one thread. Audio waits here until a picture needs it and is dropped once it has been heard; of an
endless segment only the mouths of its last ten seconds are kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import numpy as np

from avatar.frames import TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet.mouth import REST, Mouth, MouthTracker
from avatar.renderer import RendererError

KEPT_PICTURES = 250
"""How far back in a segment a picture may be asked for again, and how many shown mouths `after` may name."""


class Segment:
    """One utterance: what was pushed and not yet heard, and the mouths that were."""

    def __init__(self, tracker: MouthTracker) -> None:
        self._tracker = tracker
        self._waiting: deque[Pcm] = deque()
        self._mouths: deque[Mouth] = deque()
        self._first = 0
        self._ended = False

    def push(self, pcm: Pcm) -> None:
        self._waiting.append(pcm)

    def end(self) -> None:
        self._ended = True

    def mouth(self, n: int) -> Mouth:
        """The mouth of picture n, hearing as much of the audio as it takes.

        Raises:
            RendererError: its audio is not there, or it lies too far back to be remembered.
        """
        if n < self._first:
            raise RendererError(f"picture {n} is no longer known, the oldest is {self._first}: ask for a later one")
        while n >= self._first + len(self._mouths):
            self._mouths.extend(self._tracker.push(self._next_pcm(n)))
        mouth = self._mouths[n - self._first]
        while self._first < n - KEPT_PICTURES:
            self._mouths.popleft()
            self._first += 1
        return mouth

    def _next_pcm(self, n: int) -> Pcm:
        """Up to one picture's worth of the audio that waits; silence follows an ended segment."""
        if not self._waiting:
            if not self._ended:
                raise RendererError(f"the audio of picture {n} has not been pushed: ask again when it has")
            return np.zeros(TICK_SPEECH_SAMPLES, np.int16)
        pcm = self._waiting.popleft()
        if len(pcm) > TICK_SPEECH_SAMPLES:
            self._waiting.appendleft(pcm[TICK_SPEECH_SAMPLES:])
        return pcm[:TICK_SPEECH_SAMPLES]


class Speech:
    """All segments of one conversation that can still be asked for, and the last mouths that were shown."""

    def __init__(self, new_tracker: Callable[[], MouthTracker]) -> None:
        self._new_tracker = new_tracker
        self._segments: dict[int, Segment] = {}
        self._shown: OrderedDict[tuple[int, int], Mouth] = OrderedDict()

    def push(self, segment: int, pcm: Pcm) -> None:
        self._segment(segment).push(pcm)

    def end(self, segment: int) -> None:
        self._segment(segment).end()

    def _segment(self, segment: int) -> Segment:
        if segment not in self._segments:
            self._segments[segment] = Segment(self._new_tracker())
        return self._segments[segment]

    def clear(self) -> None:
        """Forget all audio; what `after` may name stays."""
        self._segments.clear()

    def mouth(self, segment: int, n: int) -> Mouth:
        """The mouth of a speech picture; segments before it are forgotten.

        Raises:
            RendererError: the segment is unknown, or the picture not there.
        """
        if segment not in self._segments:
            raise RendererError(f"segment {segment} is not known: push its audio first, or it was cleared")
        for older in [known for known in self._segments if known < segment]:
            del self._segments[older]
        mouth = self._segments[segment].mouth(n)
        self._shown[segment, n] = mouth
        self._shown.move_to_end((segment, n))
        while len(self._shown) > KEPT_PICTURES:
            self._shown.popitem(last=False)
        return mouth

    def last_mouth(self, after: tuple[int, int] | None) -> Mouth:
        """The mouth that an idle picture eases shut from; at rest if this renderer showed no such picture."""
        return self._shown.get(after, REST) if after is not None else REST
