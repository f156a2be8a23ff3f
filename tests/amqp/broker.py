"""A real RabbitMQ on loopback, a node of its own: own ports, folders, cookie and port mapper, which all end with it.

`Broker` starts, stops and kills it by process id; its data survive that, as a real one's do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.children import tied

ROOT = Path(__file__).parents[2]
START_S = 60.0
STOP_S = 20.0
USER, PASSWORD = "mien", "s3cret-of-the-test"
PLAN = """
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
default_user = {user}
default_pass = {password}
log.console = false
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 512MB
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """Use as a context manager, or call `start` and `close`."""

    def __init__(self) -> None:
        found = subprocess.run([ROOT / "scripts" / "rabbitmq", "--find"], capture_output=True, text=True, check=False)
        if found.returncode:
            raise RuntimeError(found.stderr.strip())
        self._program = found.stdout.strip()
        self._folder = Path(tempfile.mkdtemp(prefix="mien-rabbitmq-"))
        self.port = free_port()
        self._distribution, self._mapper_port = free_port(), free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None
        (self._folder / "plan.conf").write_text(PLAN.format(port=self.port, user=USER, password=PASSWORD))
        (self._folder / "plugins").write_text("[].\n")

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def __enter__(self) -> Broker:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin, or begin again with what was kept; returns when it accepts connections.

        Raises:
            RuntimeError: it does not come up; with the end of what it wrote.
        """
        folder = self._folder
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))} | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"mien{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "plan.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # The program takes the shell's place, so that its process id is the one we know.
            "RABBITMQ_ALLOW_INPUT": "1",
            # One scheduler that does not spin, and few threads: it shares a small machine with what it tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        if self._mapper is None:
            mapper = shutil.which("epmd", path=f"{os.environ.get('PATH', '')}:/usr/lib/erlang/bin")
            if mapper is None:
                raise RuntimeError("there is no epmd: it comes with Erlang, which RabbitMQ needs")
            self._mapper = subprocess.Popen(
                tied(mapper, "-port", str(self._mapper_port), "-address", "127.0.0.1"),
                env=environ, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        with (folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                tied(self._program), env=environ, cwd=folder, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                wrote = (folder / "output").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"RabbitMQ does not come up (status {self._server.poll()}): {wrote}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Orderly, as for maintenance; returns when it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def freeze(self, frozen: bool) -> None:
        """Make it hang, connections open and nothing answered; or go on."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def close(self) -> None:
        """Kill it, and forget everything."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                probe.settimeout(5)
                return probe.recv(1) != b""
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        # Its group is its own: Erlang's helpers are in it.
        os.killpg(server.pid, how)
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
