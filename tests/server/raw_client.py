"""Plain neonize behind JSON lines, run as a process of its own: commands on stdin, events and replies on stdout.

It shares nothing with the pool and its driver, so what it sees is what the server and whatsmeow make of each other.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from wasessionpool.testing.whatsapp.trust import replace_root_key, root_key_from

PLUMBING = ("messageContextInfo", "senderKeyDistributionMessage")
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
    "JoinedGroup",
    "GroupInfo",
]


def emit(**fields: Any) -> None:
    with OUTPUT_LOCK:
        OUTPUT.write(json.dumps(fields) + "\n")
        OUTPUT.flush()


def main(database: str, device_name: str) -> None:
    root_key = root_key_from(os.environ)

    from neonize import events
    from neonize.client import NewClient, _ensure_jid
    from neonize.client import log as neonize_log
    from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
    from neonize.utils.enum import ParticipantChange, Presence, ReceiptType, VoteType
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

    got: dict[str, Any] = {}

    def state(name: str) -> Callable[[Any, Any], None]:
        return lambda _client, _event: emit(event=name)

    for name in STATES:
        client.event(getattr(events, f"{name}Ev"))(state(name))

    @client.event(events.MessageEv)
    def on_message(_client: Any, event: Any) -> None:
        source = event.Info.MessageSource
        if event.Info.Category == "peer":
            emit(event="PeerMessage", id=event.Info.ID)
            return
        content = event.Message
        kinds = [field.name for field, _ in content.ListFields() if field.name not in PLUMBING]
        if not kinds:
            return
        got[event.Info.ID] = event
        emit(
            event="Message",
            id=event.Info.ID,
            text=event.Message.conversation or event.Message.extendedTextMessage.text,
            sender=source.Sender.User,
            chat=source.Chat.User,
            sender_alt=source.SenderAlt.User,
            from_me=source.IsFromMe,
            name=event.Info.Pushname,
            device=source.Sender.Device,
            kinds=kinds,
            caption=content.imageMessage.caption,
            target=content.reactionMessage.key.ID,
            emoji=content.reactionMessage.text,
            question=content.pollCreationMessage.name,
        )

    @client.event(events.ReceiptEv)
    def on_receipt(_client: Any, event: Any) -> None:
        source = event.MessageSource
        emit(
            event="Receipt",
            ids=list(event.MessageIDs),
            kind=int(event.Type),
            sender=source.Sender.User,
            device=source.Sender.Device,
            chat=source.Chat.User,
            from_me=source.IsFromMe,
        )

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

    def mark(kind: str, sender: str, chat: str, *message_ids: str) -> None:
        client.mark_read(
            *message_ids, chat=_ensure_jid(chat), sender=build_jid(sender, "lid"), receipt=ReceiptType[kind]
        )

    def send_image(to: str, image: str, caption: str) -> str:
        return client.send_image(_ensure_jid(to), base64.b64decode(image), caption).ID

    def react(to: str, message_id: str, emoji: str) -> str:
        sender = got[message_id].Info.MessageSource.Sender
        return client.send_message(to, client.build_reaction(_ensure_jid(to), sender, message_id, emoji)).ID

    def send_poll(to: str, question: str, *options: str) -> str:
        return client.send_message(to, client.build_poll_vote_creation(question, list(options), VoteType.SINGLE)).ID

    def vote(to: str, message_id: str, *options: str) -> str:
        return client.send_message(to, client.build_poll_vote(got[message_id].Info, list(options))).ID

    def lids(numbers: tuple[str, ...]) -> list[Any]:
        return [build_jid(f"77{number}", "lid") for number in numbers]

    def group_fields(group: Any) -> dict[str, Any]:
        members = {member.PhoneNumber.User: member.IsAdmin for member in group.Participants}
        return {"jid": f"{group.JID.User}@{group.JID.Server}", "name": group.GroupName.Name, "members": members}

    def user_info(number: str) -> dict[str, Any]:
        [user] = client.get_user_info(build_jid(number))
        return {"devices": [jid.Device for jid in user.UserInfo.Devices], "status": user.UserInfo.Status}

    def wait_name(name: str) -> None:
        """No event tells of a new name, so this looks until the deadline."""
        deadline = time.monotonic() + 10
        while (known := client.get_me().PushName) != name:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the name is {known!r}")
            time.sleep(0.02)

    commands: dict[str, Callable[..., Any]] = {
        "send": lambda to, text: client.send_message(to, text).ID,
        "is_on_whatsapp": lambda *numbers: [[r.Query, r.IsIn] for r in client.is_on_whatsapp(*numbers)],
        "mark_read": mark_read,
        "pair_phone": lambda number: client.PairPhone(number, True),
        "mark": mark,
        "send_image": send_image,
        "download": lambda message_id: base64.b64encode(client.download_any(got[message_id].Message)).decode(),
        "react": react,
        "send_poll": send_poll,
        "vote": vote,
        "create_group": lambda name, *members: group_fields(client.create_group(name, lids(members))),
        "group": lambda group: group_fields(client.get_group_info(_ensure_jid(group))),
        "groups": lambda: [group_fields(group) for group in client.get_joined_groups()],
        "change_group": lambda group, change, *members: len(
            client.update_group_participants(_ensure_jid(group), lids(members), ParticipantChange(change))
        ),
        "name_group": lambda group, name: client.set_group_name(_ensure_jid(group), name),
        "leave_group": lambda group: client.leave_group(_ensure_jid(group)),
        "user_info": user_info,
        "wait_name": wait_name,
        "set_name": client.set_profile_name,
        "send_presence": lambda: client.send_presence(Presence.AVAILABLE),
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
