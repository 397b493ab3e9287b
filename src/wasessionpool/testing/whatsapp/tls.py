"""The server's end of TLS, without I/O."""

from __future__ import annotations

import ssl

_CHUNK = 65536


class Tls:
    """Opens what a client sends and seals what it is sent: all that came at once, and all that goes at once."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._received, self._sealed = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._received, self._sealed, server_side=True)
        self._is_open = False
        self.ended = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the wire and return what is in them, which may be nothing. Raises ssl.SSLError."""
        self._received.write(data)
        chunks = []
        try:
            if not self._is_open:
                self._object.do_handshake()
                self._is_open = True
            # To read until there is nothing would cost an exception each time.
            while self._received.pending or self._object.pending():
                chunks.append(self._object.read(_CHUNK))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(chunks)

    def send(self, data: bytes) -> None:
        self._object.write(data)

    def data_to_send(self) -> bytes:
        """Return the bytes for the wire that there are by now."""
        return self._sealed.read()
