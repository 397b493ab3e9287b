"""What a session's status means for who needs its link: it is there, will come, or will not."""

from __future__ import annotations

from .errors import (
    AuthenticationRequired,
    LoggedOut,
    PairingFailed,
    PairingTimeout,
    SessionFailed,
    SessionNotConnected,
)
from .models import DisconnectReason, Status
from .standing import Standing


def check_linked(standing: Standing) -> None:
    """Raise ``AuthenticationRequired`` where no phone has linked the device."""
    if standing.record.linked:
        return
    if standing.pairing_code is not None:
        hint = "type the pairing code into the phone"
    else:
        hint = "scan the QR code" if standing.qr else "create the session and scan its QR code"
    raise AuthenticationRequired(
        f"session {standing.record.key} is not linked: {hint}", qr=standing.qr, pairing_code=standing.pairing_code
    )


def not_connected(standing: Standing) -> SessionNotConnected:
    """Return the error of who needs a live link now."""
    return SessionNotConnected(_state(standing), status=standing.status, reason=standing.reason)


def check_coming(standing: Standing) -> None:
    """Raise what the contract of ``wait_until_connected`` says where no link will come by itself."""
    key = standing.record.key
    match standing.status, standing.reason:
        case Status.DISCONNECTED, DisconnectReason.PAIRING_TIMEOUT:
            raise PairingTimeout(f"session {key}: nobody confirmed the pairing in time")
        case Status.DISCONNECTED, DisconnectReason.PAIRING_FAILED:
            because = f" ({standing.last_error})" if standing.last_error else ""
            raise PairingFailed(f"session {key}: the pairing was refused or broke off{because}")
        case Status.DISCONNECTED, _:
            raise not_connected(standing)
        case Status.LOGGED_OUT, reason:
            raise LoggedOut(_state(standing), reason=reason)
        case Status.FAILED, reason:
            raise SessionFailed(_state(standing), reason=reason)


def _state(standing: Standing) -> str:
    because = f" ({standing.reason})" if standing.reason else ""
    return f"session {standing.record.key} is {standing.status}{because}"
