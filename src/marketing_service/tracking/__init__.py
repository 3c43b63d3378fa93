"""What recipients and mail servers do after a delivery: opens, clicks, opt-outs, bounces and complaints. Also the rules
that tell requests of machines from those of people."""

from marketing_service.tracking.bounces import Handled, Outcome, ReportHandler
from marketing_service.tracking.clicks import follow_link, note_request
from marketing_service.tracking.machines import machine_rules
from marketing_service.tracking.opens import Opens
from marketing_service.tracking.opt_outs import (
    Following,
    follow_unsubscribe_link,
    opt_out,
    send_exists,
    write_opt_outs_to_crm,
)

__all__ = [
    "Following",
    "Handled",
    "Opens",
    "Outcome",
    "ReportHandler",
    "follow_link",
    "follow_unsubscribe_link",
    "machine_rules",
    "note_request",
    "opt_out",
    "send_exists",
    "write_opt_outs_to_crm",
]
