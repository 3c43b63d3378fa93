"""The database's address."""

from __future__ import annotations

from marketing_service.db import async_url


def test_an_address_as_libpq_writes_it_is_understood() -> None:
    url = async_url("postgresql://user:p%40ss@db.example.com:5433/marketing?sslmode=require")
    assert url.render_as_string(hide_password=False) == (
        "postgresql+asyncpg://user:p%40ss@db.example.com:5433/marketing?ssl=require"
    )
