"""`mien download`: real HTTP against a local hub that cuts, refuses and lies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent.download import ACCEPTED, Download, DownloadError
from agent.download_files import MUSETALK, MUSETALK_TERMS, VAE_TERMS, WeightFile
from tests.endpoints.behaviour import Behaviour
from tests.endpoints.hub_server import PART_BYTES, REVISION, HubEndpoint

pytestmark = pytest.mark.loopback

ROOT = Path(__file__).parents[2]
LARGE = bytes(range(256)) * 256 * 6 + b"the end"
"""A little more than six of the server's parts."""
SMALL = b"a small file"
PUBLISHED = {"sd-vae/small.bin": SMALL, "v15/large.bin": LARGE}


def files() -> tuple[WeightFile, ...]:
    return tuple(
        WeightFile("owner/name", REVISION, path, path, len(data), hashlib.sha256(data).hexdigest(), terms)
        for (path, data), terms in zip(PUBLISHED.items(), (VAE_TERMS, MUSETALK_TERMS), strict=True)
    )


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubEndpoint]:
    for path, data in PUBLISHED.items():
        (tmp_path / "hub" / path).parent.mkdir(parents=True)
        (tmp_path / "hub" / path).write_bytes(data)
    async with HubEndpoint(tmp_path / "hub") as endpoint:
        yield endpoint


def into(folder: Path, hub: HubEndpoint, **options: float) -> Download:
    return Download(files(), folder, hub.url, waits_s=(0.01,), **options)


async def fetched(download: Download) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    await asyncio.to_thread(download.fetch, lambda done, total: told.append((done, total)))
    return told


def whole(folder: Path) -> bool:
    return all((folder / path).is_file() and (folder / path).read_bytes() == data for path, data in PUBLISHED.items())


async def test_files_come_whole_and_once(hub: HubEndpoint, tmp_path: Path) -> None:
    told = await fetched(into(tmp_path / "w", hub))
    assert whole(tmp_path / "w")
    size = len(SMALL) + len(LARGE)
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert hub.fetched == ["small.bin", "large.bin"]
    await fetched(into(tmp_path / "w", hub))
    assert len(hub.fetched) == 2, "what is there is checked, not fetched again"
    assert not list((tmp_path / "w").rglob("*.part"))


async def test_a_cut_connection_is_taken_up_where_it_broke(hub: HubEndpoint, tmp_path: Path) -> None:
    hub.behaviour = Behaviour(drop_after=2)
    await fetched(into(tmp_path / "w", hub))
    assert whole(tmp_path / "w")
    # Six parts and a bit, two to a connection.
    assert hub.fetched.count("large.bin") == 4


async def test_a_download_that_stops_is_finished_by_the_next(hub: HubEndpoint, tmp_path: Path) -> None:
    download = into(tmp_path / "w", hub)
    part = tmp_path / "w" / "v15" / "large.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(LARGE[: PART_BYTES + 5])
    hub.behaviour = Behaviour(drop_after=0)
    with pytest.raises(DownloadError, match=r"small\.bin stopped at 0 of 12 bytes .*goes on where it stopped"):
        await fetched(download)
    hub.behaviour = Behaviour()
    told = await fetched(download)
    assert whole(tmp_path / "w")
    assert (len(SMALL) + PART_BYTES + 5, len(SMALL) + len(LARGE)) in told


async def test_a_server_that_says_nothing_more_counts_as_cut(hub: HubEndpoint, tmp_path: Path) -> None:
    hub.behaviour = Behaviour(hang_after=0)
    with pytest.raises(DownloadError, match=r"stopped at 0 of 12 bytes \(timed out\)"):
        await fetched(into(tmp_path / "w", hub, timeout_s=0.3))


