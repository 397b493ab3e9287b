from __future__ import annotations

from wasessionpool.drivers.neonize.news import (
    BYTES_AT_ONCE,
    NOTICES_BYTES,
    NOTICES_KEPT,
    PRESENCES_KEPT,
    RECEIPTS_AT_ONCE,
    RECEIPTS_KEPT,
    News,
)


def test_receipts_come_in_order_a_batch_for_each_credit() -> None:
    news = News(credit=2)
    assert news.take_receipts() == ([], 0)
    wanted = [b"%d" % number for number in range(RECEIPTS_AT_ONCE * 3)]
    for data in wanted:
        news.put_receipt(data)
    assert news.take_receipts() == (wanted[:RECEIPTS_AT_ONCE], 0)
    assert news.take_receipts() == (wanted[RECEIPTS_AT_ONCE : 2 * RECEIPTS_AT_ONCE], 0)
    assert news.take_receipts() == ([], 0)
    news.grant(1)
    assert news.take_receipts() == (wanted[2 * RECEIPTS_AT_ONCE :], 0)


def test_a_batch_of_long_receipts_is_cut() -> None:
    news, long = News(credit=10), b"x" * (BYTES_AT_ONCE // 2)
    for data in (long, long, b"short", b"y" * BYTES_AT_ONCE * 2, b"last"):
        news.put_receipt(data)
    batches = [news.take_receipts()[0] for _ in range(4)]
    assert batches == [[long, long], [b"short", b"y" * BYTES_AT_ONCE * 2], [b"last"], []]


def test_the_newest_are_kept_and_the_others_counted() -> None:
    news = News(credit=2_000)
    for number in range(RECEIPTS_KEPT + 3):
        news.put_receipt(b"%d" % number)
    receipts, missed = news.take_receipts()
    assert (receipts[0], missed) == (b"3", 3)
    assert news.take_receipts()[1] == 0
    for number in range(NOTICES_KEPT + 2):
        news.put_notice(22, b"%d" % number)
    assert news.take_notice() == (22, b"2", 2)
    assert news.take_notice() == (22, b"3", 0)
    for _ in range(NOTICES_KEPT - 2):
        news.take_notice()
    for number in range(5):
        news.put_notice(13, b"%d" % number * (NOTICES_BYTES // 3))
    told = [news.take_notice() or (0, b"", 0) for _ in range(3)]
    assert [(data[:1], missed) for _code, data, missed in told] == [(b"2", 2), (b"3", 0), (b"4", 0)]
    assert news.take_notice() is None
    for number in range(PRESENCES_KEPT + 2):
        news.put_presence(20, b"%d" % number)
    assert news.take_presence() == (20, b"2", 2)
    assert news.take_presence() == (20, b"3", 0)


def test_without_a_credit_nothing_is_told() -> None:
    news = News(credit=0)
    news.put_presence(20, b"1")
    news.put_receipt(b"1")
    news.put_notice(22, b"1")
    assert (news.take_presence(), news.take_notice(), news.take_receipts()) == (None, None, ([], 0))
    news.grant(3)
    assert news.take_notice() == (22, b"1", 0)
    assert (news.take_presence(), news.take_receipts()) == ((20, b"1", 0), ([b"1"], 0))
