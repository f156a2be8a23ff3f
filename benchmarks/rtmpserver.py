"""A real nginx-rtmp on loopback, with a configuration of its own, on free ports; for tests, measurements and the
demo.

In: what it is to allow. Out: addresses to publish to and to read from, and its own statistics. It is stopped by its
process id, together with its workers.
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
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from benchmarks.children import tied

ROOT = Path(__file__).resolve().parent.parent
START_S = 10.0
STOP_S = 5.0

_CONFIGURATION = """
load_module {module};
daemon off;
master_process on;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
rtmp {{
    server {{
        listen 127.0.0.1:{rtmp};
        chunk_size 4096;
        ping 30s;
        application live {{
            live on;
            wait_key on;
            wait_video on;
            interleave off;
            idle_streams on;
            {live}
        }}
        application guarded {{
            live on;
            notify_method get;
            on_publish http://127.0.0.1:{http}/publish;
        }}
    }}
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{
        text/html html;
        text/javascript js;
        application/vnd.apple.mpegurl m3u8;
        video/mp2t ts;
    }}
    server {{
        listen 127.0.0.1:{http};
        location /stat {{ rtmp_stat all; }}
        location = /publish {{ if ($arg_name != "{key}") {{ return 403; }} return 200; }}
        location /hls {{ alias {folder}/hls; add_header Cache-Control no-cache; }}
        location / {{ root {page}; index watch.html; }}
    }}
}}
"""


def nginx() -> str:
    """The server's program.

    Raises:
        FileNotFoundError: it is not installed; says how to get it.
    """
    found = subprocess.run([ROOT / "scripts" / "rtmp-server", "--find"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise FileNotFoundError(found.stderr.strip())
    return found.stdout.strip()


def _module() -> Path:
    for folder in ("/usr/lib/nginx", "/usr/share/nginx", "/usr/lib64/nginx"):
        module = Path(folder, "modules", "ngx_rtmp_module.so")
        if module.exists():
            return module
    raise FileNotFoundError("nginx has no RTMP module: run scripts/rtmp-server")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


class RtmpServer:
    """Keeps its ports through any number of stops and starts.

    Args:
        hls: also offers the stream for browsers, at ``hls_url``.
        page: a folder with a page to serve beside it.
    """

    KEY = "the-right-key"
    """What the application `guarded` accepts."""

    def __init__(self, folder: Path, *, hls: bool = False, page: Path | None = None) -> None:
        self.folder = folder
        self.rtmp_port, self.http_port = free_port(), free_port()
        for made in ("body", "hls"):
            (folder / made).mkdir(exist_ok=True)
        folder.chmod(0o755)  # its workers run as another user when the master is root
        pieces = f"hls on; hls_path {folder}/hls; hls_fragment 1s; hls_playlist_length 12s; hls_cleanup on;"
        self._file = folder / "nginx.conf"
        self._file.write_text(
            _CONFIGURATION.format(
                module=_module(),
                folder=folder,
                rtmp=self.rtmp_port,
                http=self.http_port,
                key=self.KEY,
                live=pieces if hls else "",
                page=page or folder / "body",
            )
        )
        if os.geteuid() == 0:
            self._file.write_text("user root;\n" + self._file.read_text())
        self._program = nginx()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, key: str, app: str = "live") -> str:
        return f"rtmp://127.0.0.1:{self.rtmp_port}/{app}/{key}"

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/"

    def launch(self) -> None:
        """Returns at once; it listens some hundredths of a second later."""
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                tied(self._program, "-c", str(self._file), "-p", str(self.folder)),
                stdout=log, stderr=log, process_group=0,
            )  # fmt: skip

    def start(self) -> None:
        """Returns once it listens.

        Raises:
            RuntimeError: it does not.
        """
        self.launch()
        assert self._process is not None
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.rtmp_port), 0.2):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"nginx did not start: see {self.folder / 'output.log'} and error.log")

    def stop(self) -> None:
        """An end in order, or a kill."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        self.kill()  # also the workers of a master that somebody else killed: they would serve on for ever

    def kill(self) -> None:
        """SIGKILL, to the master and its workers at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)
        self._process = None

    def stall(self) -> None:
        """It takes nothing any more, and says nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def publishers(self, app: str = "live") -> list[str]:
        """The names of what is being published now; none while the server is down."""
        try:
            with urllib.request.urlopen(f"{self.page_url}stat", timeout=5) as answer:
                tree = ElementTree.fromstring(answer.read())
        except urllib.error.URLError:
            return []
        return [
            stream.findtext("name") or ""
            for application in tree.iter("application")
            if application.findtext("name") == app
            for stream in application.iter("stream")
            if any(client.find("publishing") is not None for client in stream.iter("client"))
        ]


@contextlib.contextmanager
def rtmp_server(*, hls: bool = False, page: Path | None = None) -> Iterator[RtmpServer]:
    """A running server; stopped, and its folder removed, when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="mien-rtmp-"))
    try:
        server = RtmpServer(folder, hls=hls, page=page)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
