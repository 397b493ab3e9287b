"""The faults of one account that pass: how each strikes, and what ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio

from wasessionpool.testing import Phone

from .plan import Step

Strike = Callable[[Phone, Step, str], Awaitable[None]]


async def drop(phone: Phone, step: Step, _: str) -> None:
    how: Any = step.pick("reset", "end", "stream end")
    await phone.drop(reset=how == "reset", stream_end=how == "stream end")


async def stream_error(phone: Phone, step: Step, _: str) -> None:
    await phone.stream_error(step.pick(500, 503, 515, 516))


async def fail_login(phone: Phone, step: Step, _: str) -> None:
    reason = int(step.pick(400, 409, 415, 418, 500, 503))
    phone.fail_login(reason, times=1 + int(step.choice * 100) % 3)
    await phone.drop()


async def refuse(phone: Phone, step: Step, _: str) -> None:
    phone.refuse()
    await phone.drop()
    await _while_it_lasts(step)
    phone.accept()


async def silence(phone: Phone, step: Step, _: str) -> None:
    phone.silence()
    await _while_it_lasts(step)
    phone.speak()


async def withhold_acks(phone: Phone, step: Step, _: str) -> None:
    phone.withhold_acks()
    await _while_it_lasts(step)
    phone.withhold_acks(False)
    if step.choice < 0.5:
        await phone.drop()


async def delay_acks(phone: Phone, step: Step, _: str) -> None:
    phone.delay_acks(0.2 + 3 * step.choice)
    await _while_it_lasts(step)
    phone.delay_acks(0)


async def withhold_iq(phone: Phone, step: Step, _: str) -> None:
    namespace = str(step.pick("usync", "encrypt", "passive", "w:p"))
    phone.withhold_iq(namespace)
    await phone.drop()
    await _while_it_lasts(step)
    phone.withhold_iq(namespace, False)


async def fail_send(phone: Phone, step: Step, _: str) -> None:
    phone.fail_send(int(step.pick(463, 479)))


async def corrupt_messages(phone: Phone, step: Step, _: str) -> None:
    phone.corrupt_messages(1 + int(step.choice * 2))


async def flood(phone: Phone, step: Step, sender: str) -> None:
    await phone.flood(sender, 2_000)


async def mute(phone: Phone, step: Step, _: str) -> None:
    await phone.send_unknown_receipt(str(step.pick("server-error", "enc_rekey_retry")))


STRIKES: Final[Mapping[str, Strike]] = {
    strike.__name__: strike
    for strike in (
        drop,
        stream_error,
        fail_login,
        refuse,
        silence,
        withhold_acks,
        delay_acks,
        withhold_iq,
        fail_send,
        corrupt_messages,
        flood,
        mute,
    )
}


async def _while_it_lasts(step: Step) -> None:
    await anyio.sleep(step.seconds or 0)
