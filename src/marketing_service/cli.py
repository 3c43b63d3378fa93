"""The command line of the service: the arguments of each command, and what runs it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from marketing_service import __version__
from marketing_service.errors import MarketingError, SettingsError
from marketing_service.logs import configure_logging
from marketing_service.settings import Settings, load_settings, unknown_settings
from marketing_service.shell.arguments import add_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastapi import APIRouter

    from marketing_service.bootstrap import Process

_MAX_PORT = 65535
"""A port has 16 bits (RFC 9293 §3.1)."""
_MAX_PROCESSES = 256
_MAX_TOKEN_MINUTES = 24 * 60
"""A token cannot be taken back."""
_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")

# Each command imports only what it needs: `worker` runs without FastAPI, and the image without the development parts.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    options = create_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (SettingsError, MarketingError) as error:
        print(f"marketing-service: {error}", file=sys.stderr)
        return 2


def create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="marketing-service", description="Bulk email campaigns to CRM contacts.")
    parser.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="command")

    _add_serve(commands.add_parser("serve", help="run the HTTP API"))

    worker = commands.add_parser("worker", help="run a worker, which expands and sends campaigns")
    worker.add_argument("--processes", type=_count, default=1, help="the number of worker processes to run (1)")
    worker.add_argument("--metrics-host", default="127.0.0.1", help="the address that serves the metrics (127.0.0.1)")
    worker.add_argument(
        "--metrics-port",
        type=_port,
        default=0,
        help="the port for the metrics of the first process; each further process uses the next port; 0 means none (0)",
    )
    worker.add_argument("--control-pipe", type=int, help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)

    _add_bounces(commands.add_parser("bounces", help="receive bounces and complaints from a mail server"))

    migrate = commands.add_parser("migrate", help="update the database to the newest schema")
    migrate.add_argument("revision", nargs="?", default="head", help="the revision to update to (head, the newest)")
    migrate.set_defaults(run=_migrate)

    doctor = commands.add_parser("doctor", help="examine the settings and every connection, and say what to do")
    doctor.add_argument(
        "--process",
        choices=("api", "worker"),
        action="append",
        help="the process whose environment this is; can be repeated (both)",
    )
    doctor.add_argument("--org", help="an organisation, for a real call to the source of contacts (none)")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

    cancel = commands.add_parser("cancel", help="cancel campaigns that are being sent, for example on a restored copy")
    which = cancel.add_mutually_exclusive_group(required=True)
    which.add_argument("campaign", nargs="*", type=UUID, default=[], help="the id of a campaign; can be repeated")
    which.add_argument("--all", action="store_true", help="all campaigns of every organisation that are being sent")
    cancel.set_defaults(run=_cancel)

    reconcile = commands.add_parser("reconcile", help="compare the counters of campaigns with their sends")
    reconcile.add_argument("--campaign", type=UUID, help="the id of one campaign (all campaigns)")
    reconcile.add_argument("--dry-run", action="store_true", help="correct nothing, only say what differs")
    reconcile.set_defaults(run=_reconcile)

    campaigns = commands.add_parser("campaigns", help="list, show, launch, watch and export campaigns over the API")
    add_arguments(campaigns, run=_campaigns)

    dev = commands.add_parser("dev", help="run everything on this machine, with an inbox and a development CRM")
    dev.add_argument("--port", type=_port, default=8000, help="the port of the API; 0 means any free port (8000)")
    dev.add_argument("--data-dir", type=Path, default=Path(".dev"), help="the folder for the data (.dev)")
    dev.add_argument("--contacts", type=int, default=1000, help="the number of contacts in the development CRM (1000)")
    dev.add_argument("--no-worker", action="store_true", help="start no worker, so that you can run it yourself")
    dev.add_argument("--fresh", action="store_true", help="delete the data of earlier runs first")
    dev.set_defaults(run=_dev)

    openapi = commands.add_parser("openapi", help="write openapi/marketing.yaml from the code")
    openapi.add_argument("--check", action="store_true", help="write nothing, and fail if the file is out of date")
    openapi.set_defaults(run=_openapi)

    token = commands.add_parser("token", help="print an access token signed with MARKETING_JWT_SECRET")
    token.add_argument("--org", required=True, help="the organisation that the token is for")
    token.add_argument("--subject", default="operator", help="the user that the token is for (claim sub; operator)")
    token.add_argument("--role", action="append", default=[], help="a role of the user; can be repeated")
    token.add_argument("--minutes", type=_minutes, default=15, help="the lifetime of the token in minutes (15)")
    token.set_defaults(run=_token)
    return parser


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    serve.add_argument("--port", type=_port, default=8000, help="the port to listen at; 0 means any free port (8000)")
    serve.add_argument(
        "--internal-host", default="127.0.0.1", help="the address for health, readiness and metrics (127.0.0.1)"
    )
    serve.add_argument(
        "--internal-port",
        type=_port,
        help="the port for /healthz, /readyz and /metrics; 0 means any free port. Without it, /healthz is served at"
        " --port, and the other two are not served",
    )
    serve.add_argument(
        "--root-path",
        type=_root_path,
        default="",
        help="the prefix of the paths at the proxy, such as /apps/mail, whether the proxy removes it or not (none)",
    )
    serve.add_argument("--dev-login", action="store_true", help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)


def _add_bounces(bounces: argparse.ArgumentParser) -> None:
    listeners = bounces.add_subparsers(required=True, metavar="listener")
    lmtp = listeners.add_parser("lmtp", help="listen for a mail server that delivers over LMTP or SMTP")
    lmtp.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    lmtp.add_argument("--port", type=_port, default=2400, help="the port to listen at; 0 means any free port (2400)")
    lmtp.add_argument("--smtp", action="store_true", help="speak SMTP instead of LMTP")
    lmtp.add_argument("--metrics-host", default="127.0.0.1", help="the address that serves the metrics (127.0.0.1)")
    lmtp.add_argument("--metrics-port", type=_port, default=0, help="the port for the metrics; 0 means none (0)")
    lmtp.set_defaults(run=_bounces_lmtp)
    pipe = listeners.add_parser("pipe", help="handle one message from standard input; exits with a code of sysexits.h")
    pipe.add_argument("--recipient", required=True, help="the recipient in the envelope")
    pipe.set_defaults(run=_bounces_pipe)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not a port; it must be from 0 to {_MAX_PORT}")
    return port


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not _ROOT_PATH.fullmatch(path):
        raise argparse.ArgumentTypeError(
            f"{text} is not a path; it must begin with a slash, and may contain only letters, digits and -._~"
        )
    return path


def _minutes(text: str) -> int:
    minutes = int(text)
    if not 1 <= minutes <= _MAX_TOKEN_MINUTES:
        raise argparse.ArgumentTypeError(f"{minutes} is out of range; it must be from 1 to {_MAX_TOKEN_MINUTES}")
    return minutes


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= _MAX_PROCESSES:
        raise argparse.ArgumentTypeError(f"{count} is out of range; it must be from 1 to {_MAX_PROCESSES}")
    return count


def _settings() -> Settings:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    for name, near in unknown_settings(os.environ).items():
        structlog.get_logger(__name__).warning("unknown_setting", name=name, did_you_mean=near)
    return settings


def _serve(options: argparse.Namespace) -> int:
    from marketing_service.api.server import Listener, serve

    settings = _settings()
    internal = None if options.internal_port is None else Listener(options.internal_host, options.internal_port)
    return serve(
        settings,
        Listener(options.host, options.port),
        internal,
        more_routers=list(_more_routers(settings, options)),
        root_path=options.root_path,
    )


def _more_routers(settings: Settings, options: argparse.Namespace) -> Iterator[APIRouter]:
    """The routes that are served in addition to the API."""
    if options.dev_login:
        yield _login_routes(settings)
    if settings.console:
        from marketing_service.console import create_console_router

        yield create_console_router(settings, root_path=options.root_path)


def _login_routes(settings: Settings) -> APIRouter:
    from marketing_service.devstack.login import create_login_router

    return create_login_router(secret=_secret(settings), issuer=settings.jwt_issuer, audience=settings.jwt_audience)


def _secret(settings: Settings) -> str:
    if settings.jwt_secret is None:
        raise SettingsError("MARKETING_JWT_SECRET is not set, so this service cannot sign tokens")
    return settings.jwt_secret.get_secret_value()


def _worker(options: argparse.Namespace) -> int:
    settings = _settings()
    if options.processes > 1:
        return _workers(options, settings)
    import uvloop

    from marketing_service.metrics import Endpoint
    from marketing_service.worker.process import run_worker

    metrics = Endpoint(options.metrics_host, options.metrics_port)
    uvloop.run(run_worker(settings, control_pipe=options.control_pipe, metrics=metrics))
    return 0


def _workers(options: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from marketing_service.bootstrap import verify_servers
    from marketing_service.worker.supervisor import supervise

    if options.metrics_port + options.processes - 1 > _MAX_PORT:
        raise SettingsError(f"--metrics-port {options.metrics_port} is too high: each process needs a port of its own")

    def command(number: int, control_pipe: int) -> list[str]:
        port = options.metrics_port and options.metrics_port + number
        metrics = ("--metrics-host", options.metrics_host, "--metrics-port", str(port))
        return [sys.executable, "-m", "marketing_service", "worker", "--control-pipe", str(control_pipe), *metrics]

    asyncio.run(verify_servers(settings, process="worker"))
    asyncio.run(supervise(command, processes=options.processes, drain_seconds=settings.drain_seconds))
    return 0


def _bounces_lmtp(options: argparse.Namespace) -> int:
    import uvloop

    from marketing_service.inbound import Listener, run_listener
    from marketing_service.metrics import Endpoint

    listener = Listener(options.host, options.port, options.smtp, Endpoint(options.metrics_host, options.metrics_port))
    uvloop.run(run_listener(_settings(), listener))
    return 0


def _bounces_pipe(options: argparse.Namespace) -> int:
    """Any error returns EX_TEMPFAIL, so that the mail server keeps the message. A lost report is not sent again."""
    try:
        import asyncio

        from marketing_service.inbound import handle_message

        return asyncio.run(handle_message(_settings(), options.recipient, sys.stdin.buffer))
    except Exception as error:  # noqa: BLE001 - see above
        print(f"marketing-service: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL


def _migrate(options: argparse.Namespace) -> int:
    from marketing_service.operations.migrate import MigrationFailed, migrate

    url = os.environ.get("MARKETING_DATABASE_URL")
    if not url:
        raise SettingsError("MARKETING_DATABASE_URL is not set: it says which database to migrate")
    try:
        migrate(_beside_the_package("alembic.ini"), options.revision, database_url=url, say=print)
    except MigrationFailed as error:
        print(f"marketing-service: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _doctor(options: argparse.Namespace) -> int:
    """Exits with 0 if there is no error, with 1 if there is, and with 2 if the settings cannot be read."""
    import asyncio
    import json

    from marketing_service.operations import doctor

    settings = load_settings()
    configure_logging("ERROR", "console")
    processes: Sequence[Process] = options.process or ("api", "worker")
    findings = asyncio.run(doctor.examine(settings, os.environ, processes=processes, org_id=options.org))
    print(json.dumps(doctor.as_json(findings), indent=2) if options.json else doctor.as_table(findings))
    return 1 if any(finding.level is doctor.Level.ERROR for finding in findings) else 0


def _cancel(options: argparse.Namespace) -> int:
    """Exits with 1 if a named campaign cannot be cancelled."""
    import asyncio

    from marketing_service.operations.cancel import cancel

    wanted = None if options.all else set(options.campaign)
    return 1 if asyncio.run(cancel(_settings(), wanted, say=print)) else 0


def _reconcile(options: argparse.Namespace) -> int:
    """Exits with 1 if a campaign differs and is not corrected, or does not exist."""
    import asyncio

    from marketing_service.operations.reconcile import reconcile

    differing = asyncio.run(reconcile(_settings(), options.campaign, only_say=options.dry_run, say=print))
    return 1 if differing < 0 or (differing and options.dry_run) else 0


def _campaigns(options: argparse.Namespace) -> int:
    from marketing_service.shell.commands import run

    return run(options)


def _beside_the_package(name: str) -> Path:
    """A file at the top of the project: in the working folder (in the image), or in the checkout (in development)."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / name).exists():
            return folder / name
    raise SettingsError(f"{name} is missing; run this command in the folder that contains it")


