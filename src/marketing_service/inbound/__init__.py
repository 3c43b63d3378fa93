"""The listener for bounces and complaints: a mail server delivers them over LMTP or SMTP, or through a pipe."""

from marketing_service.inbound.pipe import handle_message
from marketing_service.inbound.process import Listener, run_listener

__all__ = ["Listener", "handle_message", "run_listener"]
