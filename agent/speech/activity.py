"""The session's voice detection, overheard: its events go to the session as ever, and to whoever else listens.

In: the microphone, from the session. Out: `VADEvent`s. Speech recognition follows them, so that the sound of a
conversation goes through one detector; livekit-agents' `StreamAdapter` would run a second one for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable

from livekit import rtc
from livekit.agents import inference, vad


class OverheardVAD(inference.VAD):
    """livekit-agents' own.

    Attributes:
        listeners: called with every event, on the event loop; none of them may raise or block.
    """

    def __init__(self) -> None:
        super().__init__(model="silero")
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
