"""Many sessions of plain neonize in one process, behind the same JSON lines as `raw_client`.

The caller starts them one at a time: neonize dies of two starts at once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from raw_client import emit

from wasessionpool.testing.whatsapp.trust import replace_root_key, root_key_from

DETAILS = {
    "PairStatus": "Status",
    "LoggedOut": "Reason",
    "ConnectFailure": "Reason",
    "TemporaryBan": "Code",
    "StreamError": "Code",
}
"""The events that say more than their name, and the field that says it."""

EVENTS = [
    *DETAILS,
    "Connected",
    "Disconnected",
    "KeepAliveTimeout",
    "KeepAliveRestored",
    "StreamReplaced",
    "ClientOutdated",
    "UndecryptableMessage",
    "Message",
    "Presence",
]


def described(name: str, event: Any) -> str:
    """Name an event, with what it says in brackets; an enumeration's value by its name."""
    field = DETAILS.get(name)
    if field is None:
        return name
    value, kind = getattr(event, field), event.DESCRIPTOR.fields_by_name[field].enum_type
    return f"{name}({kind.values_by_number[value].name if kind is not None else value})"


def main() -> None:
    root_key = root_key_from(os.environ)

    from neonize import events
    from neonize.client import NewClient
    from neonize.client import log as neonize_log
    from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps

    replace_root_key(root_key)
    neonize_log.setLevel(os.environ.get("RAW_CLIENT_LOG", "CRITICAL"))
    logging.getLogger().setLevel("DEBUG")

    clients: dict[str, NewClient] = {}
    props = DeviceProps(
        os="Raw",
        version=DeviceProps.AppVersion(primary=1),
        platformType=DeviceProps.CHROME,
        requireFullSync=False,
        historySyncConfig=DeviceProps.HistorySyncConfig(),
    )

    def start(session: str, database: str) -> None:
        client = NewClient(f"{database}?_journal_mode=WAL&_foreign_keys=on&_z=", props=props, uuid=session)
        clients[session] = client

        def report(name: str) -> Callable[[Any, Any], None]:
            return lambda _client, event: emit(event=described(name, event), session=session)

        for name in EVENTS:
            client.event(getattr(events, f"{name}Ev"))(report(name))
        client.event(events.ReceiptEv)(lambda _client, _event: None)
        client.qr(lambda _client, code: emit(event="QR", session=session, text=code.decode()))

        def connect() -> None:
            try:
                client.connect()
                emit(event="connect() returns", session=session)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
                emit(event="connect() raises", session=session, error=str(error))

        threading.Thread(target=connect, daemon=True).start()

    commands: dict[str, Callable[..., Any]] = {
        "start": start,
        "send": lambda session, to, text: clients[session].send_message(to, text).ID,
    }

    def run(number: int, command: str, arguments: list[Any]) -> None:
        try:
            emit(reply=number, result=commands[command](*arguments))
        except Exception as error:  # noqa: BLE001 - as above
            emit(reply=number, error=f"{type(error).__name__}: {error}")

    for line in sys.stdin:
        request = json.loads(line)
        threading.Thread(
            target=run, args=(request["id"], request["command"], request["arguments"]), daemon=True
        ).start()
    os._exit(0)


if __name__ == "__main__":
    main()
