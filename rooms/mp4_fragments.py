"""Fragmented MP4 from packets that are encoded already: header and fragments, as bytes. It writes nowhere.

In: a stream's format and its packets, in order. Out: a header, then fragments that each stand for some hundred
milliseconds; every prefix that ends with a fragment is a whole file, and a browser plays the same bytes as they come.
After ISO 14496-12, -14 and -15. PyAV's muxer can take foreign packets too, but no parameter sets for them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from avatar.frames import SAMPLE_RATE_HZ
from rooms.mp4 import Provenance
from rooms.rtmp_encoder import AUDIO_BIT_RATE, AUDIO_FRAME_SAMPLES, CHANNELS, Format, Packet

_VIDEO, _AUDIO = 1, 2
_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_KEY_SAMPLE, _OTHER_SAMPLE = 0x02000000, 0x01010000
"""Sample flags: depends on no other; depends on others and is no sync sample."""
_BT601 = 6


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *content)


def header(form: Format, provenance: Provenance) -> bytes:
    """What comes before the first fragment."""
    now = datetime.now(UTC)
    created = int((now - _EPOCH).total_seconds()) & 0xFFFFFFFF
    movie = _full(
        b"mvhd", 0, 0, struct.pack(">IIIIIH10x", created, created, 1000, 0, 0x10000, 0x100), _MATRIX,
        bytes(24), struct.pack(">I", 3),
    )  # fmt: skip
    extends = _box(
        b"mvex", *(_full(b"trex", 0, 0, struct.pack(">5I", track, 1, 0, 0, 0)) for track in (_VIDEO, _AUDIO))
    )
    return _box(b"ftyp", b"iso6", bytes(4), b"iso6isomavc1mp41") + _box(
        b"moov",
        movie,
        _track(_VIDEO, created, form.fps, b"vide", _full(b"vmhd", 0, 1, bytes(8)), _avc1(form), form),
        _track(_AUDIO, created, SAMPLE_RATE_HZ, b"soun", _full(b"smhd", 0, 0, bytes(4)), _mp4a(form), form),
        extends,
        _user_data(provenance, now),
    )


def _track(
    number: int, created: int, timescale: int, handler: bytes, media: bytes, description: bytes, form: Format
) -> bytes:
    video = number == _VIDEO
    size = struct.pack(">II", form.width << 16, form.height << 16) if video else bytes(8)
    volume = 0 if video else 0x100
    track = struct.pack(">IIIII8xHHHH", created, created, number, 0, 0, 0, 0, volume, 0)
    no_samples = [_full(kind, 0, 0, bytes(4)) for kind in (b"stts", b"stsc", b"stco")]
    table = _box(
        b"stbl",
        _full(b"stsd", 0, 0, struct.pack(">I", 1), description),
        *no_samples[:2],
        _full(b"stsz", 0, 0, bytes(8)),
        no_samples[2],
    )
    here = _box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1)))
    return _box(
        b"trak",
        _full(b"tkhd", 0, 3, track, _MATRIX, size),
        _box(
            b"mdia",
            _full(b"mdhd", 0, 0, struct.pack(">IIIIHH", created, created, timescale, 0, 0x55C4, 0)),
            _full(b"hdlr", 0, 0, bytes(4), handler, bytes(12), b"Mien\0"),
            _box(b"minf", media, here, table),
        ),
    )


def _avc1(form: Format) -> bytes:
    fields = struct.pack(
        ">6xH16xHHIIIH32sHh", 1, form.width, form.height, 0x480000, 0x480000, 0, 1, b"", 24, -1
    )  # 72 dpi, one frame a sample, no compressor name, depth 24
    colour = _box(b"colr", b"nclx", struct.pack(">HHHB", _BT601, _BT601, _BT601, 0))
    return _box(b"avc1", fields, _box(b"avcC", form.avcc), colour)


def _mp4a(form: Format) -> bytes:
    def descriptor(tag: int, content: bytes) -> bytes:
        return bytes((tag, len(content))) + content

    config = descriptor(5, form.aac)
    decoder = struct.pack(">BBBHII", 0x40, 0x15, 0, 0, AUDIO_BIT_RATE, AUDIO_BIT_RATE) + config
    stream = struct.pack(">HB", _AUDIO, 0) + descriptor(4, decoder) + descriptor(6, b"\x02")
    fields = struct.pack(">6xH8xHH4xI", 1, CHANNELS, 16, SAMPLE_RATE_HZ << 16)
    return _box(b"mp4a", fields, _full(b"esds", 0, 0, descriptor(3, stream)))


def _user_data(provenance: Provenance, created: datetime) -> bytes:
    """The notes of origin, where players and tools look for a comment and a description."""
    texts = (
        (b"\xa9too", f"Mien {provenance.version}"),
        (b"\xa9cmt", provenance.comment),
        (b"desc", provenance.description(created)),
    )
    items = (_box(kind, _box(b"data", struct.pack(">II", 1, 0), text.encode())) for kind, text in texts)
    handler = _full(b"hdlr", 0, 0, bytes(4), b"mdirappl", bytes(9))
    return _box(b"udta", _full(b"meta", 0, 0, handler, _box(b"ilst", *items)))


def whole_bytes(file: BinaryIO) -> int:
    """How many bytes of a file are whole: up to where a power cut or a kill left half a fragment, at which players
    stop before they have begun."""
    end = file.seek(0, 2)
    place = whole = 0
    while place + 8 <= end:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length < 8 or place + length > end:
            break
        place += length
        if kind in (b"moov", b"mdat"):
            whole = place
    return whole


class Fragmenter:
    """Makes one stream of fragments, whose time begins at its first keyframe.

    Args:
        every_ms: how much a fragment holds, about.
    """

    def __init__(self, every_ms: float) -> None:
        self._every_ms = every_ms
        self._sequence = 0
        self._origin_ms: float | None = None
        self._pictures: list[Packet] = []
        self._sounds: list[Packet] = []

    def push(self, packet: Packet) -> bytes:
        """Take the next packet; returns the fragment that it completes, or nothing."""
        if self._origin_ms is None:
            if not (packet.video and packet.keyframe):
                return b""
            self._origin_ms = packet.time_ms
        made = b""
        if packet.video and self._pictures and packet.time_ms - self._pictures[0].time_ms >= self._every_ms:
            made = self.flush()
        (self._pictures if packet.video else self._sounds).append(packet)
        return made

    def flush(self) -> bytes:
        """What is left, as the last fragment; nothing if there is nothing."""
        assert self._origin_ms is not None or not self._pictures
        tracks = [
            (number, packets) for number, packets in ((_VIDEO, self._pictures), (_AUDIO, self._sounds)) if packets
        ]
        self._pictures, self._sounds = [], []
        if not tracks:
            return b""
        self._sequence += 1
        # Where a track's data begin depends on the length of the box before them, which does not depend on the places.
        places = [0] * len(tracks)
        length = len(self._moof(tracks, places))
        start = length + 8
        for index, (_, packets) in enumerate(tracks):
            places[index] = start
            start += sum(len(packet.data) for packet in packets)
        data = (packet.data for _, packets in tracks for packet in packets)
        return self._moof(tracks, places) + _box(b"mdat", *data)

    def _moof(self, tracks: Sequence[tuple[int, list[Packet]]], places: Sequence[int]) -> bytes:
        parts: Iterable[bytes] = (
            self._traf(number, packets, place) for (number, packets), place in zip(tracks, places, strict=True)
        )
        return _box(b"moof", _full(b"mfhd", 0, 0, struct.pack(">I", self._sequence)), *parts)

    def _traf(self, number: int, packets: list[Packet], place: int) -> bytes:
        assert self._origin_ms is not None
        video = number == _VIDEO
        scale = packets[0].format.fps if video else SAMPLE_RATE_HZ
        first = packets[0].time - round(self._origin_ms * scale / 1000)
        usual = 1 if video else AUDIO_FRAME_SAMPLES
        ends = [packet.time for packet in packets[1:]] + [packets[-1].time + usual]
        samples = b"".join(
            struct.pack(">III", end - packet.time, len(packet.data), _KEY_SAMPLE if packet.keyframe else _OTHER_SAMPLE)
            for packet, end in zip(packets, ends, strict=True)
        )
        return _box(
            b"traf",
            _full(b"tfhd", 0, 0x020000, struct.pack(">I", number)),
            _full(b"tfdt", 1, 0, struct.pack(">Q", max(0, first))),
            _full(b"trun", 0, 0x701, struct.pack(">Ii", len(packets), place), samples),
        )
