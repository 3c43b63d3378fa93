"""The email log as a file: the commands of the documentation, and a download that breaks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_curl import bash
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.portal import Portal


@pytest.fixture(scope="module")
def campaign_id(portal: Portal) -> str:
    return str(portal.launch("CUSTOMER", name="Exported")["id"])


def documented() -> list[str]:
    """The shell commands of docs/exports.md: the download, and how it goes on."""
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "exports.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_documented_commands_complete_a_download_wherever_it_broke(
    portal: Portal, campaign_id: str, tmp_path: Path
) -> None:
    download, go_on = documented()
    env = {
        "AUTH": f"authorization: Bearer {portal.ready['tokens']['admin']}",
        "CAMPAIGN": f"{portal.ready['api']}/api/marketing/campaigns/{campaign_id}",
    }
    file = tmp_path / "sends.csv"
    bash(f"cd {tmp_path}\n{download}", **env)
    whole = file.read_bytes()
    assert whole == portal.api.get(f"/campaigns/{campaign_id}/sends.csv").content
    rows = whole.splitlines(keepends=True)
    in_the_middle = len(b"".join(rows[:6]))
    # At the end of a row, within its id, within its other columns, between CR and LF, at the last octet.
    for octets in (in_the_middle, in_the_middle + 20, in_the_middle + 60, in_the_middle - 1, len(whole) - 1):
        file.write_bytes(whole[:octets])
        bash(f"cd {tmp_path}\n{go_on}", **env)
        assert file.read_bytes() == whole, octets


def test_the_rest_of_another_campaigns_file_is_refused(portal: Portal, campaign_id: str) -> None:
    other = portal.save("LEAD")["id"]
    (send, *_) = portal.log(campaign_id)
    response = portal.api.get(f"/campaigns/{other}/sends.csv", params={"after": send["id"]})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["field"], error["code"]) == ("after", "unknown-send")
    assert "Send the id of a row of its export." in error["message"]
