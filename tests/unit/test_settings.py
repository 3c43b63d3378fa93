"""Settings from the environment: which values are accepted, and the one line that names what is wrong."""

from __future__ import annotations

import os

import pytest

from marketing_service.errors import SettingsError
from marketing_service.settings import Settings, load_settings, unknown_settings

KEY = "k" * 32
REQUIRED = {
    "DATABASE_URL": "postgresql://marketing:pw@127.0.0.1/marketing",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "CRM_URL": "http://127.0.0.1:9000/",
    "CRM_TOKEN": "crm-token",
    "PUBLIC_BASE_URL": "https://mail.example.org/",
    "TOKEN_KEYS": KEY,
    "JWT_SECRET": "s" * 32,
    "JWT_ISSUER": "portal",
    "JWT_AUDIENCE": "marketing",
}
# Each of these has an alternative, and must be absent if the alternative is set.
REPLACEABLE = {"JWT_SECRET", "CRM_URL", "CRM_TOKEN"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("MARKETING_"):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> Settings:
    for name, value in {**REQUIRED, **changes}.items():
        if value is not None:
            monkeypatch.setenv(f"MARKETING_{name}", value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> str:
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, **changes)
    return str(error.value)


def test_the_required_settings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.crm_url == "http://127.0.0.1:9000"
    assert settings.public_base_url == "https://mail.example.org"
    assert settings.smtp_url.get_secret_value() == ""
    assert settings.write_roles == ["ADMIN", "SUPER_ADMIN", "MANAGER"]
    assert settings.retry_delays == [60, 300, 900, 3600, 14400]
    assert [key.get_secret_value() for key in settings.token_keys] == [KEY]


def test_addresses_have_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        PUBLIC_BASE_URL=" HTTPS://Bücher.Example:443/Mail/\n",
        CRM_URL="HTTP://CRM.example/api/",
        CONSOLE_LOGIN_URL="HTTPS://Portal.Example/Login?x",
        DATABASE_URL=" postgresql://user:pw@host/db ",
    )
    assert settings.public_base_url == "https://xn--bcher-kva.example/Mail"
    assert settings.crm_url == "http://crm.example/api"
    assert settings.console_login_url == "https://portal.example/Login?x"
    assert settings.database_url.get_secret_value() == "postgresql://user:pw@host/db"


def test_all_missing_settings_are_named_in_one_line() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings()
    line = str(error.value)
    assert "\n" not in line
    for name in set(REQUIRED) - REPLACEABLE:
        assert f"MARKETING_{name}" in line


