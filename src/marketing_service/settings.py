"""The settings, from environment variables with the prefix `MARKETING_`. The tables in the README describe them."""

from __future__ import annotations

import difflib
import json
import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from marketing_service.db import DatabaseAddress
from marketing_service.errors import SettingsError
from marketing_service.languages import Language
from marketing_service.ports import Rate
from marketing_service.redis_access import RedisAddress
from marketing_service.rendering import public_url, web_url

if TYPE_CHECKING:
    from collections.abc import Iterable


def _split(value: object) -> object:
    """`a, b` → `["a", "b"]`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_PERIODS = {"second": 1, "minute": 60, "hour": 3600}
_RATE = re.compile(rf"([1-9][0-9]{{0,8}})\s*/\s*({'|'.join(_PERIODS)})")


def _rates(value: object) -> object:
    """`100/second, 5000/minute` → a list of Rate."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return []
    rates = []
    for part in value.split(","):
        found = _RATE.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"{part.strip()!r} is not a rate; write, for example, 100/second,5000/minute,100000/hour")
        rates.append(Rate(int(found[1]), _PERIODS[found[2]]))
    if len({rate.seconds for rate in rates}) < len(rates):
        raise ValueError("has two rates for the same period; keep the lower one")
    return rates


def _by_organisation(value: str, everywhere: object, *, plain: str) -> object:
    """The JSON object that maps each organisation to its own value. Another text is `plain`: it means `everywhere`."""
    if not value.lstrip().startswith("{"):
        return {"*": everywhere}
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"is neither {plain} nor a JSON object ({error})") from error


def _from_domains(value: object) -> object:
    """A comma-separated list applies to every organisation. A JSON object maps each organisation to its own list."""
    if isinstance(value, str):
        return _by_organisation(value, _split(value), plain="a comma-separated list of domains")
    return value


def _postal_addresses(value: object) -> object:
    """A text applies to every organisation. A JSON object maps each organisation to its own text."""
    if isinstance(value, str):
        return _by_organisation(value, value, plain="a text")
    return value


_MAX_POSTAL_ADDRESS = 500
_MAX_POSTAL_LINES = 10
# Controls, and characters that change the order of the text: recipients see these lines.
_NOT_IN_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _clean_addresses(value: dict[str, str]) -> dict[str, str]:
    """Each address as lines without redundant white space."""
    cleaned = {}
    for org, address in value.items():
        lines = [" ".join(line.split()) for line in re.split(r"\r\n|\r|\n", address) if line.strip()]
        text = "\n".join(lines)
        if len(text) > _MAX_POSTAL_ADDRESS or len(lines) > _MAX_POSTAL_LINES:
            limits = f"{_MAX_POSTAL_ADDRESS} characters in {_MAX_POSTAL_LINES} lines"
            raise ValueError(f"the address of {org!r} is longer than {limits}")
        if any(_NOT_IN_A_LINE.search(line) for line in lines):
            raise ValueError(f"the address of {org!r} contains a control or invisible character; remove it")
        cleaned[org] = text
    return cleaned


def _bare_domains(value: dict[str, list[str]]) -> dict[str, list[str]]:
    """`@Example.org` → `example.org`."""
    return {org: [domain.lower().lstrip("@") for domain in domains] for org, domains in value.items()}


_BLANK = re.compile(r"[\s\x00-\x20\x7f]")


