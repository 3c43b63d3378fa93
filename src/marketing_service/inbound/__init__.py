"""The doors through which a mail server hands over what came back: LMTP or SMTP on a port, or a pipe."""

from marketing_service.inbound.pipe import take_one
from marketing_service.inbound.process import Listener, run_listener

__all__ = ["Listener", "run_listener", "take_one"]
