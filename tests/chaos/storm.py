"""One run: an application, the WhatsApp that it speaks to, traffic both ways, and everything that goes wrong."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup

from wasessionpool.testing import PairingError, WhatsAppServer

from . import footprint, verdict
from .company import Company
from .plan import Step, make_plan
from .remote import Gone
from .strikes import STRIKES
from .subject import SETTLE, Options, Subject
from .waiting import until

SOON = 25.0
QUIET = 8.0
"""Seconds of quiet after which a session must still be where it has to be, and is forgiven what its workers died of."""
JUDGE_MEMORY = 600.0
"""How many seconds of one process, after it has warmed up for as long, its memory is judged by, and not only told."""
MOST_GROWTH = 0.01
WORKER_DEATHS = ("kill_worker", "stop_worker", "abort_worker")

logger = logging.getLogger("tests.chaos")


@dataclass
class Outcome:
    """What came of a run: what was violated, and figures."""

    violations: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)

    def line(self, options: Options) -> str:
        figures = ", ".join(f"{value} {name}" for name, value in self.figures.items())
        head = f"seed {options.seed}, {options.minutes:g} min, {options.sessions} sessions, {figures}"
        if not self.violations:
            return f"chaos: clean, {head}"
        return f"chaos: {len(self.violations)} violations, {head}: {'; '.join(self.violations)}"


class Storm:
    """Strikes the application and the server, lets them settle, and judges."""

    def __init__(self, options: Options, whatsapp: WhatsAppServer, folder: Path, tasks: TaskGroup) -> None:
        self.outcome = Outcome()
        self._options = options
        self._whatsapp = whatsapp
        self._folder = folder
        self._companies = [
            Company(f"company-{n}", whatsapp.phone(f"7968{n:07}"), whatsapp.contact(f"7900{n:07}"))
            for n in range(options.sessions)
        ]
        self.subject = Subject(options, whatsapp, self._companies, folder, tasks, self._violate)
        self._calm = anyio.Lock()
        """Held by what concerns everybody, so that no session's end is lost in a reset of its line."""
        self._counts: Counter[str] = Counter()
        self._received = verdict.Received(folder / "incoming", folder / "wire.log")

    async def run(self) -> None:
        options = self._options
        duration = options.minutes * 60
        plan = make_plan(options.seed, duration, options.sessions, options.every)
        for step in plan:
            logger.info("plan: %s", json.dumps(step.describe()))
        await self.subject.start(talk=False)
        await self._bring_up_all()
        before = await self.subject.footprint()
        await self.subject.do("talk")
        async with anyio.create_task_group() as traffic:
            for company in self._companies:
                traffic.start_soon(self._write, company)
            traffic.start_soon(self.subject.sample)
            await self._strike_as_planned(plan, duration)
            await self._settle()
            traffic.cancel_scope.cancel()
        await self._finish(before)

    async def _write(self, company: Company) -> None:
        chance, number = Random(f"{self._options.seed} {company.id}"), 0
        while True:
            await anyio.sleep(chance.uniform(0.5, 1.5) * self._options.pause)
            number += 1
            await company.write(number)

    async def _bring_up_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for company in self._companies:
                tasks.start_soon(self._bring_up, company)

    async def _bring_up(self, company: Company) -> None:
        """Create the session until it is connected; a device that is made anew is scanned."""
        company.expected, company.reason = "connected", None
        with anyio.move_on_after(SETTLE * 3):
            while not company.up:
                answer = await self.subject.do("create", company.id)
                if answer.get("qr"):
                    await company.unlink()
                    with suppress(PairingError, TimeoutError):
                        await company.phone.scan(answer["qr"])
                await until(lambda: company.up, 20)
            return
        explained = await self.subject.do("explain", company.id)
        self._violate(f"{company.id} is {company.status} and was not brought up: {explained.get('text')}")

    async def _strike_as_planned(self, plan: list[Step], duration: float) -> None:
        begun = anyio.current_time()
        async with anyio.create_task_group() as strikes:
            for step in plan:
                await anyio.sleep_until(begun + step.at)
                strikes.start_soon(self._strike, step)
            await anyio.sleep_until(begun + duration)

    async def _strike(self, step: Step) -> None:
        company = self._companies[step.session]
        try:
            if step.fault in STRIKES:
                async with company.struck:
                    self._note(step, company)
                    await STRIKES[step.fault](company.phone, step, company.contact.number)
                    company.phone.end_faults()
            elif step.fault in ("unlink", "log_out", "replace", "ban"):
                async with company.struck:
                    await self._end(step, company)
            elif step.fault in ("abort_worker", "outdate"):
                async with company.struck, self._calm:
                    self._note(step, company)
                    await getattr(self, f"_{step.fault}")(step, company)
            else:
                async with self._calm:
                    self._note(step, company)
                    await getattr(self, f"_{step.fault}")(step)
        except (Gone, TimeoutError) as error:
            self._violate(f"{step.fault}: {error!r}")

    def _note(self, step: Step, company: Company) -> None:
        self._counts[step.fault] += 1
        logger.info("%s strikes %s (%.1f s, %.2f)", step.fault, company.id, step.seconds or 0, step.choice)

    async def _end(self, step: Step, company: Company) -> None:
        """End a session for good, or for the time of a ban, and begin it anew later, unless that is the plan."""
        if not await self._steady(company):
            logger.info("%s spares %s: it is %s", step.fault, company.id, company.status)
            return
        try:
            self._note(step, company)
            company.expected, company.reason = await self._strike_down(step, company)
            if not await company.wait_status(company.expected, company.reason, SOON):
                self._violate(
                    f"{step.fault}: {company.id} is {company.status} ({company.said_reason}), "
                    f"{company.expected} ({company.reason}) expected"
                )
        finally:
            self._calm.release()
        if step.fault == "ban":
            company.expected, company.reason = "connected", None
        elif step.seconds is not None:
            await anyio.sleep(step.seconds)
            await self._bring_up(company)

    async def _steady(self, company: Company) -> bool:
        """Wait until a session is connected and has just sent, so that nothing but what comes now can end it.

        The calm is then ours. Returns False where it does not get there.
        """

        def has_sent(before: int) -> bool:
            return company.up and len(company.contact.received) > before

        with anyio.move_on_after(SOON):
            while True:
                await until(partial(has_sent, len(company.contact.received)), SOON)
                await self._calm.acquire()
                if company.up:
                    return True
                self._calm.release()
        return False

    async def _strike_down(self, step: Step, company: Company) -> tuple[str, str]:
        """End a session in one of the ways that are final, or by a ban; return the status and the reason to come."""
        phone = company.phone
        match step.fault:
            case "unlink":
                await company.unlink()
                return "logged_out", "logged_out"
            case "log_out":
                kind = step.pick(401, 403, 406, "device_removed")
                if kind == "device_removed":
                    await phone.stream_error(kind)
                else:
                    phone.fail_login(int(kind))
                    await phone.drop()
                return "logged_out", "banned" if kind == 406 else "logged_out"
            case "replace":
                await phone.stream_error("replaced")
                return "failed", "replaced"
            case _:
                phone.fail_login(402, code="101", expire=str(2 + int(step.seconds or 0)))
                await phone.drop()
                return "restricted", "temporarily_banned"

    async def _drop_all(self, step: Step) -> None:
        await self._whatsapp.drop(reset=step.choice < 0.5)

    async def _refuse_all(self, step: Step) -> None:
        self._whatsapp.refuse(503 if step.choice < 0.5 else None)
        await self._whatsapp.drop()
        await anyio.sleep(step.seconds or 0)
        self._whatsapp.accept()

    async def _kill_worker(self, step: Step) -> None:
        if pid := await self._victim(step):
            _signal(pid, signal.SIGKILL)

    async def _stop_worker(self, step: Step) -> None:
        """Stop a worker for some time; one that is silent for too long is killed by the pool."""
        if pid := await self._victim(step):
            _signal(pid, signal.SIGSTOP)
            await anyio.sleep(step.seconds or 0)
            _signal(pid, signal.SIGCONT)

    async def _abort_worker(self, _: Step, company: Company) -> None:
        """Let a login failure of one session end its whole worker."""
        if not company.up:
            return
        for worker in await self.subject.shards():
            if company.id in worker["sessions"]:
                self._doom(worker, SOON)
        refused = company.phone.refused_logins
        company.phone.fail_login(413)
        await company.phone.drop()
        await until(lambda: company.phone.refused_logins > refused, SOON)

    async def _victim(self, step: Step) -> int | None:
        shards = sorted(await self.subject.shards(), key=lambda worker: worker["pid"])
        if not shards:
            return None
        worker = shards[int(step.choice * len(shards))]
        self._doom(worker, 1.0 + (step.seconds or 0) * (step.fault == "stop_worker"))
        pid: int = worker["pid"]
        return pid

    def _doom(self, worker: dict[str, Any], seconds: float) -> None:
        logger.info("worker %d of %s is doomed", worker["pid"], ", ".join(worker["sessions"]))
        for company in self._companies:
            if company.id in worker["sessions"]:
                company.cut_short(seconds)

    async def _kill_application(self, step: Step) -> None:
        await self.subject.kill()
        await anyio.sleep((step.seconds or 0) / 4)
        await self.subject.start()

    async def _restart_application(self, step: Step) -> None:
        await self.subject.leave()
        await anyio.sleep((step.seconds or 0) / 4)
        await self.subject.start()

    async def _outdate(self, step: Step, company: Company) -> None:
        """Refuse the client's version: the pool starts nothing any more until it is opened anew."""
        if company.up:
            company.phone.fail_login(405)
            await company.phone.drop()
            if not await company.wait_status("failed", "outdated", SOON):
                self._violate(f"outdate: {company.id} is {company.status} ({company.said_reason})")
        await self._restart_application(step)

    async def _settle(self) -> None:
        """End all faults, and wait until every session is where it has to be, and stays there."""
        logger.info("quiet")
        self._whatsapp.end_faults()
        for company in self._companies:
            company.phone.end_faults()
        await until(lambda: all(company.as_expected for company in self._companies), SETTLE)
        await anyio.sleep(QUIET)
        for line in verdict.statuses(self._companies):
            self._violate(line)

    async def _finish(self, before: Counter[str]) -> None:
        companies, subject = self._companies, self.subject
        await self._pass_a_message_each_way()
        await subject.do("be quiet")
        await self._bring_up_all()
        await self._hear_out()
        await self._gather()
        after = await subject.footprint()
        for name in sorted(before.keys() | after.keys()):
            if before[name] != after[name]:
                self._violate(f"the application had {before[name]} {name} and has {after[name]}")
        logger.info("metrics: %s", (await subject.do("metrics"))["metrics"])
        await subject.leave()
        for violations in (
            verdict.two_links(companies),
            verdict.sends(companies, self._folder / "outgoing"),
            self._received.violations(companies),
            verdict.tracebacks(self._folder / "application.log"),
        ):
            for line in violations:
                self._violate(line)
        self._count()
        self._judge_memory()

    async def _pass_a_message_each_way(self) -> None:
        """See that who is said to be connected really is: something passes, both ways."""
        up = [company for company in self._companies if company.expected == "connected"]
        before = {company: len(company.contact.received) for company in up}
        for company in up:
            await company.write(-1)
        last = {company: list(company.written)[-1] for company in up}

        def silent() -> list[Company]:
            return [
                company
                for company in up
                if len(company.contact.received) <= before[company] or last[company] in company.untaken()
            ]

        await until(lambda: not silent(), SOON)
        for company in silent():
            self._violate(f"{company.id} is connected, and nothing passes")

    async def _hear_out(self) -> None:
        """Wait for what still lies in inboxes, as long as it gets less: handlers that fail are called again later."""
        while before := self._missing():
            if not await until(lambda: self._missing() < before, SETTLE / 3, every=1.0):
                return

    def _missing(self) -> int:
        return sum(map(len, self._received.missing(self._companies).values()))

    async def _gather(self) -> None:
        """Begin all sessions anew once their workers have ended, so that they lie on as few as at first."""
        for company in self._companies:
            await self.subject.do("disconnect", company.id)
        with anyio.move_on_after(SOON):
            while (await self.subject.do("workers"))["workers"]:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.1)
        await self._bring_up_all()

    def _count(self) -> None:
        companies = self._companies
        lost = self._missing()
        self.outcome.figures = {
            "faults": str(self._counts.total()),
            "messages sent": str(sum(len(company.contact.received) for company in companies)),
            "received": str(sum(len(company.written) for company in companies)),
            "lost": str(lost),
            "worker deaths": str(sum(self._counts[name] for name in WORKER_DEATHS)),
            "application starts": str(self.subject.starts),
        }
        logger.info("faults: %s", dict(self._counts))

    def _judge_memory(self) -> None:
        samples = self.subject.samples[len(self.subject.samples) // 2 :]
        if len(samples) < 3:
            return
        logger.info("memory: %s", [used for _, used in self.subject.samples])
        slope = footprint.growth(samples, 600)
        self.outcome.figures["memory per 10 min"] = f"{slope:+.1%}"
        if samples[-1][0] - samples[0][0] >= JUDGE_MEMORY and slope > MOST_GROWTH:
            self._violate(f"the application's memory grows by {slope:.1%} in 10 minutes")

    def _violate(self, what: str) -> None:
        logger.error("violated: %s", what)
        self.outcome.violations.append(what)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, level = logging.getLogger(), logger.level
    logger.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        root.removeHandler(handler)
        handler.close()


async def brew(options: Options, folder: Path) -> Outcome:
    """Do one run; everything that it writes goes to the folder: the plan, and what was done and seen, to chaos.log."""
    with _logged(folder / "chaos.log"):
        return await _brew(options, folder)


async def _brew(options: Options, folder: Path) -> Outcome:
    async with WhatsAppServer(wire=folder / "wire.log") as whatsapp, anyio.create_task_group() as tasks:
        storm = Storm(options, whatsapp, folder, tasks)
        try:
            await storm.run()
        finally:
            with anyio.CancelScope(shield=True):
                await storm.subject.end()
            tasks.cancel_scope.cancel()
    return storm.outcome
