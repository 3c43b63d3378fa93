"""The URL of a database means what it means to libpq, and what it cannot mean is refused with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from marketing_service.db import DatabaseAddress
from marketing_service.errors import SettingsError
from marketing_service.settings import load_settings
from tests.support.certificate import certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@db.example.com/m", [("db.example.com", 5432)]),
        ("postgres://db.example.com:5433/m", [("db.example.com", 5433)]),
        ("postgresql://u@a.example,b.example:5433/m", [("a.example", 5432), ("b.example", 5433)]),
        ("postgresql://u@[2001:db8::1]:5433,[2001:db8::2]/m", [("2001:db8::1", 5433), ("2001:db8::2", 5432)]),
        ("postgresql://u@%2Frun%2Fpostgresql/m", [("/run/postgresql", 5432)]),
        ("postgresql:///m?host=/run/postgresql&port=5433", [("/run/postgresql", 5433)]),
        ("postgresql://u@a.example/m?host=b.example,c.example", [("b.example", 5432), ("c.example", 5432)]),
        ("postgresql://u@/m?host=a.example,b.example&port=1,2", [("a.example", 1), ("b.example", 2)]),
        ("postgresql://u@/m?host=a.example,b.example&port=7", [("a.example", 7), ("b.example", 7)]),
        ("postgresql:///m", []),
    ],
)
def test_the_hosts_are_those_of_libpq(url: str, hosts: list[tuple[str, int]]) -> None:
    assert list(DatabaseAddress.parse(url).hosts) == hosts


def test_parameters_of_libpq_are_used() -> None:
    address = DatabaseAddress.parse(
        "postgresql://u:p%40ss%2F@a.example/m?sslmode=require&target_session_attrs=read-write&connect_timeout=7"
        f"&application_name=my%20mailer&options=-csearch_path%3Dx&sslrootcert={certificate().path}&client_encoding=utf8"
    )
    assert address.session == "read-write"
    assert address.connect_timeout == 7
    assert address.server_settings == {"application_name": "my mailer", "options": "-csearch_path=x"}
    assert address.dsn.startswith("postgresql://u:p%40ss%2F@/m?sslmode=require&sslrootcert=")
    assert "p%40ss" not in repr(address)


def test_the_certificates_of_the_machine_have_a_name() -> None:
    address = DatabaseAddress.parse("postgresql://a.example/m?sslmode=verify-full&sslrootcert=system")
    assert "sslrootcert=system" not in address.dsn


@pytest.mark.parametrize("timeout", ["0", "-1", ""])
def test_no_limit_for_connecting_means_the_limit_of_the_service(timeout: str) -> None:
    assert DatabaseAddress.parse(f"postgresql://a.example/m?connect_timeout={timeout}").connect_timeout is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://a/m?ssl=require", r"parameter 'ssl', .* did you mean sslmode\?"),
        ("postgresql://a/m?sslmod=require", r"'sslmod'.* did you mean sslmode\?"),
        ("postgresql://a/m?pool_size=5", "'pool_size', which PostgreSQL's clients do not know"),
        ("postgresql://a/m?sslmode=on", "sslmode=on; it must be one of disable, allow, prefer, require"),
        ("postgresql://a/m?target_session_attrs=master", "target_session_attrs=master; it must be one of any"),
        ("postgresql://a/m?sslrootcert=/no/such/file", "sslrootcert=/no/such/file, which cannot be read: No such file"),
        ("postgresql://a/m?sslcert=/", "sslcert=/, which cannot be read: Is a directory"),
        ("postgresql://a/m?sslmode=verify-full", "sslmode=verify-full without sslrootcert"),
        ("postgresql://a/m?connect_timeout=3s", "connect_timeout=3s; it must be a whole number"),
        ("postgresql://a/m?client_encoding=latin1", "another client_encoding than UTF8"),
        ("postgresql://a/m?channel_binding=require", "channel_binding, which this service does not support"),
        ("postgresql://a/m?load_balance_hosts=random", "load_balance_hosts, which this service does not support"),
        ("postgresql://a:0/m", "a port that is no number from 1"),
        ("postgresql://a:x,b/m", "a port that is no number from 1"),
        ("postgresql://a:70000/m", "a port that is no number from 1"),
        ("postgresql://a,b/m?port=1,2,3", "3 ports for 2 hosts"),
        ("postgresql://a/m?sslmode", "parameters that cannot be read"),
        ("postgresql://u:p#1@a/m", "write %23 in a password"),
        ("mysql://a/m", "starts with postgresql://"),
    ],
)
@pytest.mark.parametrize("name", ["MARKETING_DATABASE_URL", "MARKETING_CRM_DATABASE_URL"])
def test_what_no_connection_can_have_stops_the_process_with_one_line(
    url: str, says: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingsError, match=f"{name}: .*{says}") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


def test_a_refusal_does_not_show_the_password() -> None:
    with pytest.raises(ValueError, match="sslmode=on") as refused:
        DatabaseAddress.parse("postgresql://u:hunter2@a/m?sslmode=on&password=hunter2")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="%2F in a password") as refused:
        DatabaseAddress.parse("postgresql://u:hunter/2@a/m")
    assert "hunter" not in str(refused.value)


def test_a_directory_of_certificates_is_found_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").touch()
    assert DatabaseAddress.parse("postgresql://a/m?sslmode=verify-ca").dsn.endswith("?sslmode=verify-ca")