@pytest.mark.parametrize("name", sorted(set(REQUIRED) - REPLACEABLE))
def test_each_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    changes: dict[str, str | None] = {name: None}
    assert refusal(monkeypatch, **changes) == f"missing: MARKETING_{name}"
    assert refusal(monkeypatch, **{name: ""}) == f"missing: MARKETING_{name}"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("REDIS_URL", "http://x", "redis://"),
        ("SMTP_URL", "relay.example.org:25", "smtp://"),
        ("CRM_URL", "crm.example.org", "http://"),
        ("PUBLIC_BASE_URL", "ftp://x", "https://"),
        ("PUBLIC_BASE_URL", "https://", "https://"),
        ("PUBLIC_BASE_URL", "https://mail.example.org/?a=b", "query"),
        ("PUBLIC_BASE_URL", "https://mail.example.org/%20(", "path"),
        ("PUBLIC_BASE_URL", f"https://mail.example.org/{'x' * 600}", "longer"),
        ("DATABASE_URL", "postgresql://user:se#cret@host/db", "%23"),
        ("DATABASE_URL", "postgresql://host:port/db", "port"),
        ("DATABASE_URL", "postgresql://host/db#secret", "%23"),
        ("REDIS_URL", "redis://host:99999/0", "port"),
        ("REDIS_URL", "redis://[::1/0", "brackets"),
        ("SMTP_URL", "smtp://relay example:25", "blank"),
        ("CRM_URL", "https://crm.example.org/?a=b", "query"),
        ("CRM_URL", "https://user:secret@crm.example.org", "user name"),
        ("CRM_URL", "https://crm.example.org:99999", "port"),
        ("CONSOLE_LOGIN_URL", "/api/login", "http://"),
        ("CONSOLE_LOGIN_URL", "https://portal.example.org;/login", "domain"),
        ("CONSOLE_LOGIN_URL", "https://portal.example.org:x/login", "port"),
        ("CONSOLE_LOGOUT_URL", "https://portal.example.org/log out", "blank"),
        ("CONSOLE_LOGOUT_URL", "https:///logout", "host"),
        ("TOKEN_KEYS", "short", "32 bytes"),
        ("TOKEN_KEYS", f"{KEY}, short", "32 bytes"),
        ("TOKEN_KEYS", ", ,", "at least one key"),
        ("JWT_SECRET", "short", "32 bytes"),
        ("JWT_JWKS_URL", "https://keys.example.org/jwks.json", "exactly one of"),
        ("RETRY_DELAYS", "60,soon", "number"),
        ("RETRY_DELAYS", "60,0", "greater than 0"),
        ("SMTP_CONNECTIONS", "many", "integer"),
        ("SMTP_CONNECTIONS", "0", "greater than or equal to 1"),
        ("CRM_PAGE_SIZE", "1001", "less than or equal to 1000"),
        ("CRM_TIMEOUT", "nan", "greater than 0"),
        ("AMBIGUOUS_SENDS", "maybe", "hold"),
        ("UNSUBSCRIBE_GET", "ask", "confirm"),
        ("LOG_FORMAT", "xml", "json"),
        ("FROM_DOMAINS", "{not json", "JSON"),
        ("FROM_DOMAINS", '{"acme": 7}', "list"),
        ("FROM_DOMAINS", '{"acme": "example.org"}', "list"),
        ("FROM_DOMAINS", '{"acme": [7]}', "string"),
        ("DEFAULT_LANGUAGE", "it", "'en', 'de', 'fr' or 'es'"),
        ("POSTAL_ADDRESSES", "{not json", "neither a text nor a JSON object"),
        ("POSTAL_ADDRESSES", '{"acme": ["Acme Ltd"]}', "string"),
        ("POSTAL_ADDRESSES", "x" * 501, "longer than 500 characters"),
        ("POSTAL_ADDRESSES", "x\n" * 11, "longer than 500 characters in 10 lines"),
        ("POSTAL_ADDRESSES", "Acme\x07Ltd", "control or invisible character"),
        ("POSTAL_ADDRESSES", '{"acme": "Acme\\u202eLtd"}', "the address of 'acme'"),
    ],
)
def test_a_malformed_setting_is_named_and_its_value_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    line = refusal(monkeypatch, **{name: value})
    assert f"MARKETING_{name}" in line
    assert words in line
    assert "\n" not in line
    assert KEY not in line
    assert "secret" not in line


def test_a_secret_or_a_key_set_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "exactly one of MARKETING_JWT_SECRET" in refusal(monkeypatch, JWT_SECRET=None)


def test_a_key_set_can_replace_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL="https://keys.example.org/jwks.json")
    assert settings.jwt_jwks_url == "https://keys.example.org/jwks.json"
    assert settings.jwt_secret is None


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch, WRITE_ROLES=" OWNER , EDITOR,", RETRY_DELAYS="2,3, 5.5", TOKEN_KEYS=f"{KEY},{'l' * 40}"
    )
    assert settings.write_roles == ["OWNER", "EDITOR"]
    assert settings.retry_delays == [2, 3, 5.5]
    assert len(settings.token_keys) == 2


def test_the_repr_contains_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = repr(load(monkeypatch, SMTP_URL="smtp://user:hunter2@relay:25"))
    for secret in (KEY, "s" * 32, "crm-token", "hunter2", "marketing:pw"):
        assert secret not in shown


def test_one_list_of_domains_applies_to_every_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).from_domains == {}
    settings = load(monkeypatch, FROM_DOMAINS="Example.org, @example.net")
    assert settings.from_domains == {"*": ["example.org", "example.net"]}


def test_a_map_names_each_organisations_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, FROM_DOMAINS='{"acme": ["Acme.example"], "*": ["shared.example"]}')
    assert settings.from_domains == {"acme": ["acme.example"], "*": ["shared.example"]}


def test_rates_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, RATE_RELAY="100/second, 5000 / minute,100000/hour")
    assert settings.rate_relay == [(100, 1), (5000, 60), (100_000, 3600)]
    assert settings.rate_org == []


@pytest.mark.parametrize("written", ["100", "0/second", "5/fortnight", "-1/hour", "5/second,,", "5/minute,6/minute"])
def test_a_malformed_rate_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert "MARKETING_RATE_ORG" in refusal(monkeypatch, RATE_ORG=written)


