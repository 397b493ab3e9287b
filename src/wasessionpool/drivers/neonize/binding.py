"""Loads neonize, after making sure that it can be loaded; the only import of it."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import logging
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError

MINIMUM, BELOW = (0, 5, 2), (0, 6)

CHAR_P, VOID_P, INT = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
EVENT_CODES = {
    "Device": 0,
    "PairStatus": 2,
    "Connected": 3,
    "KeepAliveTimeout": 4,
    "KeepAliveRestored": 5,
    "LoggedOut": 6,
    "StreamReplaced": 7,
    "TemporaryBan": 8,
    "ConnectFailure": 9,
    "ClientOutdated": 10,
    "StreamError": 11,
    "Disconnected": 12,
    "Message": 17,
    "Receipt": 18,
    "ChatPresence": 19,
    "Presence": 20,
}
"""The events that the engine asks for, under neonize's numbers."""


@dataclass(frozen=True)
class Binding:
    """What the engine uses of neonize: the library's exports, callback types and protobuf modules."""

    version: str
    gocode: Any
    binder: Any
    events: Any
    content: Any
    device_props: Any


@cache
def load_neonize() -> Binding:
    """Import neonize into this process, which starts Go and can never fork without exec again.

    Raises ``ConfigurationError`` where neonize, its library or libmagic is missing or not the version this was
    written for. Nothing is downloaded, and the root logger is left as it was.
    """
    version = _check_installed()
    _load_libmagic()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        binder = importlib.import_module("neonize._binder")
        binding = Binding(
            version=version,
            gocode=binder.gocode,
            binder=binder,
            events=importlib.import_module("neonize.proto.Neonize_pb2"),
            content=importlib.import_module("neonize.proto.waE2E.WAWebProtobufsE2E_pb2"),
            device_props=importlib.import_module(
                "neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2"
            ).DeviceProps,
        )
    except Exception as error:
        raise ConfigurationError(f"neonize {version} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        # neonize calls logging.basicConfig() for the whole process when it is imported.
        root.handlers[:], root.level = handlers, level
    if mismatch := _mismatch(binding):
        raise ConfigurationError(f"neonize {version} is not the interface this driver was written for: {mismatch}")
    return binding


def _check_installed() -> str:
    try:
        version = importlib.metadata.version("neonize")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigurationError("neonize is not installed: pip install 'neonize>=0.5.2,<0.6'") from None
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    if not MINIMUM <= numbers < BELOW:
        raise ConfigurationError(f"neonize {version} is installed, the driver needs >=0.5.2,<0.6")
    spec = importlib.util.find_spec("neonize")
    if spec is None or spec.origin is None:
        raise ConfigurationError("neonize is installed without its package: reinstall it")
    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    suffix = "dylib" if sys.platform == "darwin" else "so"
    library = Path(spec.origin).parent / f"neonize-{platform.system().lower()}-{machine}.{suffix}"
    # Without its library, or with one of another version, neonize would fetch one from GitHub while it is imported.
    if not library.is_file():
        raise ConfigurationError(f"neonize {version} has no {library.name}: install a wheel for this platform")
    native = ctypes.CDLL(str(library))
    native.GetVersion.restype = CHAR_P
    if (found := native.GetVersion().decode()) != version:
        raise ConfigurationError(f"neonize {version} has a library of version {found}: reinstall it")
    return version


def _load_libmagic() -> None:
    """Let neonize's import of python-magic find libmagic: the system's, or the one that pylibmagic brings."""
    try:
        ctypes.CDLL("libmagic.dylib" if sys.platform == "darwin" else "libmagic.so.1")
    except OSError:
        try:
            importlib.import_module("pylibmagic")
        except ImportError:
            remedy = "brew install libmagic" if sys.platform == "darwin" else "apt install libmagic1"
            raise ConfigurationError(f"neonize needs libmagic: {remedy}, or pip install pylibmagic") from None


def _mismatch(binding: Binding) -> str | None:
    binder, gocode, events = binding.binder, binding.gocode, binding.events
    interface: dict[str, tuple[list[Any], Any]] = {
        "Neonize": (
            [
                *(CHAR_P, CHAR_P, CHAR_P, INT, INT, CHAR_P),
                *(binder.func_string, binder.func_string, binder.func_callback_bytes, binder.func_callback_bytes2),
                *(CHAR_P, INT, CHAR_P, INT, CHAR_P, INT, ctypes.POINTER(binder._CProxySettings)),
            ],
            VOID_P,
        ),
        "Stop": ([CHAR_P], VOID_P),
        "Disconnect": ([CHAR_P], INT),
        "Logout": ([CHAR_P], VOID_P),
        "SendMessage": ([CHAR_P, CHAR_P, INT, CHAR_P, INT], ctypes.POINTER(binder.Bytes)),
        "MarkRead": ([CHAR_P, CHAR_P, INT, CHAR_P, INT, CHAR_P, INT, CHAR_P], VOID_P),
    }
    for name, (arguments, result) in interface.items():
        export = getattr(gocode, name, None)
        if export is None:
            return f"there is no {name}"
        if list(export.argtypes or ()) != arguments or export.restype is not result:
            return f"{name} takes or returns something else"
    codes = {kind.__name__: code for kind, code in importlib.import_module("neonize.events").EVENT_TO_INT.items()}
    if wrong := sorted(name for name, code in EVENT_CODES.items() if codes.get(name) != code):
        return f"the event {wrong[0]} has another number"
    enums = {"PairStatus.SUCCESS": 2, "Receipt.DELIVERED": 1, "Receipt.READ": 4, "Receipt.PLAYED": 6}
    for name, number in enums.items():
        message, member = name.split(".")
        if getattr(getattr(events, message), member, None) != number:
            return f"{name} has another number"
    return None if getattr(events, "UNKNOWN_LOGOUT", None) == 5 else "UNKNOWN_LOGOUT has another number"
