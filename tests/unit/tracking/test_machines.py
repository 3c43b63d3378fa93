"""The rules that tell machines from people, and the data file with the rules."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from marketing_service.tracking import machine_rules
from marketing_service.tracking.machines import Rules

MAIL_PROGRAM = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Thunderbird/140.2.0"


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (MAIL_PROGRAM, None),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)", None),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", None),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", None),
        ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17928)", None),
        ("Mozilla/5.0", "APPLE_MAIL_PRIVACY"),
        (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
            ),
            "GMAIL_PREFETCH",
        ),
        ("BarracudaCentral/1.0", "SECURITY_GATEWAY"),
        ("curl/8.9.1", "HTTP_LIBRARY"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/139.0.0.0 Safari/537.36", "CRAWLER"),
        ("Mozilla/5.0 (compatible; SomeBot/2.1; +https://example.com/bot)", "CRAWLER"),
        ("", "NO_USER_AGENT"),
        (None, "NO_USER_AGENT"),
    ],
)
def test_the_user_agent_gives_the_reason(agent: str | None, reason: str | None) -> None:
    assert machine_rules().reason(agent, {}, None) == reason


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "IMAGE_PROXY"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "IMAGE_PROXY"),
        ("okhttp/4.12.0", "HTTP_LIBRARY"),
        ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17928)", "OFFICE_PROGRAM"),
    ],
)
def test_a_program_that_loads_pictures_for_a_person_is_no_person_who_follows_a_link(agent: str, reason: str) -> None:
    assert machine_rules().reason(agent, {}, None) is None
    assert machine_rules().reason(agent, {}, None, of_link=True) == reason


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (MAIL_PROGRAM, None),
        ("Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 Chrome/137.0.0.0 Mobile Safari/537.36", None),
        ("Mozilla/5.0 (Linux; Android 14; SM-S921B; wv) AppleWebKit/537.36 Version/4.0 Chrome/138.0.0.0", None),
        ("Java/17.0.12", "HTTP_LIBRARY"),
        ("Mozilla/5.0 (compatible) Java/17", None),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "LINK_PREVIEW"),
        ("WhatsApp/2.23.18.78 i", "LINK_PREVIEW"),
    ],
)
def test_a_link_has_the_rules_of_pictures_too(agent: str, reason: str | None) -> None:
    for _ in range(2):
        assert machine_rules().reason(agent, {}, None, of_link=True) == reason
    assert machine_rules().reason(agent, {"sec-purpose": "prefetch"}, None, of_link=True) == (reason or "PREFETCH")


def test_user_agents_of_any_length_are_read_and_long_ones_are_not_kept() -> None:
    rules = Rules(tomllib.loads(files("marketing_service.tracking").joinpath("machines.toml").read_text("utf-8")))
    for number in range(5_000):
        assert rules.reason(f"{MAIL_PROGRAM} {number}", {}, None) is None
        assert rules.reason("x" * 1_000 + f"curl/{number}", {}, None) == "HTTP_LIBRARY"
    assert rules._cached_agent_reason.cache_info().currsize == 1_000


@pytest.mark.parametrize(
    "header", [{"sec-purpose": "prefetch;prerender"}, {"x-moz": "prefetch"}, {"purpose": "preview"}]
)
def test_a_prefetch_is_a_machines_request(header: dict[str, str]) -> None:
    assert machine_rules().reason(MAIL_PROGRAM, header, None) == "PREFETCH"


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        ("40.92.0.0", "MICROSOFT_365"),
        ("40.93.255.255", "MICROSOFT_365"),
        ("40.94.0.0", None),
        ("40.91.255.255", None),
        ("::ffff:104.47.1.2", "MICROSOFT_365"),
        ("2a01:111:f400::1", "MICROSOFT_365"),
        ("2a01:111:f403:ffff::", "MICROSOFT_365"),
        ("2a01:111:f404::", None),
        ("209.222.87.255", "BARRACUDA"),
        ("209.222.88.0", None),
        ("0.0.0.0", None),
        ("2001:db8::1", None),
        ("not an address", None),
        ("", None),
    ],
)
def test_a_network_matches_from_its_first_to_its_last_address(client: str, reason: str | None) -> None:
    assert machine_rules().reason(MAIL_PROGRAM, {}, client) == reason


def test_every_rule_has_a_source_and_a_reason_in_capitals() -> None:
    data = tomllib.loads(files("marketing_service.tracking").joinpath("machines.toml").read_text(encoding="utf-8"))
    rules = [*data["user_agents"], *data["link_user_agents"], *data["networks"]]
    rules += [data["no_user_agent"], data["prefetch"], data["soon"], data["together"]]
    for rule in rules:
        assert len(rule["source"]) > 20, rule
        assert rule["reason"].replace("_", "").isalnum()
        assert rule["reason"].isupper()


def test_parts_of_user_agents_are_in_lower_case() -> None:
    """They are compared with the user agent in lower case."""
    data = tomllib.loads(files("marketing_service.tracking").joinpath("machines.toml").read_text(encoding="utf-8"))
    rules = [*data["user_agents"], *data["link_user_agents"]]
    parts = [part for rule in rules for part in [*rule.get("contains", ()), *rule.get("starts", ())]]
    assert parts == [part.lower() for part in parts]
