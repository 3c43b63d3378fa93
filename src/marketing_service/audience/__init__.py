"""The sources of contacts: the CRM's HTTP API, or views in the CRM's database."""

from marketing_service.audience.crm import CrmAudience
from marketing_service.audience.view import ViewAudience

__all__ = ["CrmAudience", "ViewAudience"]
