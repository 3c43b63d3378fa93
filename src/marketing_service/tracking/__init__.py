"""What comes back from recipients: opens and opt-outs."""

from marketing_service.tracking.opens import record_open
from marketing_service.tracking.opt_outs import bring_opt_outs_to_crm, opt_out, send_exists

__all__ = ["bring_opt_outs_to_crm", "opt_out", "record_open", "send_exists"]
