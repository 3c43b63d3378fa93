"""The doors through which a mail server hands over what came back: LMTP or SMTP on a port, or a pipe."""

from marketing_service.inbound.pipe import take_one
from marketing_service.inbound.process import Door, run_door

__all__ = ["Door", "run_door", "take_one"]
