"""Many sessions of plain neonize in one process, for `server.py`: a JSON list as command a line, a JSON reply each."""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from wasessionpool.testing.whatsapp.trust import replace_root_key, root_key_from

OUTPUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


class Sessions:
    """The clients; one is started at a time, because neonize dies of two starts at once."""

    def __init__(self, folder: str) -> None:
        from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps

        self._folder = Path(folder)
        self._clients: list[Any] = []
        self._codes: queue.Queue[str] = queue.Queue()
        self._received = 0
        self._lock = threading.Condition()
        self._props = DeviceProps(
            os="Raw",
            version=DeviceProps.AppVersion(primary=1),
            platformType=DeviceProps.CHROME,
            requireFullSync=False,
            historySyncConfig=DeviceProps.HistorySyncConfig(),
        )

    def start(self) -> str:
        """Start one more session and return its QR."""
        from neonize import events
        from neonize.client import NewClient

        name = f"session{len(self._clients)}"
        database = f"{self._folder / name}.db?_journal_mode=WAL&_foreign_keys=on&_z="
        client = NewClient(database, props=self._props, uuid=name)
        client.qr(lambda _client, code: self._codes.put(code.decode()))
        client.event(events.MessageEv)(lambda _client, _event: self._count())
        self._clients.append(client)
        threading.Thread(target=client.connect, daemon=True).start()
        return self._codes.get(timeout=30)

    def _count(self) -> None:
        with self._lock:
            self._received += 1
            self._lock.notify_all()

    def send(self, count: int, contacts: list[str], threads: int) -> float:
        """Send messages from all sessions in turn, and return the seconds it took."""
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as executor:
            sends = [
                executor.submit(
                    self._clients[number % len(self._clients)].send_message,
                    contacts[number % len(contacts)],
                    f"message number {number}",
                )
                for number in range(count)
            ]
            for send in sends:
                send.result(timeout=90)
        return time.perf_counter() - begun

    def wait_received(self, count: int) -> int:
        """Wait until the sessions have got that many messages in all."""
        with self._lock:
            self._lock.wait_for(lambda: self._received >= count, timeout=120)
            return self._received


def main(folder: str) -> None:
    root_key = root_key_from(os.environ)
    from neonize.client import log as neonize_log

    replace_root_key(root_key)
    neonize_log.setLevel("CRITICAL")
    logging.getLogger().setLevel("DEBUG")
    sessions = Sessions(folder)
    try:
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            OUTPUT.write(json.dumps(getattr(sessions, command)(*arguments)) + "\n")
            OUTPUT.flush()
    except Exception:  # noqa: BLE001 - the caller sees that this process has ended
        traceback.print_exc()
    finally:
        # An ordinary exit would wait for neonize's threads, which do not end.
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
