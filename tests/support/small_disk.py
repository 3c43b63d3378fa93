"""A disk that a test can fill: a file system in memory, mounted on a folder. Only root may mount it."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = bytes(65_536)


class SmallDisk:
    """The disk that `small_disk` has mounted."""

    def __init__(self, folder: Path) -> None:
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Use up all space that is left."""
        with self._filling.open("wb", buffering=0) as file:
            for block in (_BLOCK, _BLOCK[:1]):
                try:
                    while file.write(block) == len(block):
                        pass
                except OSError:
                    pass

    def free(self) -> None:
        """Give the space back."""
        self._filling.unlink()


def missing(folder: Path) -> str | None:
    """The reason why this user cannot mount a file system, or None if it is possible. `folder` is any empty folder."""
    try:
        _mount(folder, megabytes=1)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot mount a file system, which root may: {getattr(error, 'stderr', None) or error}".strip()
    _unmount(folder)
    return None


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Put the folder, with its content, on a disk of this size while the block runs. No process may use it before and
    after the block, and its content is gone at the end."""
    content = folder.with_name(f"{folder.name}.moved")
    folder.rename(content)
    folder.mkdir()
    _mount(folder, megabytes=megabytes)
    try:
        subprocess.run(["cp", "-a", f"{content}/.", folder], check=True)
        yield SmallDisk(folder)
    finally:
        _unmount(folder)


def _mount(folder: Path, *, megabytes: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", folder], check=True, capture_output=True)
