"""The avatar's two tracks in a LiveKit room, whoever holds the conversation there.

In: a sink. Out: its sound and pictures, published and coded as is said here and not as livekit would choose, and
whether anybody takes the pictures.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from livekit import rtc

from avatar.frames import FPS, MienError
from rooms.livekit_sink import LiveKitSink

logger = logging.getLogger(__name__)

STREAM = "mien"
"""Both tracks carry it, so that receivers keep them in step."""
WATCH_S = 1.0
SOUND_BPS = 48_000
BITS_PER_PIXEL = 0.12
"""790 kb/s at 512 x 512: above this a face gains nothing that is seen."""


class RoomError(MienError):
    """The LiveKit room cannot be joined or published in: why."""


async def publish(
    room: rtc.Room, sink: LiveKitSink, width: int, height: int
) -> tuple[rtc.LocalTrackPublication, Picture]:
    """The published voice, and the pictures: one layer, because each costs a CPU.

    Raises:
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
        sounding = await room.local_participant.publish_track(sound, sound_options)
        published = await room.local_participant.publish_track(picture, picture_options)
    except Exception as error:  # livekit raises errors of several kinds, and a bare one
        raise RoomError(f"the avatar's tracks cannot be published: {error}") from error
    return sounding, Picture(picture, published)


class Picture:
    """The published pictures."""

    def __init__(self, track: rtc.LocalVideoTrack, published: rtc.LocalTrackPublication) -> None:
        self._track = track
        self._published = published

    async def watch(self, tell: Callable[[bool], None], *, known: Callable[[], None] = lambda: None) -> None:
        """Tell whenever somebody begins to take them or nobody does any more. There is an event for the first only,
        and statistics may not show that one yet.

        Args:
            known: called once, at the first subscription.
        """
        await self._published.wait_for_subscription()
        known()
        watched = True
        tell(watched)
        while True:
            await asyncio.sleep(WATCH_S)
            encoded = any(
                one.outbound_rtp.outbound.active
                for one in await self._track.get_stats()
                if one.WhichOneof("stats") == "outbound_rtp"
            )
            if encoded != watched:
                watched = encoded
                logger.debug("the picture is %s", "watched" if watched else "not watched")
                tell(watched)
