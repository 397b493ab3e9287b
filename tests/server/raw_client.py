"""Plain neonize behind JSON lines, run as a process of its own: commands on stdin, events and replies on stdout.

It shares nothing with the pool and its driver, so what it sees is what the server and whatsmeow make of each other.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from wasessionpool.testing.whatsapp.trust import replace_root_key, root_key_from

OUTPUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
OUTPUT_LOCK = threading.Lock()
STATES = [
    "PairStatus",
    "Connected",
    "LoggedOut",
    "StreamReplaced",
    "TemporaryBan",
    "ConnectFailure",
    "ClientOutdated",
    "StreamError",
    "Disconnected",
    "OfflineSyncCompleted",
    "UndecryptableMessage",
]


def emit(**fields: Any) -> None:
    with OUTPUT_LOCK:
        OUTPUT.write(json.dumps(fields) + "\n")
        OUTPUT.flush()


def main(database: str, device_name: str) -> None:
    root_key = root_key_from(os.environ)

    from neonize import events
    from neonize.client import NewClient
    from neonize.client import log as neonize_log
    from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
    from neonize.utils.enum import ReceiptType
    from neonize.utils.jid import build_jid

    replace_root_key(root_key)
    neonize_log.setLevel(os.environ.get("RAW_CLIENT_LOG", "ERROR"))
    logging.getLogger().setLevel("DEBUG")

    props = DeviceProps(
        os=device_name,
        version=DeviceProps.AppVersion(primary=1),
        platformType=DeviceProps.CHROME,
        requireFullSync=False,
        historySyncConfig=DeviceProps.HistorySyncConfig(),
    )
    client = NewClient(f"{database}?_journal_mode=WAL&_foreign_keys=on&_z=", props=props, uuid="raw")

    def state(name: str) -> Callable[[Any, Any], None]:
        return lambda _client, _event: emit(event=name)

    for name in STATES:
        client.event(getattr(events, f"{name}Ev"))(state(name))

    @client.event(events.MessageEv)
    def on_message(_client: Any, event: Any) -> None:
        source = event.Info.MessageSource
        emit(
            event="Message",
            id=event.Info.ID,
            text=event.Message.conversation or event.Message.extendedTextMessage.text,
            sender=source.Sender.User,
            chat=source.Chat.User,
            sender_alt=source.SenderAlt.User,
            from_me=source.IsFromMe,
            name=event.Info.Pushname,
        )

    @client.event(events.ReceiptEv)
    def on_receipt(_client: Any, event: Any) -> None:
        emit(event="Receipt", ids=list(event.MessageIDs), kind=int(event.Type), sender=event.MessageSource.Sender.User)

    @client.qr
    def on_qr(_client: Any, code: bytes) -> None:
        emit(event="QR", text=code.decode())

    def connect() -> None:
        try:
            client.connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            emit(event="ConnectFailed", error=str(error))

    def mark_read(message_id: str, sender: str) -> None:
        jid = build_jid(sender, "lid")
        client.mark_read(message_id, chat=jid, sender=jid, receipt=ReceiptType.READ)

    commands: dict[str, Callable[..., Any]] = {
        "send": lambda to, text: client.send_message(to, text).ID,
        "is_on_whatsapp": lambda *numbers: [[r.Query, r.IsIn] for r in client.is_on_whatsapp(*numbers)],
        "mark_read": mark_read,
        "logout": client.logout,
    }

    def run(number: int, command: str, arguments: list[Any]) -> None:
        try:
            emit(reply=number, result=commands[command](*arguments))
        except Exception as error:  # noqa: BLE001 - as above
            emit(reply=number, error=f"{type(error).__name__}: {error}")

    threading.Thread(target=connect, daemon=True).start()
    for line in sys.stdin:
        request = json.loads(line)
        threading.Thread(
            target=run, args=(request["id"], request["command"], request["arguments"]), daemon=True
        ).start()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
