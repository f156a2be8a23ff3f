"""A disk that is really full after some kilobytes: a file system in memory, mounted for one test."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """The folder, on a file system of its own; skips the test where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip("a disk that fills up needs mount(8), which is not here")
    if mounted.returncode:
        pytest.skip(f"a disk that fills up cannot be mounted by this user: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazy: it goes as soon as nobody has a file open there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)
