"""Where contacts come from: the CRM, over HTTP or through views of its database."""

from marketing_service.audience.crm import CrmAudience
from marketing_service.audience.view import ViewAudience

__all__ = ["CrmAudience", "ViewAudience"]
