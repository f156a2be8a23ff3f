"""The avatar's two tracks in a LiveKit room where nobody is talked with: another agent does that.

In: a sink. Out: its sound and pictures, published and coded as the conversation's room does it, and whether anybody
takes the pictures.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from livekit import rtc

from avatar.frames import FPS
from rooms.livekit import BITS_PER_PIXEL, SOUND_BPS, STREAM, WATCH_S, RoomError
from rooms.livekit_sink import LiveKitSink

logger = logging.getLogger(__name__)


async def publish(room: rtc.Room, sink: LiveKitSink, width: int, height: int) -> Picture:
    """Raises:
    RoomError: LiveKit does not take the tracks.
    """
    sound = rtc.LocalAudioTrack.create_audio_track("voice", sink.sound)
    picture = rtc.LocalVideoTrack.create_video_track("face", sink.picture)
    sound_options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_MICROPHONE, stream=STREAM, dtx=False, red=True
    )
    sound_options.audio_encoding.max_bitrate = SOUND_BPS
    picture_options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        stream=STREAM,
        simulcast=False,
        video_codec=rtc.VideoCodec.VP8,
        video_encoding=rtc.VideoEncoding(max_bitrate=round(width * height * BITS_PER_PIXEL * FPS), max_framerate=FPS),
    )
    try:
        # The picture comes last: agents wait for it before they speak.
        await room.local_participant.publish_track(sound, sound_options)
        published = await room.local_participant.publish_track(picture, picture_options)
    except Exception as error:  # livekit raises errors of several kinds, and a bare one
        raise RoomError(f"the avatar's tracks cannot be published: {error}") from error
    return Picture(picture, published)


class Picture:
    """The published pictures."""

    def __init__(self, track: rtc.LocalVideoTrack, published: rtc.LocalTrackPublication) -> None:
        self._track = track
        self._published = published

    async def watch(self, tell: Callable[[bool], None]) -> None:
        """Tell whenever somebody begins to take them or nobody does any more. There is an event for the first only."""
        await self._published.wait_for_subscription()
        watched = False
        while True:
            encoded = any(
                one.outbound_rtp.outbound.active
                for one in await self._track.get_stats()
                if one.WhichOneof("stats") == "outbound_rtp"
            )
            if encoded != watched:
                watched = encoded
                logger.debug("the picture is %s", "watched" if watched else "not watched")
                tell(watched)
            await asyncio.sleep(WATCH_S)
