"""A real LiveKit server on loopback, on free ports, ended by its process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from livekit import api

ROOT = Path(__file__).parents[2]
KEY = "testkey"
SECRET = "a-secret-of-thirty-two-characters-and-more"
START_S = 20
STOP_S = 10
_CONFIGURATION = """
port: {port}
bind_addresses: ["127.0.0.1"]
rtc:
  udp_port: {udp_port}
  tcp_port: 0
  node_ip: 127.0.0.1
  use_external_ip: false
  enable_loopback_candidate: true
  interfaces: {{includes: [lo]}}
room: {{empty_timeout: {empty_s}, departure_timeout: {empty_s}}}
keys: {{{key}: {secret}}}
logging: {{level: info}}
"""


@dataclass(frozen=True)
class LiveKitServer:
    url: str
    ports: tuple[int, int]
    """Of signalling (TCP) and media (UDP)."""
    process: subprocess.Popen[bytes]

    def token(
        self,
        identity: str,
        room: str,
        *,
        agent: str | None = None,
        metadata: str = "",
        kind: str = "standard",
        attributes: dict[str, str] | None = None,
    ) -> str:
        """A token of ours, not of the endpoint's: for people and for avatars without a worker."""
        token = api.AccessToken(KEY, SECRET).with_identity(identity).with_kind(kind)  # type: ignore[arg-type]
        token = token.with_grants(api.VideoGrants(room_join=True, room=room, agent=kind == "agent"))
        token = token.with_attributes(attributes or {})
        if agent is not None:
            dispatch = api.RoomAgentDispatch(agent_name=agent, metadata=metadata)
            token = token.with_room_config(api.RoomConfiguration(agents=[dispatch]))
        return token.to_jwt()

    async def remove(self, identity: str, room: str) -> None:
        """Cut a participant off."""
        async with api.LiveKitAPI(self.url, KEY, SECRET) as service:
            await service.room.remove_participant(api.RoomParticipantIdentity(room=room, identity=identity))

    @property
    def environment(self) -> dict[str, str]:
        """What Mien needs to use it."""
        return {"LIVEKIT_URL": self.url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}


@contextmanager
def livekit_server(folder: Path, *, port: int = 0, udp_port: int = 0, empty_s: int = 20) -> Iterator[LiveKitServer]:
    """Started, and waited for until it answers.

    Args:
        folder: for its configuration and its log.
        empty_s: how long it keeps a room without people.
    """
    binary = subprocess.run(
        [ROOT / "scripts/livekit-server", "--find"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert binary.returncode == 0, binary.stderr
    port, udp_port = port or _free(socket.SOCK_STREAM), udp_port or _free(socket.SOCK_DGRAM)
    configuration = folder / "livekit.yaml"
    configuration.write_text(
        _CONFIGURATION.format(port=port, udp_port=udp_port, empty_s=empty_s, key=KEY, secret=SECRET)
    )
    with (folder / "livekit.log").open("ab") as log:
        process = subprocess.Popen(
            [binary.stdout.strip(), "--config", configuration], stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/", process, folder / "livekit.log")
        yield LiveKitServer(f"ws://127.0.0.1:{port}", (port, udp_port), process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:  # it waits for its rooms to empty
            process.kill()
            process.wait(STOP_S)


def _free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the LiveKit server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)


def environment(**more: str) -> dict[str, str]:
    """Of a process under test: nothing of LiveKit's that happens to be set here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")} | more
