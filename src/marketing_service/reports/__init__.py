"""What a message that came back says: raw message → a report of failure, delay, delivery or complaint, or none."""

from marketing_service.reports.read import MOST_OCTETS_READ, read_report
from marketing_service.reports.report import Failure, Kind, Report

__all__ = ["MOST_OCTETS_READ", "Failure", "Kind", "Report", "read_report"]
