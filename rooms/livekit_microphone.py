"""The person's microphone in a LiveKit room.

In: RoomIO's sound. Out: the same, or silence of the same length while it is held. LiveKit's clients cancel the echo;
nothing is done about it here.
"""

from __future__ import annotations

from livekit import rtc
from livekit.agents.voice import io


class HeldMicrophone(io.AudioInput):
    """Set ``held`` at any time."""

    def __init__(self, source: io.AudioInput) -> None:
        super().__init__(label="mien livekit microphone", source=source)
        self.held = False

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await super().__anext__()
        if self.held:
            silence = bytes(2 * frame.samples_per_channel * frame.num_channels)
            return rtc.AudioFrame(silence, frame.sample_rate, frame.num_channels, frame.samples_per_channel)
        return frame
