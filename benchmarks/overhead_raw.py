"""Sessions through neonize's exports and nothing around them, for `overhead.py`: JSON lists in, a JSON reply each.

Neither neonize's own client, which is slow, nor any part of this library runs here; the loopback WhatsApp's trust root
is put in place by its own module, loaded without the package around it.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import socket
import sys
import threading
import time
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

SESSION_STACK = 256 * 1024
OPTIONS = "?_journal_mode=WAL&_busy_timeout=30000&_txlock=immediate&_foreign_keys=on&_z="
EVENTS = bytes([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 20])
CONNECTED = 3
TIMEOUT = 30.0
CHUNK = 64 * 1024


def load_gocode() -> Any:
    """Load neonize's library, for the loopback WhatsApp that this process's environment names only."""
    spec = find_spec("wasessionpool")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [folder] = spec.submodule_search_locations
    for name, below in (
        ("wasessionpool", ""),
        ("wasessionpool.testing", "testing"),
        ("wasessionpool.testing.whatsapp", "testing/whatsapp"),
    ):
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = [os.path.join(folder, below)]  # noqa: PTH118 - the fewer imports, the leaner
    trust = import_module("wasessionpool.testing.whatsapp.trust")
    key = trust.root_key_from(os.environ)
    binder = import_module("neonize._binder")
    trust.replace_root_key(key)
    return binder


class Sessions:
    """Clients by number, a thread each inside `Neonize`."""

    def __init__(self) -> None:
        self._binder = load_gocode()
        self._gocode = self._binder.gocode
        self._events: Any = import_module("neonize.proto.Neonize_pb2")
        self._content: Any = import_module("neonize.proto.waE2E.WAWebProtobufsE2E_pb2")
        props = import_module("neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2").DeviceProps
        self._props = props(os="Raw", platformType=props.DESKTOP).SerializeToString()
        self._keys: list[bytes] = []
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._callbacks = (
            self._binder.func_string(self._on_qr),
            self._binder.func_string(self._on_status),
            self._binder.func_callback_bytes(self._on_event),
            self._binder.func_callback_bytes2(self._on_log),
        )

    def open(self, database: str) -> str:
        """Start one more client, and return its pairing code, or "" once it is connected."""
        key = f"session{len(self._keys)}".encode()
        self._keys.append(key)
        usual = threading.stack_size(SESSION_STACK)
        threading.Thread(target=self._run, args=(f"{database}{OPTIONS}".encode(), key), daemon=True).start()
        threading.stack_size(usual)
        return self.wait()

    def wait(self) -> str:
        """Wait for the next pairing code, or for a connection."""
        return self._news.get(timeout=TIMEOUT)

    def serial(self, contacts: list[str], count: int) -> list[float]:
        """Send from the first session, one message after another; return what each took, in seconds."""
        taken = []
        for number in range(count):
            begun = time.perf_counter()
            self._send(self._keys[0], contacts[number % len(contacts)], f"message number {number}")
            taken.append(time.perf_counter() - begun)
        return taken

    def concurrent(self, contacts: list[str], count: int) -> float:
        """Send from all sessions at once, each one message after another; return the seconds it took."""
        failures: list[BaseException] = []

        def write(place: int, key: bytes) -> None:
            try:
                for number in range(count):
                    self._send(key, contacts[(place + number) % len(contacts)], f"message number {number}")
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                failures.append(error)

        threads = [threading.Thread(target=write, args=item) for item in enumerate(self._keys)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.perf_counter() - begun
        if failures:
            raise failures[0]
        return taken

    def serve(self, descriptor: int) -> None:
        """Send what comes over a socket, from the first session, and answer with the ids, until its end is gone."""
        with socket.socket(fileno=descriptor) as end:
            while asked := end.recv(CHUNK):
                number, text = json.loads(asked)
                end.sendall(json.dumps(self._send(self._keys[0], number, text)).encode())

    def processes(self) -> list[int]:
        return [os.getpid()]

    def _run(self, database: bytes, key: bytes) -> None:
        props = self._props
        self._gocode.Neonize(
            *(database, key, b"", 0, 0, b"ERROR"),
            *self._callbacks,
            *(EVENTS, len(EVENTS), props, len(props), b"", 0, None),
        )

    def _send(self, key: bytes, number: str, text: str) -> str:
        jid = self._events.JID(User=number, RawAgent=0, Device=0, Integrator=0, Server="s.whatsapp.net")
        to = jid.SerializeToString()
        content = self._content
        body = content.Message(extendedTextMessage=content.ExtendedTextMessage(text=text)).SerializeToString()
        returned = self._gocode.SendMessage(key, to, len(to), body, len(body))
        outcome = self._events.SendMessageReturnFunction.FromString(returned)
        if outcome.Error:
            raise RuntimeError(outcome.Error)
        sent: str = outcome.SendResponse.ID
        return sent

    def _on_qr(self, _key: int, code: int) -> None:
        self._news.put(ctypes.string_at(code).decode())

    def _on_status(self, _key: int, _status: int) -> None:
        pass

    def _on_event(self, _key: bytes, address: int, size: int, code: int) -> None:
        if size:
            ctypes.string_at(address, size)
        if code == CONNECTED:
            self._news.put("")

    def _on_log(self, address: int, size: int) -> None:
        ctypes.string_at(address, size)


def main() -> None:
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8")
    for descriptor in (1, 2):  # Go prints to both
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    sessions = Sessions()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        output.write(json.dumps(getattr(sessions, command)(*arguments)) + "\n")
        output.flush()


if __name__ == "__main__":
    try:
        main()
    finally:
        # An ordinary exit would wait for Go's threads, which do not end; the caller sees that there is no reply.
        sys.excepthook(*sys.exc_info()) if sys.exc_info()[0] else None
        os._exit(1)
