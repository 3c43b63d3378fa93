"""`marketing-service token` signs a token that this installation accepts, whatever its claims are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from marketing_service.auth import ClaimRules, SecretAuthenticator
from marketing_service.cli import main
from tests.support.world import JWT_SECRET

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    "DATABASE_URL": "postgresql://x@127.0.0.1/x",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "CRM_URL": "http://127.0.0.1:1",
    "CRM_TOKEN": "x",
    "PUBLIC_BASE_URL": "https://news.example.com",
    "TOKEN_KEYS": "k" * 32,
    "JWT_SECRET": JWT_SECRET,
    "JWT_ISSUER": "https://portal.example.com",
    "JWT_AUDIENCE": "marketing",
    "JWT_ORG_CLAIM": "tenant",
    "JWT_ROLES_CLAIM": "groups",
    "JWT_FEATURES_CLAIM": "products",
    "FEATURE": "mail",
}


async def test_the_claims_have_the_names_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"MARKETING_{name}", value)
    assert main(["token", "--org", "acme", "--role", "ADMIN", "--role", "OPS"]) == 0
    rules = ClaimRules(
        issuer=SETTINGS["JWT_ISSUER"],
        audience="marketing",
        write_roles=frozenset({"ADMIN"}),
        feature="mail",
        org_claim="tenant",
        roles_claim="groups",
        features_claim="products",
    )
    found = await SecretAuthenticator(JWT_SECRET.encode(), rules).authenticate(capsys.readouterr().out.strip())
    assert (found.org_id, found.subject, found.may_write) == ("acme", "operator", True)


@pytest.mark.parametrize("minutes", ["0", "-5", "1441"])
def test_a_token_that_never_ends_or_has_ended_is_refused(minutes: str) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["token", "--org", "acme", "--minutes", minutes])
    assert exited.value.code == 2
