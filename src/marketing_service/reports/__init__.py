"""Parsing of bounces and complaints: raw message → a report of failure, delay, delivery or complaint, or no report."""

from marketing_service.reports.read import MAX_OCTETS_READ, read_report
from marketing_service.reports.report import Failure, Kind, Report

__all__ = ["MAX_OCTETS_READ", "Failure", "Kind", "Report", "read_report"]
