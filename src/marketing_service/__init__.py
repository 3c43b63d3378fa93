"""Bulk email campaigns to a company's CRM contacts, with a ledger that adds up."""
