"""Loads neonize, after making sure that it can be loaded; the only import of it."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import logging
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ConfigurationError

MINIMUM, BELOW = (0, 5, 2), (0, 6)

TIMER_SLACK = 1_000_000
"""Nanoseconds by which a process's timers may be late. Go's monitor sleeps for 20 µs at a time while anything runs;
with the usual slack of 50 µs it takes a tenth of the CPU of a send."""

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
    "HistorySync": 13,
    "Message": 17,
    "Receipt": 18,
    "ChatPresence": 19,
    "Presence": 20,
    "JoinedGroup": 21,
    "GroupInfoEvent": 22,
    "CallOffer": 36,
    "CallAccept": 37,
    "CallOfferNotice": 40,
    "CallTerminate": 42,
    "UndecryptableMessage": 44,
}
"""The events that the engine asks for, under neonize's numbers."""

FIELDS = {
    "JID": "User RawAgent Device Integrator Server",
    "Device": "JID LID PushName",
    "PairStatus": "ID Status Error",
    "LoggedOut": "Reason",
    "TemporaryBan": "Code Expire",
    "ConnectFailure": "Reason",
    "KeepAliveTimeout": "ErrorCount LastSuccess",
    "Message": "Info Message IsEdit",
    "MessageInfo": "MessageSource ID Pushname Timestamp Edit",
    "MessageSource": "Chat Sender IsFromMe IsGroup SenderAlt RecipientAlt",
    "Receipt": "MessageSource MessageIDs Timestamp Type",
    "SendMessageReturnFunction": "Error SendResponse",
    "SendResponse": "Timestamp ID",
    "Presence": "From Unavailable LastSeen",
    "ChatPresence": "MessageSource State Media",
    "JoinedGroup": "GroupInfo Sender SenderPN",
    "GroupInfo": "JID GroupName Participants",
    "GroupName": "Name",
    "GroupParticipant": "JID LID PhoneNumber",
    "GroupInfoEvent": "JID Sender Timestamp Name Topic Delete Join Leave Promote Demote",
    "GroupTopic": "Topic",
    "CallOffer": "basicCallMeta",
    "CallAccept": "basicCallMeta",
    "CallOfferNotice": "basicCallMeta",
    "CallTerminate": "basicCallMeta",
    "BasicCallMeta": "timestamp callCreator callCreatorAlt callID",
    "UndecryptableMessage": "Info",
    "HistorySync": "Data",
    "LogEntry": "Level Name",
    "PairPhoneParams": "phone showPushNotification clientType clientDisplayName",
    "PairPhoneReturnFunction": "Code Error",
    "IsOnWhatsAppReturnFunction": "IsOnWhatsAppResponse Error",
    "IsOnWhatsAppResponse": "Query IsIn",
    "GetBlocklistReturnFunction": "Error",
}
ENUMS = {
    "PairStatus.SUCCESS": 2,
    "Receipt.DELIVERED": 1,
    "Receipt.READ": 4,
    "Receipt.PLAYED": 6,
    "ChatPresence.COMPOSING": 1,
    "ChatPresence.AUDIO": 2,
    "UNKNOWN_LOGOUT": 5,
}
"""What is read of neonize's messages: their fields, and the numbers that mean something."""

CHROME = 1
ARGUMENTS = {
    "ClientType.CHROME": CHROME,
    "ChatPresence.CHAT_PRESENCE_COMPOSING": 0,
    "ChatPresence.CHAT_PRESENCE_PAUSED": 1,
    "ChatPresenceMedia.CHAT_PRESENCE_MEDIA_TEXT": 0,
    "ChatPresenceMedia.CHAT_PRESENCE_MEDIA_AUDIO": 1,
}
"""The numbers that are handed to Go as they are."""

CALLBACKS = {
    "func_string": (VOID_P, VOID_P),
    "func_callback_bytes": (CHAR_P, VOID_P, INT, INT),
    "func_callback_bytes2": (VOID_P, INT),
}
"""What Go calls, and with what."""


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
    written for. Nothing is downloaded, and the root logger is left as it was. From then on the timers of this thread,
    and of those that it starts, may be late by ``TIMER_SLACK``.
    """
    _relax_timers()
    version, package = _check_installed()
    _load_libmagic()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with _bare_packages(package):
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
            mismatch = _mismatch(binding)
    except Exception as error:
        raise ConfigurationError(f"neonize {version} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        # neonize calls logging.basicConfig() for the whole process when it is imported.
        root.handlers[:], root.level = handlers, level
    if mismatch:
        raise ConfigurationError(f"neonize {version} is not the interface this driver was written for: {mismatch}")
    return binding


@contextmanager
def _bare_packages(package: Path) -> Iterator[None]:
    """Let neonize's modules come without the client that its packages import: 16 MB less, in a third of the time."""
    bare = {"neonize": ModuleType("neonize"), "neonize.utils": ModuleType("neonize.utils")}
    bare["neonize"].__path__, bare["neonize.utils"].__path__ = [str(package)], [str(package / "utils")]
    for name, module in bare.items():
        sys.modules.setdefault(name, module)
    try:
        yield
    finally:
        for name, module in bare.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _relax_timers() -> None:
    """Let timers of this thread, and of all that it starts, be late; Go's are started with its library."""
    if sys.platform == "linux":
        set_timer_slack = 29  # prctl(2)
        ctypes.CDLL(None).prctl(set_timer_slack, ctypes.c_ulong(TIMER_SLACK), 0, 0, 0)


