"""Every command of docs/first-production.md, in its order, on empty servers, through PgBouncer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.pages import ABSENT, TEAM, Installation, blocks, installation, shell
from tests.support import pgbouncer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "first-production"


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
@pytest.mark.skipif(pgbouncer.missing() is not None, reason=str(pgbouncer.missing()))
async def test_the_page_leads_from_empty_servers_to_the_first_campaign(tmp_path: Path) -> None:
    async with installation(tmp_path) as installed, pgbouncer.of_debian(*pooler_files(installed)) as port:
        # The owner and the processes use the pooler. The administrator creates the database at the server.
        installed.places = {"db.example.com:5432/marketing": f"127.0.0.1:{port}/marketing", **installed.places}
        async with shell(installed) as commands:
            await commands.page(PAGE)
        await installed.inbox.until(lambda: len(installed.inbox.accepted) == TEAM + 1)
    assert installed.inbox.recipients == {"you@example.com": 1} | {f"p{n}@example.net": 1 for n in range(TEAM)}
    assert "0001  Create the whole schema" in commands.output
    assert f'"delivered": {TEAM}' in commands.output
    assert "error  " not in commands.output, "doctor found nothing wrong"


def pooler_files(installed: Installation) -> tuple[str, str]:
    """The lines of the page for pgbouncer.ini and for userlist.txt."""
    ini, users = [block.text for block in blocks(PAGE) if block.language in {"ini", "text"}]
    return installed.located(ini), users
