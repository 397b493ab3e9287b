"""What an application needs to test its use of WhatsApp sessions without a phone.

Names are imported when they are first used, so that a worker process loads none of the server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wasessionpool.testing.clock import FakeClock as FakeClock
    from wasessionpool.testing.conformance import DriverUnderTest as DriverUnderTest
    from wasessionpool.testing.conformance import FarEnd as FarEnd
    from wasessionpool.testing.conformance import check_clock as check_clock
    from wasessionpool.testing.conformance import check_coordinator as check_coordinator
    from wasessionpool.testing.conformance import check_driver as check_driver
    from wasessionpool.testing.conformance import check_hook as check_hook
    from wasessionpool.testing.conformance import check_limiter as check_limiter
    from wasessionpool.testing.conformance import check_shelf as check_shelf
    from wasessionpool.testing.conformance import check_store as check_store
    from wasessionpool.testing.conformance import sample_events as sample_events
    from wasessionpool.testing.coordinator import FakeCoordinator as FakeCoordinator
    from wasessionpool.testing.driver import FakeDriver as FakeDriver
    from wasessionpool.testing.driver import FakeInbox as FakeInbox
    from wasessionpool.testing.driver import FakeLink as FakeLink
    from wasessionpool.testing.whatsapp.contact import Contact as Contact
    from wasessionpool.testing.whatsapp.errors import PairingError as PairingError
    from wasessionpool.testing.whatsapp.errors import StateError as StateError
    from wasessionpool.testing.whatsapp.errors import WhatsAppServerError as WhatsAppServerError
    from wasessionpool.testing.whatsapp.group import Group as Group
    from wasessionpool.testing.whatsapp.messages import ReceivedMessage as ReceivedMessage
    from wasessionpool.testing.whatsapp.messages import ReceivedReceipt as ReceivedReceipt
    from wasessionpool.testing.whatsapp.phone import LinkedDevice as LinkedDevice
    from wasessionpool.testing.whatsapp.phone import Phone as Phone
    from wasessionpool.testing.whatsapp.server import WhatsAppServer as WhatsAppServer

_MODULES = {
    "Contact": "whatsapp.contact",
    "DriverUnderTest": "conformance",
    "FakeClock": "clock",
    "FakeCoordinator": "coordinator",
    "FakeDriver": "driver",
    "FakeInbox": "driver",
    "FakeLink": "driver",
    "FarEnd": "conformance",
    "Group": "whatsapp.group",
    "LinkedDevice": "whatsapp.phone",
    "PairingError": "whatsapp.errors",
    "Phone": "whatsapp.phone",
    "ReceivedMessage": "whatsapp.messages",
    "ReceivedReceipt": "whatsapp.messages",
    "StateError": "whatsapp.errors",
    "WhatsAppServer": "whatsapp.server",
    "WhatsAppServerError": "whatsapp.errors",
    "check_clock": "conformance",
    "check_coordinator": "conformance",
    "check_driver": "conformance",
    "check_hook": "conformance",
    "check_limiter": "conformance",
    "check_shelf": "conformance",
    "check_store": "conformance",
    "sample_events": "conformance",
}

__all__ = [
    "Contact",
    "DriverUnderTest",
    "FakeClock",
    "FakeCoordinator",
    "FakeDriver",
    "FakeInbox",
    "FakeLink",
    "FarEnd",
    "Group",
    "LinkedDevice",
    "PairingError",
    "Phone",
    "ReceivedMessage",
    "ReceivedReceipt",
    "StateError",
    "WhatsAppServer",
    "WhatsAppServerError",
    "check_clock",
    "check_coordinator",
    "check_driver",
    "check_hook",
    "check_limiter",
    "check_shelf",
    "check_store",
    "sample_events",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
