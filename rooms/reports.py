"""Sender reports that say when a sample was, not when its packet left.

A receiver plays sound and picture together by what RTCP's sender reports say: an RTP timestamp and the wall clock (NTP)
that belongs to it. aiortc pairs the timestamp with the moment its packet was sent, and a picture is sent after it has
been encoded: 3 to 15 ms after the sound of the same tick, so the receiver shows it that much too early, and differently
early in each report. Here both are placed on the media time line, which has one origin for sound and picture.

In: the time line's place of what a track handed over last. Out: reports. aiortc has no seam for this: a sender is given
a class of ours, whose one attribute computes what theirs stores. The version is pinned and a test looks.
"""

from __future__ import annotations

from collections.abc import Callable

from aiortc import RTCRtpSender, clock

_NTP_SECOND = 1 << 32


class MediaClock:
    """The wall clock of one media time line; whoever asks first ties the two together."""

    def __init__(self) -> None:
        self._origin: int | None = None

    def ntp(self, media_time_ms: float) -> int:
        """As a 64 bit NTP timestamp."""
        since = round(media_time_ms * _NTP_SECOND / 1000)
        if self._origin is None:
            self._origin = clock.current_ntp_time() - since
        return self._origin + since


def report_media_time(sender: RTCRtpSender, media_clock: MediaClock, handed_ms: Callable[[], float]) -> None:
    """Make a sender report the media time of what its track handed over last (``handed_ms``)."""
    sender.__class__ = _MediaTimeSender
    assert isinstance(sender, _MediaTimeSender)
    sender.media_clock = media_clock
    sender.handed_ms = handed_ms


class _MediaTimeSender(RTCRtpSender):
    media_clock: MediaClock
    handed_ms: Callable[[], float]
    _reported = 0

    @property
    def _RTCRtpSender__ntp_timestamp(self) -> int:  # noqa: N802 - aiortc's private name
        return self._reported

    @_RTCRtpSender__ntp_timestamp.setter
    def _RTCRtpSender__ntp_timestamp(self, sent_at: int) -> None:  # noqa: N802
        # Set as each packet has been sent: what was handed over last is what it holds.
        self._reported = self.media_clock.ntp(self.handed_ms())
