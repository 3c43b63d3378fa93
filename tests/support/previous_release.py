"""The tree of the previous release, for the test that runs its processes on the schema of this version."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "7c48320564610557a120f211a91309274c024aa2"
"""The tag of the previous release, which `make release` compares with the newest one. There is none yet, so it is the
last commit before migration 0010: its migrations are the first nine of this version, so its schema can be migrated."""
_PARTS = ("src", "migrations", "alembic.ini")


def missing() -> str | None:
    """Why there is no previous release here, or None if there is one."""
    if shutil.which("git") is None:
        return "git is not installed"
    found = _git("cat-file", "-e", f"{RELEASE}^{{commit}}")
    return None if found.returncode == 0 else f"this clone has no commit {RELEASE[:12]} (a shallow clone, or no clone)"


def extract(folder: Path) -> None:
    """Write the tree of the previous release into a folder. Its processes run there with PYTHONPATH=src."""
    archive = _git("archive", "--format=tar", RELEASE, *_PARTS)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
