"""What `campaigns list | show | launch | watch | export` do."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketing_service.shell.api import Api, ConnectionBroken
from marketing_service.shell.errors import CommandFailed
from marketing_service.shell.export import export
from marketing_service.shell.progress_bar import ProgressBar

if TYPE_CHECKING:
    import argparse

_PAGE = 200
_RECONNECTS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds before the stream is opened again, if it brings no event meanwhile."""
_SIGNALLED = 128
_FACTS = (
    ("id", "name", "status", "fromEmail", "subject", "createdAt", "launchedAt", "sentAt", "pausedAt", "pauseReason"),
    ("recipients", "queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed", "opens", "clicks"),
)


def run(options: argparse.Namespace) -> int:
    """Run one command. Returns the exit code: 0; 1 if the campaign is FAILED; a code of sysexits.h. Raises
    SettingsError."""
    try:
        with Api.open(os.environ) as api:
            code = _COMMANDS[options.command](api, options)
        sys.stdout.flush()
    except CommandFailed as error:
        _say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader has enough (`| head`). Without this, Python would complain when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGNALLED + signal.SIGPIPE
    except KeyboardInterrupt:
        return _SIGNALLED + signal.SIGINT
    return code


def _list(api: Api, options: argparse.Namespace) -> int:
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(items) < options.limit:
        query: dict[str, Any] = {"status": options.status, "limit": min(_PAGE, options.limit - len(items))}
        page = api.get("/campaigns", **query | ({} if cursor is None else {"cursor": cursor}))
        items += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    if options.json:
        _print_json(items)
        return 0
    for item in items:
        stats = item["stats"]
        sent = f"{stats['delivered']:,} of {stats['recipients']:,}" if stats["recipients"] else ""
        print(f"{item['id']}  {item['status']:7}  {sent:>23}  {item['name']}".rstrip())
    return 0


def _show(api: Api, options: argparse.Namespace) -> int:
    path = f"/campaigns/{options.campaign}"
    campaign = api.get(path)
    campaign["stats"] = api.get(f"{path}/stats")
    if options.json:
        _print_json(campaign)
        return 0
    for facts, source in zip(_FACTS, (campaign, campaign["stats"]), strict=True):
        for name in facts:
            if source[name] is not None:
                print(f"{name:12}  {source[name]}")
    if (failure := campaign["failureReason"]) is not None:
        print(f"{'failed':12}  {failure['message']}")
    return 0


def _launch(api: Api, options: argparse.Namespace) -> int:
    body = {"force": True} if options.force else None
    campaign = api.post(f"/campaigns/{options.campaign}/launch", body)
    if options.watch:
        return _watch(api, options)
    if options.json:
        _print_json(campaign)
    else:
        print(f"{campaign['id']}  {campaign['status']}  {campaign['name']}")
    return 0


def _watch(api: Api, options: argparse.Namespace) -> int:
    """Returns 1 if the campaign is FAILED at the end. A stream that ends without `done` is opened again."""
    bar = ProgressBar(sys.stdout)
    waits = list(_RECONNECTS)
    while True:
        try:
            for event in api.events(f"/campaigns/{options.campaign}/events"):
                waits = list(_RECONNECTS)
                if event.name == "done":
                    bar.end()
                    return _ended(api, options, event.data["status"])
                if options.json:
                    print(json.dumps(event.data), flush=True)
                else:
                    bar.show(event.data)
        except CommandFailed as error:
            bar.end()
            if not (waits and (isinstance(error, ConnectionBroken) or error.exit_code == os.EX_TEMPFAIL)):
                raise
        time.sleep(waits.pop(0) if waits else _RECONNECTS[-1])


def _ended(api: Api, options: argparse.Namespace, status: str) -> int:
    if status != "FAILED":
        return 0
    reason = api.get(f"/campaigns/{options.campaign}")["failureReason"]
    _say(f"The launch failed, and nothing was sent: {reason['message'] if reason else 'the reason is not known'}")
    return 1


def _export(api: Api, options: argparse.Namespace) -> int:
    file: Path = options.output or Path(f"sends-{options.campaign}.csv")
    octets = export(api, str(options.campaign), file, statuses=options.status, resume=options.resume, say=_say)
    if options.json:
        _print_json({"file": str(file), "octets": octets})
    else:
        print(f"{file}: {octets:,} octets")
    return 0


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _say(text: str) -> None:
    print(f"marketing-service: {text}", file=sys.stderr, flush=True)


_COMMANDS = {"list": _list, "show": _show, "launch": _launch, "watch": _watch, "export": _export}
