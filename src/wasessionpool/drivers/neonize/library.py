"""The exports of neonize's Go library that this driver calls; nothing else of it is reachable."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

from ...operations import CheckNumbers, MarkRead, React, ShowTyping
from . import texts
from .binding import CHROME, EVENT_CODES, Binding
from .wire import Failure, Registered, SendText, Sent, Start

_SUBSCRIBED = bytes(code for code in EVENT_CODES.values() if code)
_DSN = "?_journal_mode=WAL&_busy_timeout=30000&_txlock=immediate&_foreign_keys=on&_z="
"""Options for neonize's database name; the last swallows the ``?_foreign_keys=on`` that neonize appends."""

_TYPING = {"composing": (0, 0), "recording": (0, 1), "paused": (1, 0)}
"""neonize's state and medium; Go ends the process on any other number."""

QUESTION_TIMEOUT = 75.0
"""Seconds after which whatsmeow gives a question to the server up."""

Callbacks = tuple[Any, Any, Any, Any]


class Library:
    """Calls into Go. All but ``run`` and ``stop`` may find no client under a key; whatsmeow then says so.

    To be called under the gate, and never with a key that is not live: Go keeps no lock on its clients.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._gocode = binding.gocode

    def callbacks(
        self,
        on_qr: Callable[[int, int], None],
        on_status: Callable[[int, int], None],
        on_event: Callable[[bytes, int, int, int], None],
        on_log: Callable[[int, int], None],
    ) -> Callbacks:
        """Return what Go calls; it has to be kept for as long as the process lives."""
        binder = self._binding.binder
        return (
            binder.func_string(on_qr),
            binder.func_string(on_status),
            binder.func_callback_bytes(on_event),
            binder.func_callback_bytes2(on_log),
        )

    def run(self, start: Start, key: bytes, callbacks: Callbacks) -> str:
        """Be the client of a session until it is stopped or fails, and return what it complained of."""
        properties = self._device_properties(start.device_name)
        proxy = None
        if start.proxy is not None:
            settings = self._binding.binder.ProxySettings(proxy_address=start.proxy)._to_c_struct()
            proxy = ctypes.byref(settings)
        returned: bytes = self._gocode.Neonize(
            (start.database + _DSN).encode(),
            key,
            *(b"", 0),  # no JID: one that the database lacks ends the process
            0,
            b"ERROR",
            *callbacks,
            *(_SUBSCRIBED, len(_SUBSCRIBED)),
            *(properties, len(properties)),
            *(b"", 0),
            proxy,
        )
        text = returned.decode(errors="replace")
        return texts.without_proxy(text, start.proxy) if start.proxy else text

    def disconnect(self, key: bytes) -> None:
        """Close the session's line for good; waits for a dial that hangs."""
        self._gocode.Disconnect(key)

    def stop(self, key: bytes) -> None:
        """Let ``run`` return."""
        self._gocode.Stop(key)

    def has_opened(self, key: bytes) -> bool:
        """Say whether the client has come as far as its database and more; to be asked once its line is closed.

        One that has is then stopped for good by ``stop``.
        """
        outcome = self._binding.events.GetBlocklistReturnFunction.FromString(self._gocode.GetBlocklist(key))
        return texts.is_of_closed_line(outcome.Error)

    def send(self, key: bytes, request: SendText) -> Sent | Failure:
        """Send, and wait for the server; up to 75 s, or for ever across a reconnect.

        A success after ``QUESTION_TIMEOUT`` is none: whatsmeow asked for the recipient's keys in vain, and what it then
        sent nobody can read.
        """
        content = self._binding.content
        text = content.ExtendedTextMessage(text=request.text)
        return self._send(key, request.to, content.Message(extendedTextMessage=text))

    def react(self, key: bytes, request: React) -> Failure | None:
        """Send a reaction; what is known of it then is what ``send`` says."""
        content = self._binding.content.Message()
        reaction, target = content.reactionMessage, content.reactionMessage.key
        reaction.text, reaction.senderTimestampMS = request.emoji, int(time.time() * 1000)
        target.ID, target.remoteJID, target.fromMe = request.message_id, request.chat, request.from_me
        if request.chat.endswith("@g.us") and not request.from_me:
            target.participant = request.sender
        outcome = self._send(key, request.chat, content)
        return outcome if isinstance(outcome, Failure) else None

    def _send(self, key: bytes, recipient: str, content: Any) -> Sent | Failure:
        to, body = self._jid(recipient), content.SerializeToString()
        begin = time.monotonic()
        returned = self._gocode.SendMessage(key, to, len(to), body, len(body))
        outcome = self._binding.events.SendMessageReturnFunction.FromString(returned)
        if outcome.Error:
            return texts.failure(outcome.Error)
        if time.monotonic() - begin >= QUESTION_TIMEOUT:
            return Failure(kind="timeout", detail="a question for the recipient's keys was not answered")
        return Sent(id=outcome.SendResponse.ID, timestamp=outcome.SendResponse.Timestamp)

    def mark_read(self, key: bytes, request: MarkRead) -> Failure | None:
        chat, sender = self._jid(request.chat), self._jid(request.sender)
        ids = " ".join(request.message_ids).encode()
        return _failure(
            self._gocode.MarkRead(key, ids, int(time.time()), chat, len(chat), sender, len(sender), b"read")
        )

    def show_typing(self, key: bytes, request: ShowTyping) -> Failure | None:
        chat = self._jid(request.chat)
        return _failure(self._gocode.SendChatPresence(key, chat, len(chat), *_TYPING[request.state]))

    def check_numbers(self, key: bytes, request: CheckNumbers) -> Registered | Failure:
        numbers = " ".join(f"+{number}" for number in request.numbers).encode()
        returned = self._gocode.IsOnWhatsApp(key, numbers)
        outcome = self._binding.events.IsOnWhatsAppReturnFunction.FromString(returned)
        if outcome.Error:
            return texts.failure(outcome.Error)
        # A query comes back as it was sent, a phone number's JID.
        found = {user.Query.partition("@")[0].removeprefix("+") for user in outcome.IsOnWhatsAppResponse if user.IsIn}
        return Registered(numbers=tuple(number for number in request.numbers if number in found))

    def probe(self, key: bytes) -> Failure | None:
        """Ask the server for the contacts that are blocked, up to 75 s: whatsmeow remembers no answer to that.

        It is the answer that counts, not what it says.
        """
        outcome = self._binding.events.GetBlocklistReturnFunction.FromString(self._gocode.GetBlocklist(key))
        return texts.failure(outcome.Error) if outcome.Error and not texts.is_answer(outcome.Error) else None

    def pair_phone(self, key: bytes, number: str) -> str | Failure:
        """Ask WhatsApp to link by a code, up to 75 s, and return it; the number's phone shows where to type it in.

        WhatsApp takes the name of a common browser and system only; the phone lists the device under its own name.
        """
        kind = self._binding.events.PairPhoneParams
        asked = kind(phone=number, showPushNotification=True, clientType=CHROME, clientDisplayName="Chrome (Linux)")
        body = asked.SerializeToString()
        returned = self._gocode.PairPhone(key, body, len(body))
        outcome = self._binding.events.PairPhoneReturnFunction.FromString(returned)
        if outcome.Error:
            return texts.failure(outcome.Error)
        code: str = outcome.Code.replace("-", "")
        return code

    def log_out(self, key: bytes) -> Failure | None:
        """Unlink the device, and delete its keys once the server agreed."""
        return _failure(self._gocode.Logout(key))

    def _device_properties(self, name: str) -> bytes:
        # Go merges these into a variable of the whole process, where they stay for the sessions that follow; so each
        # names all that any of them sets. The history's limits are left to whatsmeow, which sets none.
        kind = self._binding.device_props
        properties = kind(os=name, platformType=kind.DESKTOP, requireFullSync=False)
        properties.version.primary, properties.version.secondary, properties.version.tertiary = 0, 1, 0
        history = properties.historySyncConfig
        history.storageQuotaMb = 10240
        for field in history.DESCRIPTOR.fields:
            if field.type == field.TYPE_BOOL:
                setattr(history, field.name, field.name != "supportAddOnHistorySyncMigration")
        serialized: bytes = properties.SerializeToString()
        return serialized

    def _jid(self, text: str) -> bytes:
        user, _, server = text.partition("@")
        jid: Any = self._binding.events.JID(User=user, RawAgent=0, Device=0, Integrator=0, Server=server)
        serialized: bytes = jid.SerializeToString()
        return serialized


def _failure(error: bytes) -> Failure | None:
    return texts.failure(error.decode(errors="replace")) if error else None
