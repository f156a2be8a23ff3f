"""One connection that publishes to an RTMP server: sound and picture messages in, bytes on a socket out.

It blocks, each call for a bounded time, and is used by one thread. FFmpeg's RTMP (behind PyAV) is not used: when a
server takes nothing any more its write blocks for ever and no time-out reaches it; a refused key comes back as
"Input/output error"; and each connection that was given up would leave a thread behind.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from fcntl import ioctl
from typing import Final

from avatar.frames import MienError
from rooms.rtmp_address import Address
from rooms.rtmp_wire import (
    COMMAND,
    DATA,
    SET_CHUNK_SIZE,
    USER_CONTROL,
    Amf,
    ChunkReader,
    ChunkWriter,
    Message,
    WireError,
    amf,
    from_amf,
)

CONNECT_S = 2.0
"""A host that answers nothing is asked anew this often: it is noticed soon after its return."""
ANSWER_S = 5.0
"""Each step of the handshake, and the answer to each command."""
WRITE_S = 4.0
"""How long a server may take nothing at all before it counts as stalled."""
SEND_BUFFER_BYTES = 256 * 1024
"""About a second of stream: what the system may hold for a slow server, out of reach of our drop policy."""
CHUNK_BYTES = 4096
CLOSE_S = 0.5

_CONTROL_STREAM, _COMMAND_STREAM, _MEDIA_STREAM = 2, 3, 4
_PING_REQUEST, _PING_RESPONSE = 6, 7
_HANDSHAKE = 1536
_SIOCOUTQ: Final = 0x5411


class Disconnected(MienError):
    """There is no connection (any more): why. Worth trying again."""


class Stalled(Disconnected):
    """The server takes nothing."""


class Refused(Disconnected):
    """The server is there and does not want this stream: its own words."""


class RtmpConnection:
    """Connects and publishes; then takes messages.

    Args:
        metadata: the stream's onMetaData.

    Raises:
        Refused: the server said no, or hung up when it was told the key.
        Disconnected: nobody is there, or it does not speak RTMP.
    """

    def __init__(
        self,
        address: Address,
        metadata: Mapping[str, Amf],
        *,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
        write_s: float = WRITE_S,
    ) -> None:
        self._address = address
        self._write_s = write_s
        self._reader = ChunkReader()
        self._writer = ChunkWriter()
        self._transactions = 0
        self._stream = 0
        self._answers: list[list[Amf]] = []
        self.sent_bytes = 0
        self._taken, self._taken_at = 0, time.monotonic()
        """Bytes acknowledged, and since when it has been that many."""
        self._socket = self._connect(connect_s)
        try:
            self._socket.settimeout(answer_s)
            self._handshake()
            self._publish(answer_s)
            self._command(0, self._stream, DATA, "@setDataFrame", "onMetaData", metadata)
        except BaseException:
            self._socket.close()
            raise

    def send(self, kind: int, timestamp_ms: int, payload: bytes) -> None:
        """One AUDIO or VIDEO message; at most ``write_s``, while which what the server says is heard.

        Raises:
            Stalled, Refused, Disconnected.
        """
        self._write(self._writer.message(_MEDIA_STREAM + kind, kind, timestamp_ms, self._stream, payload))

    def hear(self) -> None:
        """Answer what the server asks, and see whether it still takes what it is sent; returns at once.

        Raises:
            Stalled, Refused, Disconnected.
        """
        while self._readable(0):
            self._receive()
        self._check_progress()
        for answer in self._answers:
            _check_status(answer, self._address)
        self._answers.clear()

    def unsent(self) -> int:
        """Bytes that the other machine has not acknowledged; 0 where the system does not tell (it is Linux's)."""
        held = array.array("i", [0])
        with contextlib.suppress(OSError):
            ioctl(self._socket.fileno(), _SIOCOUTQ, held)
        return held[0]

    def close(self) -> None:
        """Say that the stream ends, as far as that is possible in half a second, and hang up."""
        with contextlib.suppress(OSError, Disconnected):
            self._write_s = CLOSE_S
            if self._stream:
                self._command(0, 0, COMMAND, "FCUnpublish", 0, None, self._address.key)
                self._command(0, 0, COMMAND, "deleteStream", 0, None, self._stream)
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(CLOSE_S)
            until = time.monotonic() + CLOSE_S
            while time.monotonic() < until and self._socket.recv(65536):
                pass  # until the server hangs up too: then it has read everything
        self.abandon()

    def abandon(self) -> None:
        """Hang up at once; what is unsent is dropped."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    # -- connecting

    def _connect(self, connect_s: float) -> socket.socket:
        address = self._address
        try:
            connection = socket.create_connection((address.host, address.port), connect_s)
        except TimeoutError:
            raise Disconnected(f"{address}: no answer within {connect_s:g} s") from None
        except OSError as error:
            raise Disconnected(f"{address}: {error.strerror or error}") from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if not address.secure:
            return connection
        try:
            return ssl.create_default_context().wrap_socket(connection, server_hostname=address.host)
        except (ssl.SSLError, OSError) as error:
            connection.close()
            reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error
            raise Disconnected(f"{address}: no TLS connection: {reason}") from None

    def _handshake(self) -> None:
        own = os.urandom(_HANDSHAKE - 8)
        self._write(b"\x03" + bytes(8) + own)
        version = self._exactly(1)
        if version != b"\x03":
            raise Disconnected(f"{self._address} does not speak RTMP: it answers with version {version[0]}")
        theirs = self._exactly(_HANDSHAKE)
        self._write(theirs[:4] + bytes(4) + theirs[8:])
        self._exactly(_HANDSHAKE)

    def _publish(self, answer_s: float) -> None:
        address = self._address
        self._control(SET_CHUNK_SIZE, CHUNK_BYTES.to_bytes(4))
        self._writer.size = CHUNK_BYTES
        self._ask(
            "connect",
            {
                "app": address.app,
                "type": "nonprivate",
                "flashVer": "FMLE/3.0 (compatible; Mien)",
                "tcUrl": address.url,
            },
            answer_s=answer_s,
        )
        for courtesy in ("releaseStream", "FCPublish"):  # older servers want them; no answer is waited for
            self._transactions += 1
            self._command(_COMMAND_STREAM, 0, COMMAND, courtesy, self._transactions, None, address.key)
        number = self._ask("createStream", None, answer_s=answer_s)
        if not isinstance(number, float):
            raise Disconnected(f"{address}: createStream was answered without a stream")
        self._stream = int(number)
        self._transactions += 1
        self._command(_MEDIA_STREAM, self._stream, COMMAND, "publish", self._transactions, None, address.key, "live")
        until = time.monotonic() + answer_s
        while True:
            answer = self._answer(until, "publish")
            if answer[0] == "onStatus":
                _check_status(answer, address)
                return

    def _ask(self, name: str, *values: Amf, answer_s: float) -> Amf:
        """A command and the last value of its result."""
        self._transactions += 1
        number = self._transactions
        self._command(_COMMAND_STREAM, 0, COMMAND, name, number, *values)
        until = time.monotonic() + answer_s
        while True:
            answer = self._answer(until, name)
            if answer[0] == "_error" and len(answer) > 1 and answer[1] == number:
                raise Refused(f"{self._address} refuses to {name}: {_words(answer, self._address)}")
            if answer[0] == "_result" and len(answer) > 1 and answer[1] == number:
                return answer[-1]
            if answer[0] == "onStatus":
                _check_status(answer, self._address)

    def _answer(self, until: float, to: str) -> list[Amf]:
        """The server's next command."""
        while not self._answers:
            left_s = until - time.monotonic()
            if left_s <= 0 or not self._readable(left_s):
                raise Disconnected(f"{self._address}: no answer to {to} within the time")
            try:
                self._receive()
            except Refused:
                raise
            except Disconnected:
                # This is how nginx-rtmp, and others, say no.
                if to == "publish":
                    raise Refused(
                        f"{self._address} hung up when it was told the stream key: check the key, and that nobody else "
                        "publishes with it"
                    ) from None
                raise Refused(
                    f"{self._address} hung up when it was asked for the application {self._address.app!r}: check the "
                    "part of the address before the key"
                ) from None
        return self._answers.pop(0)

    # -- bytes

    def _check_progress(self) -> None:
        """A server that hangs is noticed once its system's buffer is full, before ours is: nothing is acknowledged."""
        held, now = self.unsent(), time.monotonic()
        taken = self.sent_bytes - held
        if taken != self._taken or not held:
            self._taken, self._taken_at = taken, now
        elif now - self._taken_at > self._write_s:
            raise Stalled(f"{self._address} has taken nothing for {self._write_s:g} s")

    def _control(self, kind: int, payload: bytes) -> None:
        self._write(self._writer.message(_CONTROL_STREAM, kind, 0, 0, payload))

    def _command(self, chunk_stream: int, stream: int, kind: int, *values: Amf) -> None:
        self._write(self._writer.message(chunk_stream or _COMMAND_STREAM, kind, 0, stream, amf(*values)))

    def _write(self, content: bytes) -> None:
        """All of it. A server that takes nothing for ``write_s`` is stalled; a slow one may take longer altogether."""
        rest = memoryview(content)
        self._socket.settimeout(self._write_s)
        try:
            while rest:
                sent = self._socket.send(rest)
                self.sent_bytes += sent
                rest = rest[sent:]
        except TimeoutError:
            raise Stalled(f"{self._address} has taken nothing for {self._write_s:g} s") from None
        except OSError as error:
            raise Disconnected(f"{self._address}: {error.strerror or error}") from None

    def _readable(self, within_s: float) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def _exactly(self, count: int) -> bytes:
        content = b""
        try:
            while len(content) < count:
                part = self._socket.recv(count - len(content))
                if not part:
                    raise Disconnected(f"{self._address} hung up during the handshake")
                content += part
        except TimeoutError:
            raise Disconnected(f"{self._address}: no handshake within {self._socket.gettimeout():g} s") from None
        except OSError as error:
            raise Disconnected(f"{self._address}: {error.strerror or error}") from None
        return content

    def _receive(self) -> None:
        try:
            content = self._socket.recv(65536)
        except TimeoutError:
            return
        except OSError as error:
            raise Disconnected(f"{self._address}: {error.strerror or error}") from None
        if not content:
            raise Disconnected(f"{self._address} hung up")
        try:
            for message in self._reader.feed(content):
                self._heard(message)
        except WireError as error:
            raise Disconnected(f"{self._address} does not speak RTMP: {error}") from None

    def _heard(self, message: Message) -> None:
        match message.kind:
            case 20:
                values = from_amf(message.payload)
                if values:
                    self._answers.append(values)
            case 4 if message.payload[:2] == _PING_REQUEST.to_bytes(2):
                self._control(USER_CONTROL, _PING_RESPONSE.to_bytes(2) + message.payload[2:6])
            case _:
                pass  # acknowledgements and window sizes: TCP does that work


def _check_status(answer: list[Amf], address: Address) -> None:
    """Raises:
    Refused: the server reports an error.
    """
    if answer[0] not in ("onStatus", "_error"):
        return
    status = answer[-1]
    level = status.get("level") if isinstance(status, Mapping) else None
    if answer[0] == "_error" or level == "error":
        raise Refused(f"{address} refuses the stream: {_words(answer, address)}")


def _words(answer: list[Amf], address: Address) -> str:
    """What the server says for people, without the key."""
    status = answer[-1]
    if not isinstance(status, Mapping):
        return "no reason given"
    said = [str(status[name]) for name in ("code", "description") if status.get(name)]
    return address.hidden(": ".join(said))[:200] or "no reason given"
