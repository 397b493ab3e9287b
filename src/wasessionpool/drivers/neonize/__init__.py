"""WhatsApp through neonize, in worker processes; importing this imports no neonize."""

from .driver import NeonizeDriver
from .fleet import WorkerInfo

__all__ = ["NeonizeDriver", "WorkerInfo"]