def test_an_empty_limit_of_the_api_is_off_and_one_that_is_not_set_has_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load(monkeypatch, API_RATE_TOKEN="", API_RATE_TEST="7/hour")
    assert (settings.api_rate_token, settings.api_rate_test) == ([], [(7, 3600)])
    assert settings.api_rate_public == [(300, 60)]
    assert load_settings(api_rate_token="9/hour").api_rate_token == [(9, 3600)]
    assert "MARKETING_API_RATE_TOKEN" in refusal(monkeypatch, API_RATE_TOKEN="many")


VIEWS = "postgresql://reader:pw@127.0.0.1/crm"


def test_the_crm_database_can_replace_the_crm_url(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, CRM_URL=None, CRM_TOKEN=None, CRM_DATABASE_URL=VIEWS)
    assert settings.crm_database_url.get_secret_value() == VIEWS


@pytest.mark.parametrize(
    "changes",
    [
        {"CRM_URL": None, "CRM_TOKEN": None},
        {"CRM_URL": None},
        {"CRM_TOKEN": None},
        {"CRM_DATABASE_URL": VIEWS},
        {"CRM_DATABASE_URL": VIEWS, "CRM_URL": None},
        {"CRM_DATABASE_URL": "mysql://x", "CRM_URL": None, "CRM_TOKEN": None},
    ],
    ids=["neither", "no address", "no token", "both", "a token beside the views", "another database"],
)
def test_exactly_one_complete_source_of_contacts_is_required(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None]
) -> None:
    line = refusal(monkeypatch, **changes)
    assert "MARKETING_CRM_" in line
    assert "\n" not in line
    assert "pw" not in line


@pytest.mark.parametrize(
    ("written", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_a_resolver_is_an_address_with_or_without_a_port(
    monkeypatch: pytest.MonkeyPatch, written: str, address: str, port: int | None
) -> None:
    server = load(monkeypatch, DNS_RESOLVER=written).dns_resolver
    assert server is not None
    assert (str(server.address), server.port) == (address, port)


@pytest.mark.parametrize(
    "written", ["dns.example", "192.0.2", "192.0.2.1:x", "192.0.2.1:99999", "user@192.0.2.1/x", ":53"]
)
def test_a_resolver_that_is_not_an_ip_address_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert "MARKETING_DNS_RESOLVER" in refusal(monkeypatch, DNS_RESOLVER=written)


@pytest.mark.parametrize("written", ["bounce.example.org", "@Bounce.Example.org", " bounce.example.org "])
def test_the_bounce_domain_is_normalized(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert load(monkeypatch, BOUNCE_DOMAIN=written).bounce_domain == "bounce.example.org"


@pytest.mark.parametrize(
    "written",
    ["localhost", "b@example.org", "bücher.example", "192.0.2.1", "-x.example", "a..example", f"{'a.' * 120}org"],
)
def test_a_malformed_bounce_domain_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert "MARKETING_BOUNCE_DOMAIN" in refusal(monkeypatch, BOUNCE_DOMAIN=written)


def test_a_dkim_selector_consists_of_dns_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, DKIM_SELECTOR="s1.mail").dkim_selector == "s1.mail"
    assert "MARKETING_DKIM_SELECTOR" in refusal(monkeypatch, DKIM_SELECTOR="s1._domainkey example")


def test_a_postal_address_is_for_one_organisation_or_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).postal_addresses == {}
    one = load(monkeypatch, POSTAL_ADDRESSES="  Acme\u00a0 Ltd \r\n\n 1 Main Street ")
    assert one.postal_addresses == {"*": "Acme Ltd\n1 Main Street"}
    several = load(monkeypatch, POSTAL_ADDRESSES='{"acme": "Acme Ltd\\n1 Main Street", "*": "", "ü": "Ü"}')
    assert several.postal_addresses == {"acme": "Acme Ltd\n1 Main Street", "*": "", "ü": "Ü"}
    assert load(monkeypatch, POSTAL_ADDRESSES="{}").postal_addresses == {}


def test_unknown_names_get_a_suggestion_and_those_of_kubernetes_are_left_out() -> None:
    names = ["MARKETING_API_PORT_8000_TCP_ADDR", "MARKETING_API_SERVICE_HOST", "MARKETING_SMTP_URI", "MARKETING_COLOUR"]
    assert unknown_settings([*names, "MARKETING_SMTP_URL", "HOME"]) == {
        "MARKETING_COLOUR": None,
        "MARKETING_SMTP_URI": "MARKETING_SMTP_URL",
    }


def test_the_variables_of_the_commands_are_not_unknown() -> None:
    assert unknown_settings(["MARKETING_API_URL", "MARKETING_API_TOKEN"]) == {}
