"""rtmps: the same stream through TLS, and no stream to a server whose certificate nobody vouches for."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer
from tests.rtmp.air import eventually, on_air

pytestmark = pytest.mark.rtmp


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself; and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@asynccontextmanager
async def tls_in_front(server: RtmpServer, cert: Path, key: Path) -> AsyncIterator[int]:
    """A TLS end before the RTMP server; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while content := await source.read(65536):
                sink.write(content)
                await sink.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.rtmp_port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    front = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    try:
        port: int = front.sockets[0].getsockname()[1]
        yield port
    finally:
        front.close()


async def test_a_stream_through_tls(
    server: RtmpServer, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_in_front(server, *certificate) as port:
        url = f"rtmps://127.0.0.1:{port}/live/a"
        async with on_air(url) as air:
            await eventually(lambda: air.target().state == "waiting", 5, "the refusal")
            assert "TLS" in (air.target().problem or "")
            assert "certificate" in (air.target().problem or "").lower()
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            await eventually(lambda: air.target().state == "live", 5, "being on air")
            reader = Reader(server.url("a")).start()
            await eventually(lambda: len(reader.of("video")) > 50, 20, "reading")
            await asyncio.to_thread(reader.stop)
        await asyncio.sleep(0.5)
    assert set(reader.steps_ms("video").round()) == {40}
