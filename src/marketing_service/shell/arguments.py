"""The arguments of `campaigns`. This module imports little, because every command of the command line imports it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

STATUSES = ("DRAFT", "SENDING", "SENT", "FAILED")
SEND_STATUSES = ("QUEUED", "SENDING", "DEFERRED", "DELIVERED", "FAILED", "SKIPPED", "UNCONFIRMED")
_NEEDS = "Needs MARKETING_API_URL and MARKETING_API_TOKEN."


def add_arguments(campaigns: argparse.ArgumentParser, *, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the commands below `campaigns`, which `run` runs. The name of the chosen one is `command` of the options."""
    campaigns.set_defaults(run=run)
    commands = campaigns.add_subparsers(required=True, metavar="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {_NEEDS}")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=name)
        return parser

    listing = command("list", "list the newest campaigns")
    listing.add_argument("--status", choices=STATUSES, action="append", default=[], help="only these; can be repeated")
    listing.add_argument("--limit", type=_positive, default=20, help="the number of campaigns (20)")
    _of_one(command("show", "show a campaign and its stats"))
    launch = _of_one(command("launch", "launch a draft"))
    launch.add_argument("--force", action="store_true", help="launch although the check has found errors")
    launch.add_argument("--watch", action="store_true", help="then watch it until it is sent")
    _of_one(command("watch", "watch a campaign until it is sent"))
    exporting = _of_one(command("export", "write the email log to a CSV file"))
    exporting.add_argument("--output", type=Path, help="the file (sends-ID.csv)")
    exporting.add_argument("--status", choices=SEND_STATUSES, action="append", default=[], help="only these sends")
    exporting.add_argument("--resume", action="store_true", help="continue the .part of a download that broke")


def _of_one(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("campaign", type=UUID, metavar="ID", help="the id of the campaign")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{number} is out of range; it must be at least 1")
    return number
