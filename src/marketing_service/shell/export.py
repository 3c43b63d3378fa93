"""Writes the email log of a campaign to a file, and continues a download that broke."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from marketing_service.shell.api import ConnectionBroken
from marketing_service.shell.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from marketing_service.shell.api import Api

WAITS = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds before the further tries, if none of them brings a row."""
_ROW = re.compile(rb'^"([0-9a-f-]{36})",', re.MULTILINE)
"""The start of a row. No other line starts like that: in a cell, a quote is written twice."""
_PIECE = 1_000_000


def export(
    api: Api,
    campaign_id: str,
    file: Path,
    *,
    statuses: Sequence[str],
    resume: bool,
    waits: Sequence[float] = WAITS,
    say: Callable[[str], None],
) -> int:
    """Download the file, by way of `<file>.part`. Returns its size in octets. With `resume`, an earlier `.part` is
    continued. Raises CommandFailed; then the `.part` stays."""
    part = file.with_name(file.name + ".part")
    try:
        with part.open("r+b" if resume else "w+b") as out:
            _fill(api, f"/campaigns/{campaign_id}/sends.csv", out, statuses, list(waits), say)
        part.replace(file)
        return file.stat().st_size
    except ConnectionBroken as error:
        raise CommandFailed(f"{error} {part} has the rows so far: continue with --resume.", error.exit_code) from error
    except FileNotFoundError as error:
        what = f"{part} does not exist: leave out --resume" if resume else f"{part} cannot be created: {error.strerror}"
        raise CommandFailed(f"{what}.", os.EX_CANTCREAT) from error
    except OSError as error:
        raise CommandFailed(f"{part} cannot be written: {error.strerror}.", os.EX_IOERR) from error


def _fill(
    api: Api, path: str, out: BinaryIO, statuses: Sequence[str], waits: list[float], say: Callable[[str], None]
) -> None:
    tries = list(waits)
    while True:
        query: dict[str, Any] = {"status": list(statuses)}
        if (after := _keep_complete_rows(out)) is not None:
            query["after"] = after
        before = out.tell()
        try:
            out.writelines(api.download(path, **query))
        except ConnectionBroken as error:
            if out.tell() > before:
                tries = list(waits)
            if not tries:
                raise
            say(f"{error} The download continues in {tries[0]:g} s.")
            time.sleep(tries.pop(0))
        else:
            return


def _keep_complete_rows(out: BinaryIO) -> str | None:
    """Remove the last row, which may be cut, and everything after it. Returns the id of the row before; None if
    there is none: then the file is empty. The next write goes to the end."""
    size = out.seek(0, os.SEEK_END)
    # Two rows are far shorter than this.
    start = max(0, size - _PIECE)
    out.seek(start)
    rows = list(_ROW.finditer(out.read()))[-2:]
    end, after = (start + rows[1].start(), rows[0][1].decode()) if len(rows) > 1 else (0, None)
    out.truncate(end)
    out.seek(end)
    return after