def _url(*schemes: str) -> AfterValidator:
    """The URL of the relay. What depends on the scheme is checked by the code that connects."""

    def check(value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if text:
            _check_url(text, schemes)
        return SecretStr(text)

    return AfterValidator(check)


def _check_url(text: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(text)
        is_valid = parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("is not a valid URL: check its port and brackets, and percent-encode / # ? in a password")
    _check_characters(text)
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        raise ValueError(f"must be a URL that starts with {' or '.join(s + '://' for s in schemes)}")


def _check_characters(text: str) -> None:
    if _BLANK.search(text):
        raise ValueError("must contain no blank and no control character; percent-encode it in a password")
    if "#" in text:
        raise ValueError("must have no fragment; percent-encode # as %23 in a password")


def _database(value: SecretStr) -> SecretStr:
    """A URL whose parameters are those of libpq."""
    text = value.get_secret_value().strip()
    if text:
        DatabaseAddress.parse(text)
    return SecretStr(text)


def _redis(value: SecretStr) -> SecretStr:
    """A URL whose options are those of redis-py."""
    text = value.get_secret_value().strip()
    if text:
        _check_characters(text)
        RedisAddress.parse(text)
    return SecretStr(text)


def _service_url(value: str) -> str:
    """The address of a service to which paths are appended; empty if there is none."""
    return web_url(value).rstrip("/") if value else ""


def _page_url(value: str) -> str:
    """The address of one page of another server."""
    return web_url(value, query=True)


def _long_enough(keys: list[SecretStr]) -> list[SecretStr]:
    if not keys or any(len(key.get_secret_value().encode()) < 32 for key in keys):  # noqa: PLR2004 - RFC 2104: the length of the hash
        raise ValueError("needs at least one key; each must have 32 bytes or more")
    return keys


# At least two labels in ASCII (RFC 5321 §4.1.2). At most 200 characters, so that a return path stays below its limit of
# 254 octets.
_DOMAIN = re.compile(
    r"(?=.{4,200}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)


def _domain(value: str) -> str:
    """`@Bounce.Example.org` → `bounce.example.org`."""
    domain = value.strip().lower().removeprefix("@")
    if _DOMAIN.fullmatch(domain) is None:
        raise ValueError("must be a domain in ASCII, like bounce.example.org")
    return domain


class DnsServer(NamedTuple):
    """The address of a resolver, and its port. None means port 53."""

    address: IPv4Address | IPv6Address
    port: int | None


_ADDRESS_AND_PORT = re.compile(r"[0-9A-Fa-f.]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+")


def _dns_server(value: object) -> object:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`."""
    if not isinstance(value, str):
        return value
    try:
        return DnsServer(ip_address(value), None)
    except ValueError:
        try:
            # The pattern refuses a user and a path, because urlsplit would silently ignore them.
            parts = urlsplit(f"//{value}" if _ADDRESS_AND_PORT.fullmatch(value) else "")
            return DnsServer(ip_address(parts.hostname or ""), parts.port)
        except ValueError:
            raise ValueError("must be an IP address, optionally with a port, like 192.0.2.1:53") from None


CommaList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
Keys = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split), AfterValidator(_long_enough)]
Seconds = Annotated[float, Field(gt=0)]
Delays = Annotated[list[Seconds], NoDecode, BeforeValidator(_split)]
Rates = Annotated[list[Rate], NoDecode, BeforeValidator(_rates)]
FromDomains = Annotated[dict[str, list[str]], NoDecode, BeforeValidator(_from_domains), AfterValidator(_bare_domains)]
PostalAddressTexts = Annotated[
    dict[str, str], NoDecode, BeforeValidator(_postal_addresses), AfterValidator(_clean_addresses)
]
Domain = Annotated[str, AfterValidator(_domain)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
ServiceUrl = Annotated[str, AfterValidator(_service_url)]
PageUrl = Annotated[str, AfterValidator(_page_url)]
PublicUrl = Annotated[str, AfterValidator(public_url)]


_OFF_IF_EMPTY = ("api_rate_token", "api_rate_public", "api_rate_test")


class Settings(BaseSettings):
    """The settings of all processes. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="MARKETING_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: DatabaseUrl
    redis_url: Annotated[SecretStr, AfterValidator(_redis)]
    smtp_url: Annotated[SecretStr, _url("smtp", "smtps", "smtp+starttls")] = SecretStr("")
    crm_url: ServiceUrl = ""
    crm_token: SecretStr = SecretStr("")
    crm_database_url: DatabaseUrl = SecretStr("")
    public_base_url: PublicUrl
    token_keys: Keys

    jwt_secret: SecretStr | None = None
    jwt_jwks_url: PageUrl | None = None
    jwt_issuer: str
    jwt_audience: str
    jwt_org_claim: str = "orgId"
    jwt_roles_claim: str = "roles"
    jwt_features_claim: str = "features"
    feature: str = "marketing"
    write_roles: CommaList = ["ADMIN", "SUPER_ADMIN", "MANAGER"]

    default_from_email: str | None = None
    from_domains: FromDomains = {}
    default_language: Language = Language.EN
    postal_addresses: PostalAddressTexts = {}
    unsubscribe_get: Literal["act", "confirm"] = "act"
    proxy_hops: Annotated[int, Field(ge=0, le=10)] = 0

    api_rate_token: Rates = [Rate(600, 60)]
    api_rate_public: Rates = [Rate(300, 60)]
    api_rate_test: Rates = [Rate(30, 3600)]

    bounce_domain: Domain | None = None
    bounce_roles: CommaList = ["BOUNCES"]
    soft_bounces: Annotated[int, Field(ge=1, le=100)] = 3

    ambiguous_sends: Literal["hold", "resend"] = "hold"
    retry_delays: Delays = [60.0, 300.0, 900.0, 3600.0, 14400.0]
    launch_patience: Seconds = 1800.0
    batch_window: Annotated[int, Field(ge=1, le=1000)] = 8
    requeue_seconds: Seconds = 30.0
    worker_jobs: Annotated[int, Field(ge=1, le=100)] = 6
    worker_audiences: Annotated[int, Field(ge=1, le=20)] = 2
    lease_seconds: Annotated[float, Field(ge=1)] = 60.0
    sweep_seconds: Seconds = 5.0
    drain_seconds: Seconds = 30.0

    rate_relay: Rates = []
    rate_org: Rates = []
    domain_backoff_seconds: Seconds = 10.0

    relay_probe_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    smtp_connections: Annotated[int, Field(ge=1, le=1000)] = 20
    smtp_messages_per_connection: Annotated[int, Field(ge=1)] = 100
    smtp_idle_seconds: Seconds = 30.0
    smtp_timeout: Seconds = 30.0
    smtp_data_timeout: Seconds = 600.0

    crm_timeout: Seconds = 10.0
    crm_page_size: Annotated[int, Field(ge=1, le=1000)] = 1000

    dns_resolver: Annotated[DnsServer | None, NoDecode, BeforeValidator(_dns_server)] = None
    dkim_selector: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=200)] | None = None

    console: bool = False
    console_login_url: PageUrl | None = None
    console_logout_url: PageUrl | None = None

    database_pool: Annotated[int, Field(ge=1, le=200)] = 10
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment without empty variables, except those whose empty value switches a limit off."""
        del settings_cls, dotenv_settings, file_secret_settings  # not used: the environment is the only source

        def switched_off() -> dict[str, Any]:
            return {name: [] for name in _OFF_IF_EMPTY if os.environ.get(f"MARKETING_{name.upper()}", "?") == ""}

        return init_settings, switched_off, env_settings  # type: ignore[return-value]  # a callable is sufficient

    @model_validator(mode="after")
    def _one_way_to_verify_tokens(self) -> Self:
        if (self.jwt_secret is None) == (self.jwt_jwks_url is None):
            raise ValueError("set exactly one of MARKETING_JWT_SECRET and MARKETING_JWT_JWKS_URL")
        if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value().encode()) < 32:  # noqa: PLR2004 - RFC 7518 §3.2
            raise ValueError("MARKETING_JWT_SECRET must be at least 32 bytes long")
        return self

    @model_validator(mode="after")
    def _one_source_of_contacts(self) -> Self:
        over_http = bool(self.crm_url or self.crm_token.get_secret_value())
        if over_http == bool(self.crm_database_url.get_secret_value()):
            raise ValueError("set either MARKETING_CRM_URL and MARKETING_CRM_TOKEN, or MARKETING_CRM_DATABASE_URL")
        if over_http and not (self.crm_url and self.crm_token.get_secret_value()):
            raise ValueError("MARKETING_CRM_URL and MARKETING_CRM_TOKEN must be set together")
        return self


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment. Raises SettingsError with one line that names each wrong setting."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


_OF_COMMANDS = {"MARKETING_API_URL", "MARKETING_API_TOKEN"}
"""`marketing-service campaigns` reads them (shell/api.py)."""
# Kubernetes gives every container such variables for each service of its namespace.
_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_|$)")


def unknown_settings(names: Iterable[str]) -> dict[str, str | None]:
    """The names of variables with our prefix that are no settings, each with the setting whose name is most like it."""
    known = {f"MARKETING_{name.upper()}" for name in Settings.model_fields} | _OF_COMMANDS
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1, 0.8)), None)
        for name in sorted(names)
        if name.startswith("MARKETING_") and name not in known and not _OF_KUBERNETES.search(name)
    }


def _one_line(error: ValidationError) -> str:
    missing, wrong = [], []
    for problem in error.errors():
        name = "MARKETING_" + str(problem["loc"][0]).upper() if problem["loc"] else ""
        if problem["type"] == "missing":
            missing.append(name)
        else:
            text = problem["msg"].removeprefix("Value error, ")
            wrong.append(f"{name}: {text}" if name else text)
    parts = ["missing: " + ", ".join(missing)] if missing else []
    return "; ".join(parts + wrong)
