"""WhatsApp through neonize, in worker processes; importing this imports no neonize."""

from .driver import NeonizeDriver
from .vitals import WorkerLimits

__all__ = ["NeonizeDriver", "WorkerLimits"]
