"""One place that a stream is published to: keeps a connection there, or tries to, on a thread of its own.

In: packets, from the encoder's thread. Out: the same packets at an RTMP server, from a keyframe on, stamped with their
media time; after a break with the time that it has become by then. Nobody ever waits for it: what a slow server does
not take is dropped, pictures before sound, and while there is no server nothing is kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rooms.rtmp_address import Address
from rooms.rtmp_client import Disconnected, Refused, RtmpConnection
from rooms.rtmp_encoder import AUDIO_BIT_RATE, Format, Packet
from rooms.rtmp_queue import SendQueue
from rooms.rtmp_wire import AUDIO, VIDEO, Amf

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 0.8
"""With `CONNECT_S` it makes less than 3 s until a server's return is noticed, however it was gone."""
LONGEST_REFUSED_S = 30.0
"""A refused key is tried again more and more seldom: it may be that the server has not noticed our last break."""
SETTLED_S = 10.0
"""A connection that lasted this long starts the waits anew."""
WAKE_S = 0.1
CLOSE_S = 3.0

State = Literal["connecting", "live", "waiting", "refused", "closed"]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """For health and metrics. ``address`` and ``problem`` hold no key."""

    address: str
    state: State
    problem: str | None
    since_s: float
    connections: int
    failures: int
    pictures_dropped: int
    sounds_dropped: int
    sent_bytes: int
    behind_ms: float


class Waits:
    """How long to wait before it is tried again, by what has gone wrong so far."""

    def __init__(self) -> None:
        self._next_s = FIRST_WAIT_S

    def after(self, error: Disconnected, lasted_s: float) -> float:
        """Args:
        lasted_s: how long there was a connection, or was tried to make one.
        """
        # Whoever is not there now may have been restarted: what was refused before says nothing any more.
        longest_s = LONGEST_REFUSED_S if isinstance(error, Refused) else LONGEST_WAIT_S
        wait_s = FIRST_WAIT_S if lasted_s > SETTLED_S else min(self._next_s, longest_s)
        self._next_s = min(2 * wait_s, longest_s)
        return wait_s


class RtmpTarget:
    """Starts at once. `offer` and `status` may be called from any thread.

    Args:
        name: what metadata call the stream's maker.
        want_keyframe: called when a connection stands, so that nobody has to wait 2 s for the first picture.
    """

    def __init__(self, address: Address, format_: Format, name: str, want_keyframe: Callable[[], None]) -> None:
        self._address = address
        self._format = format_
        self._name = name
        self._want_keyframe = want_keyframe
        self._changed = threading.Condition()
        self._queue = SendQueue()
        self._closing = False
        self._state: State = "connecting"
        self._problem: str | None = None
        self._since = time.monotonic()
        self._connections = self._failures = 0
        self._bytes = 0
        self._connection: RtmpConnection | None = None
        self._thread = threading.Thread(target=self._run, name=f"rtmp {address}", daemon=True)
        self._thread.start()

    def offer(self, packet: Packet) -> None:
        """Queue a packet, or drop it by the queue's policy. Returns at once."""
        with self._changed:
            self._queue.push(packet)
            self._changed.notify()

    def status(self) -> TargetStatus:
        with self._changed:
            connection = self._connection
            return TargetStatus(
                str(self._address),
                self._state,
                self._problem,
                time.monotonic() - self._since,
                self._connections,
                self._failures,
                self._queue.pictures_dropped,
                self._queue.sounds_dropped,
                self._bytes + (connection.sent_bytes if connection is not None else 0),
                self._queue.behind_ms,
            )

    def close(self) -> None:
        """Send what is queued, say goodbye, end the thread; bounded. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.warning("%s did not close within %g s; its thread is left to its time-outs", self._address, CLOSE_S)

    # -- the thread

    def _run(self) -> None:
        waits = Waits()
        while not self._closing:
            began = time.monotonic()
            try:
                self._stream()
            except Disconnected as error:
                wait_s = waits.after(error, time.monotonic() - began)
                self._failed(error, isinstance(error, Refused), wait_s)
                if not self._closing:
                    self._sleep(wait_s)
            except Exception:  # a fault of ours in one target's thread: the others go on, and so does this one
                log.exception("publishing to %s failed; it is tried again", self._address)
                self._set("waiting", "a fault inside Mien; the log has it")
                self._sleep(LONGEST_WAIT_S)
        self._set("closed", self._problem)

    def _stream(self) -> None:
        """Connect and send until the connection breaks (raises) or the target is closed."""
        connection = RtmpConnection(self._address, self._metadata())
        announced: Format | None = None
        with self._changed:
            self._connection = connection
            self._queue.open()
            self._connections += 1
        self._set("live", None)
        log.info("on air at %s", self._address)
        self._want_keyframe()
        try:
            while (packet := self._next()) is not False:
                connection.hear()
                if packet is None:
                    continue
                if packet.format is not announced:
                    announced = packet.format
                    connection.send(VIDEO, round(packet.time_ms), b"\x17\x00\x00\x00\x00" + announced.avcc)
                    connection.send(AUDIO, round(packet.time_ms), b"\xaf\x00" + announced.aac)
                connection.send(VIDEO if packet.video else AUDIO, round(packet.time_ms), flv_body(packet))
            connection.close()
        except BaseException:
            connection.abandon()
            raise
        finally:
            with self._changed:
                self._queue.close()
                self._bytes += connection.sent_bytes
                self._connection = None

    def _next(self) -> Packet | Literal[False] | None:
        """The next packet; None when there is none for the moment, False when the target is closed and all is sent."""
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait(WAKE_S)
            packet = self._queue.pop()
            return False if packet is None and self._closing else packet

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def _failed(self, error: Disconnected, refused: bool, wait_s: float) -> None:
        was_live = self._state == "live"
        text = str(error)
        with self._changed:
            self._failures += 1
            repeated = text == self._problem
        self._set("refused" if refused else "waiting", text)
        # Logged when it is news, and then at every doubling: a server that is away for a night fills no disk.
        if was_live or not repeated or self._failures.bit_count() == 1:
            log.log(
                logging.ERROR if refused else logging.WARNING,
                "off air: %s; next try in %.1f s (failure %d)",
                text,
                wait_s,
                self._failures,
            )

    def _set(self, state: State, problem: str | None) -> None:
        with self._changed:
            if state != self._state:
                self._since = time.monotonic()
            self._state, self._problem = state, problem

    def _metadata(self) -> dict[str, Amf]:
        return {
            "width": self._format.width,
            "height": self._format.height,
            "framerate": self._format.fps,
            "videocodecid": 7,
            "videodatarate": self._format.video_bit_rate / 1000,
            "audiocodecid": 10,
            "audiodatarate": AUDIO_BIT_RATE / 1000,
            "audiosamplerate": 48_000,
            "audiosamplesize": 16,
            "stereo": True,
            "encoder": self._name,
            "ai_generated": True,
        }


def flv_body(packet: Packet) -> bytes:
    """A packet as an RTMP message (and an FLV tag) holds it."""
    if packet.video:
        return (b"\x17" if packet.keyframe else b"\x27") + b"\x01\x00\x00\x00" + packet.data
    return b"\xaf\x01" + packet.data
