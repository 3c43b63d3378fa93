"""The shell commands in the documentation run as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.portal import Portal, link_in, pixel_in
from tests.support.project import ROOT

if TYPE_CHECKING:
    from tests.support.dev import Dev

# Copied from the portal's handbook, section "API Access".
LOG_IN = r"""
TOKEN=$(curl -s -X POST https://portal.example.com/api/auth/login \
-H 'content-type: application/json' \
-d '{"email":"you@example.com","password":"...","mfaCode":"123456"}' \
| jq -r .accessToken)
"""
LIST = r"""
curl -s -H "authorization: Bearer $TOKEN" \
https://portal.example.com/api/marketing/campaigns
"""
STATS = r"""
curl -s -H "authorization: Bearer $TOKEN" \
https://portal.example.com/api/marketing/campaigns/<id>/stats
"""


def bash(script: str, **env: str) -> str:
    """Run the script and return its output. It stops at the first command that fails."""
    needed = [name for name in ("bash", "curl", "jq", "python3") if re.search(rf"\b{name}\b", f"bash {script}")]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        pytest.skip(f"these commands need {' and '.join(missing)}: apt-get install {' '.join(missing)}")
    result = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, **env},
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_handbooks_commands_log_in_list_and_read_the_stats(portal: Portal) -> None:
    campaign = portal.save()

    def here(lines: str) -> str:
        return lines.replace("https://portal.example.com", portal.ready["api"]).replace("<id>", campaign["id"]).strip()

    listed = bash(here(LOG_IN + LIST) + " | jq -r '.items[].id'")
    assert campaign["id"] in listed.split()
    stats = bash(here(LOG_IN + STATS) + " | jq -c '[.status, .recipients, .openRate]'")
    assert stats == '["DRAFT",0,0]\n'


def first_campaign() -> str:
    """All shell commands in the README's section "A first campaign"."""
    chapter = re.search(
        r"^## A first campaign\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert chapter is not None
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter[1], re.MULTILINE | re.DOTALL)
    assert blocks
    return "\n".join(blocks)


def test_the_readmes_commands_go_from_the_log_in_to_the_inbox(dev: Dev, portal: Portal) -> None:
    before = {mail["id"] for mail in portal.mails()}
    output = bash(first_campaign(), API=portal.ready["api"], DATA_DIR=str(dev.data_dir))
    campaign = portal.api.get("/campaigns").json()["items"][0]
    assert campaign["status"] == "SENT"
    assert campaign["audience"] == {"type": "BY_STATUS", "statuses": ["CUSTOMER"]}
    for expected in (
        "\nSENDING\n",
        f"\nSent    [{'#' * 30}] 100 %",
        '"status": "SENT"',
        '"smtpCode": 550',
        "DELIVERED after 3 tries",
        '"UNCONFIRMED"',
    ):
        assert expected in output

    mails = [mail for mail in portal.mails() if mail["id"] not in before]
    mailed = {send["email"] for send in portal.log(campaign["id"], status="DELIVERED")} | {"drop@example.com"}
    assert sorted(mail["to"] for mail in mails) == sorted(mailed)
    assert f"{len(before) + len(mails)} mails, the newest to {mails[0]['to']}\n" in output
    brenda = next(mail for mail in mails if mail["to"] == "brenda.bold@example.com")
    assert brenda["subject"] + "\n" + brenda["html"] in output
    assert "&lt;b&gt;Brenda&lt;/b&gt;" in brenda["html"]
    assert pixel_in(brenda).startswith(portal.ready["api"])
    assert link_in(brenda).startswith(portal.ready["api"])
