"""What comes back from recipients: opens and opt-outs; and what tells people from machines."""

from marketing_service.tracking.machines import machine_rules
from marketing_service.tracking.opens import Opens
from marketing_service.tracking.opt_outs import bring_opt_outs_to_crm, opt_out, send_exists

__all__ = ["Opens", "bring_opt_outs_to_crm", "machine_rules", "opt_out", "send_exists"]
