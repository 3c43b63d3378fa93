"""From a launch to batches in the queue: scheduled launches, the expansion of the audience, and the sweep."""

from marketing_service.launching.expander import Expander
from marketing_service.launching.relay_probes import RelayProbes
from marketing_service.launching.scheduled_launches import OUTCOMES, ScheduledLaunches
from marketing_service.launching.sweep import Sweep

__all__ = ["OUTCOMES", "Expander", "RelayProbes", "ScheduledLaunches", "Sweep"]
