"""The session's voice detection, overheard: its events go to the session as ever, and to whoever else listens.

In: the microphone, from the session. Out: `VADEvent`s. Speech recognition follows them, so that the sound of a
conversation goes through one detector; livekit-agents' `StreamAdapter` would run a second one for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from concurrent.futures import Executor, Future
from typing import Any

from livekit import rtc
from livekit.agents import inference, vad


class AtOnce(Executor):
    """Runs what it is given in the caller. To look at 32 ms of sound takes 30 µs; to wake a thread for it, and then the
    event loop, thirty times a second, costs several times as much."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # whoever waits for the result is told, as by every executor
            done.set_exception(error)
        return done


class OverheardVAD(inference.VAD):
    """livekit-agents' own, on the event loop.

    Attributes:
        listeners: called with every event, on the event loop; none of them may raise or block.
    """

    def __init__(self) -> None:
        super().__init__(model="silero", executor=AtOnce())
        self.listeners: set[Callable[[vad.VADEvent], None]] = set()

    def stream(self) -> vad.VADStream:
        return _OverheardStream(self, super().stream())


class _OverheardStream(vad.VADStream):
    def __init__(self, detector: OverheardVAD, stream: vad.VADStream) -> None:
        self._listeners = detector.listeners
        self._stream = stream
        super().__init__(detector)

    async def _main_task(self) -> None:
        async for event in self._stream:
            self._event_ch.send_nowait(event)
            for listener in tuple(self._listeners):
                listener(event)

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[vad.VADEvent]) -> None:
        async for _ in event_aiter:  # the stream within counts
            pass

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        self._stream.push_frame(frame)

    def flush(self) -> None:
        self._stream.flush()

    def end_input(self) -> None:
        self._stream.end_input()

    async def aclose(self) -> None:
        await self._stream.aclose()
        await super().aclose()