async def test_what_is_not_the_published_file_is_thrown_away(hub: HubEndpoint, tmp_path: Path) -> None:
    other = bytearray(LARGE)
    other[len(other) // 2] ^= 1
    (tmp_path / "hub" / "v15" / "large.bin").write_bytes(other)
    with pytest.raises(DownloadError, match=r"large\.bin: what came has SHA-256 .*thrown away"):
        await fetched(into(tmp_path / "w", hub))
    assert not list((tmp_path / "w" / "v15").iterdir())
    assert (tmp_path / "w" / "sd-vae" / "small.bin").is_file(), "what was right stays"
    (tmp_path / "hub" / "v15" / "large.bin").write_bytes(LARGE)
    await fetched(into(tmp_path / "w", hub))
    assert whole(tmp_path / "w")


async def test_a_published_file_that_is_shorter_never_counts_as_there(hub: HubEndpoint, tmp_path: Path) -> None:
    (tmp_path / "hub" / "v15" / "large.bin").write_bytes(LARGE[:-9])
    with pytest.raises(DownloadError, match=r"large\.bin stopped at|answers 416"):
        await fetched(into(tmp_path / "w", hub))
    assert not (tmp_path / "w" / "v15" / "large.bin").exists()


async def test_a_file_of_ones_own_is_left_alone(hub: HubEndpoint, tmp_path: Path) -> None:
    own = tmp_path / "w" / "v15" / "large.bin"
    own.parent.mkdir(parents=True)
    for content in (b"tuned by hand", LARGE[:-1] + b"?"):
        own.write_bytes(content)
        with pytest.raises(DownloadError, match=r"is not the published file .*move it away"):
            await fetched(into(tmp_path / "w", hub))
        assert own.read_bytes() == content


@pytest.mark.parametrize(
    ("status", "said"), [(401, "anonymous"), (404, "MIEN_HUB_URL"), (503, r"stopped at 0 .*answers 503")]
)
async def test_a_hub_that_refuses_is_quoted(hub: HubEndpoint, tmp_path: Path, status: int, said: str) -> None:
    hub.behaviour = Behaviour(status=status)
    with pytest.raises(DownloadError, match=said):
        await fetched(into(tmp_path / "w", hub))


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    download = Download(files(), tmp_path, "http://127.0.0.1:9", waits_s=())
    with pytest.raises(DownloadError, match=r"stopped at 0 of .*refused.*check the network"):
        download.fetch(lambda done, total: None)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    download = Download(files(), tmp_path / "file" / "weights", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"file/weights cannot be written .*MIEN_WEIGHTS_DIR"):
        download.fetch(lambda done, total: None)
    with pytest.raises(DownloadError, match="cannot be written"):
        download.accept(lambda line: None, None, accepted=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(DownloadError, match="Permission denied"):
        Download(files(), tmp_path / "closed", "http://127.0.0.1:9").fetch(lambda done, total: None)


def test_a_disk_without_room_is_refused_before_anything_comes(tmp_path: Path) -> None:
    huge = WeightFile("o/n", REVISION, "huge.bin", "huge.bin", 1 << 60, "0" * 64, VAE_TERMS)
    with pytest.raises(DownloadError, match=r"free and .* GB are to come"):
        Download((huge,), tmp_path, "http://127.0.0.1:9").fetch(lambda done, total: None)


def test_licences_are_shown_and_asked_for_once(tmp_path: Path) -> None:
    told: list[str] = []
    download = Download(files(), tmp_path / "w", "http://127.0.0.1:9")
    for answer in ("", "n", "whatever"):
        with pytest.raises(DownloadError, match="nothing was written"):
            download.accept(told.append, lambda question, answer=answer: answer, accepted=False)  # type: ignore[misc]
    with pytest.raises(DownloadError, match="--accept-licenses"):
        download.accept(told.append, None, accepted=False)
    assert not (tmp_path / "w").exists()
    assert any("OpenRAIL-M" in line for line in told)
    assert any("MIT" in line for line in told)

    asked: list[str] = []

    def yes(question: str) -> str:
        asked.append(question)
        return "Yes\n"

    download.accept(told.append, yes, accepted=False)
    assert json.loads((tmp_path / "w" / ACCEPTED).read_text())["how"] == "at the terminal"
    download.accept(told.append, None, accepted=False)
    assert len(asked) == 1, "accepted before"
    (tmp_path / "w" / ACCEPTED).write_text('{"terms": [["other"]]}')
    download.accept(told.append, yes, accepted=False)
    assert len(asked) == 2, "other terms are asked for again"


def mien(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_fetches_nothing_before_the_licences_are_accepted(tmp_path: Path) -> None:
    own = {"MIEN_WEIGHTS_DIR": str(tmp_path / "w"), "MIEN_HUB_URL": "http://127.0.0.1:9"}
    told = mien(tmp_path, "download", "musetalk", **own)
    assert told.returncode == 2
    for part in ("MuseTalk", "sd-vae-ft-mse", "whisper-tiny", "TAESD", "--accept-licenses"):
        assert part in told.stderr
    assert not (tmp_path / "w").exists()


async def test_the_command_asks_the_hub_for_the_published_files(tmp_path: Path) -> None:
    empty = tmp_path / "hub"
    empty.mkdir()
    async with HubEndpoint(empty) as hub:
        own = {"MIEN_WEIGHTS_DIR": str(tmp_path / "w"), "MIEN_HUB_URL": hub.url + "/"}
        told = await asyncio.to_thread(mien, tmp_path, "download", "musetalk", "--accept-licenses", **own)
    assert told.returncode == 2
    first = MUSETALK[0]
    assert f"{hub.url}/{first.repository}/resolve/{first.revision}/{first.path} answers 404" in told.stderr
    assert "Traceback" not in told.stderr
