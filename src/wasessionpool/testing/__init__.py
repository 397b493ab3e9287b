"""What an application needs to test its use of WhatsApp sessions without a phone.

Names are imported when they are first used, so that a worker process loads none of the server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "Contact": "contact",
    "Group": "group",
    "LinkedDevice": "phone",
    "PairingError": "errors",
    "Phone": "phone",
    "ReceivedMessage": "messages",
    "ReceivedReceipt": "messages",
    "StateError": "errors",
    "WhatsAppServer": "server",
    "WhatsAppServerError": "errors",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.whatsapp.{module}"), name)
