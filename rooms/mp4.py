"""One MP4 file: H.264 picture and AAC sound, exactly in step, with a note of its origin.

In: ticks, in order, as picture (or none: the last one stays) and sound. Out: the file. It blocks: encoding and writing
happen in the caller's thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.stream import VideoStream

from avatar.frames import FPS, SAMPLE_RATE_HZ, TICK_SAMPLES, Pcm, Picture

KEYFRAME_TICKS = 50
"""A keyframe every 2 s. A fragmented file is whole up to the last one that came before a crash."""
AUDIO_BIT_RATE = 96_000

# Numbers of ITU-T H.273; PyAV's own names are swscale's, whose matrix numbers differ.
_BT601 = 6
_LIMITED_RANGE = 1

_FAST_START = "+faststart"
# delay_moov waits for the first packets before the header is written: only then does it know the AAC encoder's
# priming (1024 samples), and a header without that edit plays the sound 21 ms late.
_FRAGMENTED = "+frag_keyframe+empty_moov+delay_moov+default_base_moof"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a recording says of its origin, to people (the comment tag) and to machines (the description tag, JSON)."""

    version: str
    persona: str
    renderer: str

    @property
    def comment(self) -> str:
        return f"AI-generated: the avatar {self.persona!r} speaking, made by Mien {self.version}. Not a real person."

    def description(self, created: datetime) -> str:
        """JSON. ``digital_source_type`` is from IPTC's vocabulary for synthetic media."""
        return json.dumps(
            {
                "generator": f"Mien {self.version}",
                "ai_generated": True,
                "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic",
                "persona": self.persona,
                "renderer": self.renderer,
                "created": created.isoformat(timespec="seconds"),
            },
            ensure_ascii=False,
        )


class Mp4File:
    """A file being written; a context manager that completes it. All methods block.

    Args:
        width, height: px, of every picture.
        fragmented: True: playable at any moment, also after a crash. False: one index at the front, which every
            player and web server likes best.

    Raises:
        av.error.FFmpegError, OSError: from any method, when writing fails.
    """

    def __init__(self, path: Path, width: int, height: int, provenance: Provenance, *, fragmented: bool) -> None:
        # flush_packets: what has been written is in the hands of the system, and outlives this process.
        options = {"movflags": _FRAGMENTED if fragmented else _FAST_START, "flush_packets": "1"}
        self._container = av.open(str(path), "w", format="mp4", container_options=options)
        created = datetime.now(UTC)
        self._container.metadata["comment"] = provenance.comment
        self._container.metadata["description"] = provenance.description(created)
        self._container.metadata["creation_time"] = created.isoformat(timespec="seconds")
        self._video = self._container.add_stream(
            "libx264",
            rate=FPS,
            # No B-frames: every picture is written at its own time, and a fragment holds all up to its end.
            # One thread: at 512² a picture costs about 2 ms, and a conversation beside it keeps its cores.
            options={"preset": "veryfast", "crf": "20", "bf": "0", "g": str(KEYFRAME_TICKS), "threads": "1"},
        )
        _set_picture_format(self._video, width, height)
        self._audio = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        self._audio.bit_rate = AUDIO_BIT_RATE
        self._first: int | None = None
        self._due = 0

    @property
    def empty(self) -> bool:
        return self._first is None

    def write(self, tick: int, picture: Picture | None, sound: Pcm) -> None:
        """Add a tick. The file begins with the first one; ticks left out are silent and show the picture before.

        Args:
            sound: int16 [TICK_SAMPLES] at 48 kHz.
        """
        if self._first is None:
            self._first = self._due = tick
        for missing in range(self._due, tick):
            self._write_sound(missing - self._first, np.zeros(TICK_SAMPLES, np.int16))
        self._due = tick + 1
        if picture is not None:
            image = av.VideoFrame.from_ndarray(picture.planes, format="yuv420p")
            image.pts, image.time_base = tick - self._first, Fraction(1, FPS)
            self._container.mux(self._video.encode(image))
        self._write_sound(tick - self._first, sound)

    def _write_sound(self, place: int, sound: Pcm) -> None:
        samples = av.AudioFrame.from_ndarray(sound[np.newaxis], format="s16", layout="mono")
        samples.sample_rate = SAMPLE_RATE_HZ
        samples.pts, samples.time_base = place * TICK_SAMPLES, Fraction(1, SAMPLE_RATE_HZ)
        self._container.mux(self._audio.encode(samples))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self.empty:
                self._container.mux(self._video.encode(None))
                self._container.mux(self._audio.encode(None))
        finally:
            self._container.close()


def _set_picture_format(video: VideoStream, width: int, height: int) -> None:
    video.width, video.height, video.pix_fmt = width, height, "yuv420p"
    video.time_base = Fraction(1, FPS)
    codec = video.codec_context
    codec.color_range = _LIMITED_RANGE
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT601
