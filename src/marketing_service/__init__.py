"""Bulk email campaigns to a company's CRM contacts, with a ledger that adds up."""

from importlib.metadata import version

__version__ = version("marketing-service")
"""The version in pyproject.toml, the only place that states it."""