def _check_installed() -> tuple[str, Path]:
    """Return neonize's version and where it lies."""
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
    try:
        native = ctypes.CDLL(str(library))
        native.GetVersion.restype = CHAR_P
        found = native.GetVersion().decode()
    except (OSError, AttributeError) as error:
        raise ConfigurationError(f"neonize {version} has a library that cannot be loaded: {error}") from None
    if found != (wanted := _wanted_library(library.parent, version)):
        raise ConfigurationError(f"neonize {version} has a library of version {found}, not {wanted}: reinstall it")
    return version, library.parent


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


def _wanted_library(package: Path, version: str) -> str:
    """Return the version of the library without which neonize downloads one; it may be older than its package."""
    try:
        source = (package / "download.py").read_text("utf-8")
    except OSError:
        return version
    wanted = re.search(r'^__GONEONIZE_VERSION__ = "(.+)"$', source, re.MULTILINE)
    return wanted[1] if wanted else version


def _mismatch(binding: Binding) -> str | None:
    """Say what the driver uses and does not find as it was when it was written."""
    try:
        return _odd_callback(binding.binder) or _odd_export(binding) or _odd_event(binding.events)
    except AttributeError as error:
        return f"there is no {error.name}"


def _odd_callback(binder: Any) -> str | None:
    for name, arguments in CALLBACKS.items():
        kind = getattr(binder, name)
        if kind._argtypes_ != arguments or kind._restype_ is not None:
            return f"{name} is called with something else"
    return None


def _odd_export(binding: Binding) -> str | None:
    binder = binding.binder
    text, data = (VOID_P, binder.consume_cstring), (ctypes.POINTER(binder.Bytes), binder.consume_bytes_struct)
    interface: dict[str, tuple[list[Any], tuple[Any, Any]]] = {
        "Neonize": (
            [
                *(CHAR_P, CHAR_P, CHAR_P, INT, INT, CHAR_P),
                *(binder.func_string, binder.func_string, binder.func_callback_bytes, binder.func_callback_bytes2),
                *(CHAR_P, INT, CHAR_P, INT, CHAR_P, INT, ctypes.POINTER(binder._CProxySettings)),
            ],
            text,
        ),
        "Stop": ([CHAR_P], text),
        "Disconnect": ([CHAR_P], (INT, None)),
        "Logout": ([CHAR_P], text),
        "SendMessage": ([CHAR_P, CHAR_P, INT, CHAR_P, INT], data),
        "MarkRead": ([CHAR_P, CHAR_P, INT, CHAR_P, INT, CHAR_P, INT, CHAR_P], text),
        "PairPhone": ([CHAR_P, CHAR_P, INT], data),
        "SendChatPresence": ([CHAR_P, CHAR_P, INT, INT, INT], text),
        "IsOnWhatsApp": ([CHAR_P, CHAR_P], data),
        "GetBlocklist": ([CHAR_P], data),
    }
    for name, (arguments, result) in interface.items():
        export = getattr(binding.gocode, name, None)
        if export is None:
            return f"there is no {name}"
        # The last is what turns the memory that Go returns into bytes, and frees it.
        if list(export.argtypes or ()) != arguments or (export.restype, getattr(export, "errcheck", None)) != result:
            return f"{name} takes or returns something else"
    return None


def _odd_event(events: Any) -> str | None:
    codes = {kind.__name__: code for kind, code in importlib.import_module("neonize.events").EVENT_TO_INT.items()}
    if wrong := sorted(name for name, code in EVENT_CODES.items() if codes.get(name) != code):
        return f"the event {wrong[0]} has another number"
    for name, fields in FIELDS.items():
        if missing := sorted(set(fields.split()) - set(getattr(events, name).DESCRIPTOR.fields_by_name)):
            return f"{name} has no {missing[0]}"
    arguments = importlib.import_module("neonize.utils.enum")
    for name, number in ARGUMENTS.items():
        kind, _, member = name.partition(".")
        if getattr(getattr(arguments, kind), member).value != number:
            return f"{name} has another number"
    for name, number in ENUMS.items():
        message, _, member = name.rpartition(".")
        if getattr(getattr(events, message) if message else events, member, None) != number:
            return f"{name} has another number"
    return None
