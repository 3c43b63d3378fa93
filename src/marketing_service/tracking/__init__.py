"""What comes back: opens, clicks, opt-outs, bounces and complaints; and what tells people from machines."""

from marketing_service.tracking.bounces import Handled, Outcome, Reports
from marketing_service.tracking.clicks import follow_link
from marketing_service.tracking.machines import machine_rules
from marketing_service.tracking.opens import Opens
from marketing_service.tracking.opt_outs import bring_opt_outs_to_crm, opt_out, send_exists

__all__ = [
    "Handled",
    "Opens",
    "Outcome",
    "Reports",
    "bring_opt_outs_to_crm",
    "follow_link",
    "machine_rules",
    "opt_out",
    "send_exists",
]