def _dev(options: argparse.Namespace) -> int:
    try:
        from marketing_service.devstack.dev import DevOptions, run_dev
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"`dev` runs in a checkout with the development packages ({missing.name} is missing): run `make run` there"
        ) from missing

    return run_dev(
        DevOptions(
            port=options.port,
            data_dir=options.data_dir,
            contacts=options.contacts,
            worker=not options.no_worker,
            fresh=options.fresh,
        )
    )


def _openapi(options: argparse.Namespace) -> int:
    from marketing_service.api.openapi import openapi_yaml

    path = _beside_the_package("openapi") / "marketing.yaml"
    text = openapi_yaml()
    if not options.check:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path} differs from what the code generates; run `make openapi`.", file=sys.stderr)
    return 1


def _token(options: argparse.Namespace) -> int:
    from marketing_service.auth import mint_token

    settings = load_settings()
    print(
        mint_token(
            _secret(settings),
            settings.jwt_issuer,
            settings.jwt_audience,
            subject=options.subject,
            org_id=options.org,
            roles=options.role,
            features=[settings.feature],
            lifetime_seconds=options.minutes * 60,
            org_claim=settings.jwt_org_claim,
            roles_claim=settings.jwt_roles_claim,
            features_claim=settings.jwt_features_claim,
        )
    )
    return 0
