"""What a session's proxy may be."""

from __future__ import annotations

from urllib.parse import urlsplit

from .errors import ConfigurationError

SCHEMES = ("http", "https", "socks5")


def check_proxy(url: str) -> None:
    """Raise ``ConfigurationError`` for what is no proxy's URL; it is not repeated, since it may hold a password."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_one = urlsplit(""), False
    if parts.scheme not in SCHEMES or not parts.hostname or not port_is_one:
        begins = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConfigurationError(f"a proxy is a URL that begins with {begins} and names a host, and perhaps a port")
