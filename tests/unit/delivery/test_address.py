"""Parsing of MARKETING_SMTP_URL."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from marketing_service.delivery import Encryption, RelayAddress
from marketing_service.errors import SettingsError
from tests.support.certificate import certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "host", "port", "encryption"),
    [
        ("smtp://relay.example.com", "relay.example.com", 25, Encryption.IF_OFFERED),
        ("smtp://relay.example.com:2525/", "relay.example.com", 2525, Encryption.IF_OFFERED),
        ("smtp+starttls://relay.example.com", "relay.example.com", 587, Encryption.REQUIRED),
        ("smtps://relay.example.com", "relay.example.com", 465, Encryption.IMPLICIT),
        ("smtp://localhost:1025", "localhost", 1025, Encryption.NONE),
        ("smtp://127.0.0.2", "127.0.0.2", 25, Encryption.NONE),
        ("smtp://[::1]:26", "::1", 26, Encryption.NONE),
        ("smtp+starttls://localhost", "localhost", 587, Encryption.REQUIRED),
    ],
)
def test_scheme_host_and_port(url: str, host: str, port: int, encryption: Encryption) -> None:
    address = RelayAddress.parse(url)
    assert (address.host, address.port, address.encryption) == (host, port, encryption)
    assert (address.username, address.password, address.verify, address.authorities) == (None, None, True, None)


def test_the_log_in_is_percent_decoded_and_not_in_the_repr() -> None:
    address = RelayAddress.parse("smtps://apikey:p%40ss%3A%2Fw%C3%B6rd@relay.example.com")
    assert (address.username, address.password) == ("apikey", "p@ss:/wörd")
    assert "p@ss" not in repr(address)


def test_verification_can_be_turned_off() -> None:
    context = RelayAddress.parse("smtps://relay.example.com?verify=no").tls_context()
    assert context.verify_mode is ssl.CERT_NONE
    assert RelayAddress.parse("smtps://relay.example.com").tls_context().verify_mode is ssl.CERT_REQUIRED


def test_a_ca_file_can_be_given() -> None:
    context = RelayAddress.parse(f"smtps://relay.example.com?ca={certificate().path}").tls_context()
    assert [found["subject"] for found in context.get_ca_certs()] == [((("commonName", "localhost"),),)]


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example.com",
        "relay.example.com:25",
        "smtp://",
        "smtp://user:secret@",
        "smtp://user:secret@relay.example.com:port",
        "smtp://user:secret@relay.example.com:99999",
        "smtp://user:secret@[::1",
        "smtp://user:sec/ret@relay.example.com",
        "smtp://user:sec#ret@relay.example.com",
        "smtp://user:secret@relay.example.com?verify=maybe",
        "smtp://user:secret@relay.example.com?verify=no&verify=yes",
        "smtp://user:secret@relay.example.com?ca=",
        "smtp://user:secret@relay.example.com?tls=1",
        "smtp://user:secret@relay.example.com?nonsense",
    ],
)
def test_a_malformed_address_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(SettingsError, match="MARKETING_SMTP_URL") as caught:
        RelayAddress.parse(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_invalid_certificate_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("absent.pem", "empty.pem"):
        address = RelayAddress.parse(f"smtps://relay.example.com?ca={tmp_path / name}")
        with pytest.raises(SettingsError, match="MARKETING_SMTP_URL names a ca file"):
            address.tls_context()
