"""`mien download musetalk`: weight files from the model hub into a folder, whole and checked, or not at all.

Terms first: nothing is fetched before they are accepted. Each file comes into `NAME.part`; a cut connection is taken
up again where it broke, in the same run or a later one; a file gets its name only once its SHA-256 is right. Blocks;
needs neither torch nor the hub's own client.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.download_files import Terms, WeightFile
from avatar.frames import MienError

PIECE_BYTES = 1 << 20
TIMEOUT_S = 30.0
"""A connection that says nothing for so long counts as cut."""
WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Waits between tries that bring nothing new; each byte that comes begins the count anew."""
SPARE_BYTES = 64 << 20
ACCEPTED = "accepted-licenses.json"
_CUT = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
"""What a connection fails with; all but one of them are OSErrors too, as a disk's are."""

Progress = Callable[[int, int], None]
"""Bytes there, and bytes in all."""


class DownloadError(MienError):
    """Nothing, or not everything, was fetched: which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Download:
    """One run.

    Args:
        files: what is wanted. folder: where it goes.
        hub: the hub's address, without a slash at the end.
        waits_s: how long to wait before each try that follows one without any progress.
        timeout_s: how long a connection may say nothing.
    """

    files: Sequence[WeightFile]
    folder: Path
    hub: str
    waits_s: Sequence[float] = WAITS_S
    timeout_s: float = TIMEOUT_S

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)

    @property
    def terms(self) -> tuple[Terms, ...]:
        """All licences, each once."""
        return tuple(dict.fromkeys(file.terms for file in self.files))

    def accept(self, tell: Callable[[str], None], ask: Callable[[str], str] | None, accepted: bool) -> None:
        """Show the terms and have them accepted; what was accepted before for this folder is not asked again.

        Args:
            ask: puts a question to the person at the terminal; None where there is nobody.
            accepted: they said so on the command line.

        Raises:
            DownloadError: they were not accepted.
        """
        for term in self.terms:
            tell(f"  {term.part}\n    {term.licence}\n    {term.link}")
        own = [[term.part, term.licence, term.link] for term in self.terms]
        record = self.folder / ACCEPTED
        if not accepted and _accepted_before(record) == own:
            tell(f"These terms were accepted before ({record}).")
            return
        if not accepted and ask is None:
            raise DownloadError("the licences must be accepted: read them, then say so with --accept-licenses")
        if not accepted and ask is not None:
            answer = ask(f"Fetch {_gigabytes(self.size)} under these terms, and keep to them? [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                raise DownloadError("without accepting the licences nothing is fetched; nothing was written")
        how = "--accept-licenses" if accepted else "at the terminal"
        written = {"accepted": datetime.now(UTC).isoformat(timespec="seconds"), "how": how, "terms": own}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.folder, error) from None

    def fetch(self, progress: Progress) -> list[Path]:
        """Fetch what is not there yet, and check what is. Returns the files, in order.

        Raises:
            DownloadError: the hub cannot be reached or refuses, something else came than was published, another file
                is in the way, or the disk is full or not writable.
        """
        self._make_room()
        done, paths = 0, []
        for file in self.files:
            so_far = done

            def tell(bytes_there: int, so_far: int = so_far) -> None:
                progress(so_far + bytes_there, self.size)

            paths.append(self._fetch_one(file, tell))
            done += file.size
            progress(done, self.size)
        return paths

    def _make_room(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        missing = sum(
            file.size - min(file.size, _size(_part(self.folder / file.to)))
            for file in self.files
            if not (self.folder / file.to).is_file()
        )
        if missing and free < missing + SPARE_BYTES:
            raise DownloadError(
                f"{self.folder} has {_gigabytes(free)} free and {_gigabytes(missing)} are to come: make room, or "
                "choose another folder with MIEN_WEIGHTS_DIR"
            )

    def _fetch_one(self, file: WeightFile, tell: Callable[[int], None]) -> Path:
        target = self.folder / file.to
        part = _part(target)
        try:
            if target.is_file():
                self._check_there(file, target, tell)
                return target
            target.parent.mkdir(parents=True, exist_ok=True)
            if _size(part) > file.size:
                part.unlink()
            digest = hashlib.sha256()
            if part.is_file():
                _hash_into(digest, part, tell)
            tries = 0
            while (there := _size(part)) < file.size:
                try:
                    self._receive(file, part, there, digest, tell)
                    reason = "the connection was cut"
                except _CUT as error:
                    reason = _reason(error)
                now = _size(part)
                if now >= file.size:
                    break
                tries = 0 if now > there else tries + 1
                if tries > len(self.waits_s):
                    raise DownloadError(
                        f"{file.to} stopped at {now:,} of {file.size:,} bytes ({reason}): check the network and run "
                        "the command again, it goes on where it stopped"
                    )
                if tries:
                    time.sleep(self.waits_s[tries - 1])
            if digest.hexdigest() != file.sha256:
                part.unlink()
                raise DownloadError(
                    f"{file.to}: what came has SHA-256 {digest.hexdigest()[:16]}…, published is {file.sha256[:16]}…; "
                    f"it was thrown away. Try again; if it stays so, {self.hub} or a proxy gives out something else"
                )
            part.replace(target)
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        return target

    def _check_there(self, file: WeightFile, target: Path, tell: Callable[[int], None]) -> None:
        digest = hashlib.sha256()
        if target.stat().st_size == file.size:
            _hash_into(digest, target, tell)
        if digest.hexdigest() != file.sha256:
            raise DownloadError(
                f"{target} is there and is not the published file ({target.stat().st_size:,} bytes; published: "
                f"{file.size:,}): move it away, then run the command again"
            )

    def _receive(
        self, file: WeightFile, part: Path, there: int, digest: hashlib._Hash, tell: Callable[[int], None]
    ) -> None:
        """One connection: what it brings is appended to ``part`` and to ``digest``."""
        url = f"{self.hub}/{file.repository}/resolve/{file.revision}/{file.path}"
        headers = {"User-Agent": "mien", "Accept-Encoding": "identity"}
        if there:
            headers["Range"] = f"bytes={there}-"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the settings accept http and https alone
        try:
            answer = urllib.request.urlopen(request, timeout=self.timeout_s)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500 or error.code == 429:
                    raise  # it may pass
                raise DownloadError(f"{url} answers {error.code} {error.reason}: {_meaning(error.code)}") from None
        with answer, part.open("ab") as out:
            place = answer.headers.get("Content-Range", "")
            if there and (answer.status != 206 or not place.startswith(f"bytes {there}-")):
                raise DownloadError(
                    f"{url} cannot go on at byte {there:,} (it answers {answer.status} {place!r}): delete {part} and "
                    "run the command again"
                )
            while there < file.size and (piece := answer.read(min(PIECE_BYTES, file.size - there))):
                out.write(piece)
                digest.update(piece)
                there += len(piece)
                tell(there)


def _accepted_before(record: Path) -> object:
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it says nothing that could be relied on: ask again
        return None
    return told.get("terms") if isinstance(told, dict) else None


def _hash_into(digest: hashlib._Hash, file: Path, tell: Callable[[int], None]) -> None:
    done = 0
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
            done += len(piece)
            tell(done)


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _meaning(status: int) -> str:
    if status in (401, 403):
        return "it wants no anonymous visitors there; is MIEN_HUB_URL right?"
    if status in (404, 410):
        return "the file is not there; is MIEN_HUB_URL right?"
    return "try again later"


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {error.reason}"
    return str(inner) or type(inner).__name__


def _unwritable(folder: Path, error: OSError) -> DownloadError:
    if error.errno == errno.ENOSPC:
        return DownloadError(f"the disk of {folder} is full: make room, then run the command again; it goes on")
    return DownloadError(
        f"{folder} cannot be written ({error.strerror or error}): choose another folder with MIEN_WEIGHTS_DIR"
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
