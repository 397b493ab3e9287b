"""Errors of the loopback WhatsApp server.

WhatsAppServerError
├── NodeError           bytes that are no node, or a node that cannot be written
├── NoiseError          a handshake or a frame that does not authenticate
├── DecryptionError     a Signal message that no session opens
├── ProtocolError       a client that breaks the order of the protocol
├── IQError             a question that is answered by an error
├── StateError          a state file that cannot be used
├── PairingError        a QR that is malformed, unknown or expired, or a client that refused the pairing
└── UnsafeEnvironment   a process that could reach the real WhatsApp
"""

from __future__ import annotations


class WhatsAppServerError(Exception):
    """Base of everything that the loopback server raises by itself."""


class NodeError(WhatsAppServerError):
    """Bytes are no node, or a node cannot be written."""


class NoiseError(WhatsAppServerError):
    """A handshake message or a frame does not authenticate."""


class DecryptionError(WhatsAppServerError):
    """No Signal session opens this message."""


class ProtocolError(WhatsAppServerError):
    """A client broke the order of the protocol."""


class IQError(WhatsAppServerError):
    """A question is answered by an error, such as 403 forbidden."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class PairingError(WhatsAppServerError):
    """A device cannot be linked with this code."""


class StateError(WhatsAppServerError):
    """A file is no saved state of a server, or one of another version."""


class UnsafeEnvironment(WhatsAppServerError, ValueError):
    """This process could reach the real WhatsApp, or would not trust the loopback server."""
