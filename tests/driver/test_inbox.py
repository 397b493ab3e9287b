from __future__ import annotations

import threading

from wasessionpool.drivers.neonize.inbox import Inbox


def test_keeps_the_order() -> None:
    inbox = Inbox()
    assert [inbox.put(17, data) for data in (b"1", b"2")] == [True, True]
    assert [inbox.take(), inbox.take(), inbox.take()] == [(17, b"1"), (17, b"2"), None]


def test_a_full_inbox_makes_its_writer_wait() -> None:
    inbox = Inbox(room=1)
    inbox.put(17, b"1")
    written: list[bool] = []
    writer = threading.Thread(target=lambda: written.append(inbox.put(17, b"2")))
    writer.start()
    writer.join(0.05)
    assert writer.is_alive()
    assert inbox.take() == (17, b"1")
    writer.join(5)
    assert written == [True]
    assert inbox.take() == (17, b"2")


def test_closing_releases_the_writer_and_keeps_what_is_inside() -> None:
    inbox = Inbox(room=1)
    inbox.put(17, b"1")
    written: list[bool] = []
    writer = threading.Thread(target=lambda: written.append(inbox.put(17, b"2")))
    writer.start()
    inbox.close()
    writer.join(5)
    assert written == [False]
    assert [inbox.take(), inbox.take()] == [(17, b"1"), None]
