"""One run: an application, the WhatsApp that it speaks to, traffic both ways, and everything that goes wrong."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
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
from .remote import Gone, RemoteApplication, spawn
from .strikes import STRIKES

SETTLE = 90.0
"""Seconds within which everything is in order once nothing goes wrong any more."""
SOON = 25.0
LEAVE = 30.0
CALM = 2.0
QUIET = 8.0
"""Seconds of quiet after which a session must still be where it has to be, and is forgiven what its workers died of."""
STABLE = 4.0
"""Seconds without a change after which what the application holds is taken to be all: a spare worker has ended."""
JUDGE_MEMORY = 600.0
"""The length of a run from which on the application's memory is judged, and not only told."""
MOST_GROWTH = 0.01
SAMPLE = 2.0

logger = logging.getLogger("tests.chaos")


@dataclass(frozen=True)
class Options:
    """What a run is made of; the rest is random, and the same for the same seed."""

    seed: int
    minutes: float = 10.0
    sessions: int = 20
    pause: float = 1.0
    """Seconds between two messages of a session, each way."""


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
    """Owns the server, starts and ends the application, and strikes."""

    def __init__(self, options: Options, whatsapp: WhatsAppServer, folder: Path, tasks: TaskGroup) -> None:
        self._options = options
        self._whatsapp = whatsapp
        self._folder = folder
        self._tasks = tasks
        self._application: RemoteApplication | None = None
        self._runs = 0
        self._calm = anyio.Lock()
        """Held by what concerns everybody, so that no session's end is lost in a reset of its line."""
        self._counts: Counter[str] = Counter()
        self._samples: list[tuple[float, int]] = []
        self._workers: set[int] = set()
        self._received = verdict.Received(folder / "incoming")
        self.outcome = Outcome()
        self.companies = [self._company(number) for number in range(options.sessions)]
        self._by_id = {company.id: company for company in self.companies}

    def _company(self, number: int) -> Company:
        phone = self._whatsapp.phone(f"7968{number:07}")
        return Company(f"company-{number}", phone, self._whatsapp.contact(f"7900{number:07}"))

    async def run(self) -> None:
        """Start, strike, let it settle, and judge."""
        options = self._options
        duration = options.minutes * 60
        plan = make_plan(options.seed, duration, options.sessions)
        for step in plan:
            logger.info("plan: %s", json.dumps(step.describe()))
        await self._start()
        await self._link_all()
        before = await self._footprint()
        async with anyio.create_task_group() as traffic:
            for company in self.companies:
                traffic.start_soon(self._write, company)
            traffic.start_soon(self._sample)
            await self._strike_all(plan, duration)
            await self._settle()
            traffic.cancel_scope.cancel()
        await self._finish(before)

    async def end(self) -> None:
        """Leave no process behind, whatever has happened."""
        with anyio.CancelScope(shield=True):
            if self._application is not None and not self._application.ended.is_set():
                await self._application.kill()

    # the application

    async def _start(self) -> None:
        options = self._options
        self._runs += 1
        given = {
            "seed": options.seed,
            "run": self._runs,
            "pause": options.pause,
            "contacts": {company.id: company.contact.number for company in self.companies},
            "journals": str(self._folder),
            "session_path": str(self._folder / "sessions"),
            "environment": dict(self._whatsapp.environment),
            "settings": {
                "sessions_per_worker": max(2, options.sessions // 4),
                "max_sessions": options.sessions,
            },
            "driver": {},
        }
        application = await spawn(given, self._folder / "application.log", self._heard)
        self._application = application
        self._samples.clear()
        self._tasks.start_soon(application.listen)
        self._tasks.start_soon(self._watch, application)
        await application.ready.wait()
        logger.info("application %d runs as %d", self._runs, application.pid)

    def _heard(self, line: dict[str, Any]) -> None:
        company = self._by_id[line["company_id"]]
        if (company.status, company.said_reason) != (line["status"], line["reason"]):
            logger.info("%s: %s (%s)", company.id, line["status"], line["reason"])
        company.tell(line["status"], line["reason"])

    async def _watch(self, application: RemoteApplication) -> None:
        await application.ended.wait()
        if not application.leaving:
            self._violate(f"the application ended by itself, {application.process.returncode}")

    async def _do(self, what: str, company_id: str = "") -> dict[str, Any]:
        """Have the application that runs do something; one that is started anew is asked again."""
        while True:
            application = self._application
            assert application is not None
            try:
                await application.ready.wait()
                return await application.do(what, company_id)
            except Gone:
                if not application.leaving:
                    raise
                await anyio.sleep(0.1)

    async def _shards(self) -> list[dict[str, Any]]:
        workers = (await self._do("workers"))["workers"]
        self._workers |= {worker["pid"] for worker in workers if worker["pid"]}
        return [worker for worker in workers if worker["role"] == "shard" and worker["sessions"]]

    async def _link_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for company in self.companies:
                tasks.start_soon(self._bring_up, company)

    async def _bring_up(self, company: Company) -> None:
        """Create the session until it is connected; a device that is made anew is scanned."""
        company.expected, company.reason = "connected", None
        with anyio.move_on_after(SETTLE * 2):
            while not company.up:
                answer = await self._do("create", company.id)
                if answer.get("qr"):
                    await company.unlink()
                    with suppress(PairingError, TimeoutError):
                        await company.phone.scan(answer["qr"])
                await self._until(lambda: company.up, 20)
            return
        explained = await self._do("explain", company.id)
        self._violate(f"{company.id} is {company.status} and was not brought up: {explained.get('text')}")

    # what goes on all the time

    async def _write(self, company: Company) -> None:
        chance, number = Random(f"{self._options.seed} {company.id}"), 0
        while True:
            await anyio.sleep(chance.uniform(0.5, 1.5) * self._options.pause)
            number += 1
            await company.write(number)

    async def _sample(self) -> None:
        while True:
            application = self._application
            if application is not None:
                used = footprint.memory(application.pid)
                if used is not None:
                    self._samples.append((anyio.current_time(), used))
            await anyio.sleep(SAMPLE)

    # faults

    async def _strike_all(self, plan: list[Step], duration: float) -> None:
        begun = anyio.current_time()
        async with anyio.create_task_group() as strikes:
            for step in plan:
                await anyio.sleep_until(begun + step.at)
                strikes.start_soon(self._strike, step)
            await anyio.sleep_until(begun + duration)

    async def _strike(self, step: Step) -> None:
        company = self.companies[step.session]
        try:
            if step.fault in STRIKES:
                async with company.struck:
                    self._note(step, company)
                    await STRIKES[step.fault](company.phone, step, company.contact.number)
                    company.phone.end_faults()
            elif step.fault in ("unlink", "log_out", "replace", "ban"):
                async with company.struck:
                    await self._end(step, company)
            else:
                async with self._calm:
                    self._note(step, company)
                    await getattr(self, f"_{step.fault}")(step, company)
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
        with anyio.move_on_after(SOON):
            while True:
                await self._until(partial(self._has_sent, company, len(company.contact.received)), SOON)
                await self._calm.acquire()
                if company.up:
                    return True
                self._calm.release()
        return False

    @staticmethod
    def _has_sent(company: Company, before: int) -> bool:
        return company.up and len(company.contact.received) > before

    async def _strike_down(self, step: Step, company: Company) -> tuple[str, str]:
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

    async def _drop_all(self, step: Step, _: Company) -> None:
        await self._whatsapp.drop(reset=step.choice < 0.5)

    async def _refuse_all(self, step: Step, _: Company) -> None:
        self._whatsapp.refuse(503 if step.choice < 0.5 else None)
        await self._whatsapp.drop()
        await anyio.sleep(step.seconds or 0)
        self._whatsapp.accept()

    async def _kill_worker(self, step: Step, _: Company) -> None:
        if pid := await self._victim(step):
            _signal(pid, signal.SIGKILL)

    async def _stop_worker(self, step: Step, _: Company) -> None:
        """Stop a worker for some time; one that is silent for too long is killed by the pool."""
        if pid := await self._victim(step):
            _signal(pid, signal.SIGSTOP)
            await anyio.sleep(step.seconds or 0)
            _signal(pid, signal.SIGCONT)

    async def _abort_worker(self, _: Step, company: Company) -> None:
        """Let a login failure of one session end its whole worker."""
        for worker in await self._shards():
            if company.id in worker["sessions"]:
                self._doom(worker)
        company.phone.fail_login(413)
        refused = company.phone.refused_logins
        await company.phone.drop()
        await self._until(lambda: company.phone.refused_logins > refused, SOON)

    async def _victim(self, step: Step) -> int | None:
        shards = sorted(await self._shards(), key=lambda worker: worker["pid"])
        if not shards:
            return None
        worker = shards[int(step.choice * len(shards))]
        self._doom(worker)
        pid: int = worker["pid"]
        return pid

    def _doom(self, worker: dict[str, Any]) -> None:
        logger.info("worker %d of %s is doomed", worker["pid"], ", ".join(worker["sessions"]))
        for company_id in worker["sessions"]:
            self._by_id[company_id].deaths += 1

    async def _kill_application(self, step: Step, _: Company) -> None:
        assert self._application is not None
        await self._shards()
        await self._application.kill()
        await anyio.sleep((step.seconds or 0) / 4)
        await self._start()

    async def _restart_application(self, step: Step, _: Company) -> None:
        await self._leave()
        await anyio.sleep((step.seconds or 0) / 4)
        await self._start()

    async def _outdate(self, step: Step, company: Company) -> None:
        """Refuse the client's version: the pool starts nothing any more until it is opened anew."""
        if company.up:
            company.phone.fail_login(405)
            await company.phone.drop()
            if not await company.wait_status("failed", "outdated", SOON):
                self._violate(f"outdate: {company.id} is {company.status} ({company.said_reason})")
        await self._restart_application(step, company)

    async def _leave(self) -> None:
        application = self._application
        assert application is not None
        await self._shards()
        code = await application.leave(LEAVE)
        if code != 0:
            self._violate(f"the application left its pool with {code}")
        with anyio.move_on_after(CALM):
            while any(map(footprint.alive, self._workers)):  # noqa: ASYNC110 - nobody tells of others' children
                await anyio.sleep(0.05)
        if left := sorted(filter(footprint.alive, self._workers)):
            self._violate(f"workers {left} outlived the application")

    # the end

    async def _settle(self) -> None:
        """End all faults, and wait until every session is where it has to be."""
        logger.info("quiet")
        self._whatsapp.end_faults()
        for company in self.companies:
            company.phone.end_faults()
        await self._until(lambda: all(company.as_expected for company in self.companies), SETTLE)
        await anyio.sleep(QUIET)
        for line in verdict.statuses(self.companies):
            self._violate(line)

    async def _finish(self, before: Counter[str]) -> None:
        outcome, companies = self.outcome, self.companies
        await self._pass_a_message_each_way()
        await self._do("be quiet")
        await self._link_all()
        await self._until(lambda: not self._received.missing(companies), SETTLE / 3)
        await self._gather()
        after = await self._footprint()
        for name in sorted(before.keys() | after.keys()):
            if before[name] != after[name]:
                self._violate(f"the application had {before[name]} {name} and has {after[name]}")
        metrics = (await self._do("metrics"))["metrics"]
        logger.info("metrics: %s", metrics)
        await self._leave()
        for violations in (
            verdict.two_links(companies),
            verdict.sends(companies, self._folder / "outgoing"),
            self._received.violations(companies),
        ):
            for line in violations:
                self._violate(line)
        lost = sum(map(len, self._received.missing(companies).values()))
        outcome.figures = {
            "faults": str(self._counts.total()),
            "messages sent": str(sum(len(company.contact.received) for company in companies)),
            "received": str(sum(len(company.written) for company in companies)),
            "lost with killed workers": str(lost),
            "worker deaths": str(sum(self._counts[name] for name in ("kill_worker", "stop_worker", "abort_worker"))),
            "application starts": str(self._runs),
        }
        self._judge_memory()
        logger.info("faults: %s", dict(self._counts))

    async def _pass_a_message_each_way(self) -> None:
        """See that who is said to be connected really is: something passes, both ways."""
        up = [company for company in self.companies if company.expected == "connected"]
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

        await self._until(lambda: not silent(), SOON)
        for company in silent():
            self._violate(f"{company.id} is connected, and nothing passes")

    async def _gather(self) -> None:
        """Begin all sessions anew, so that they lie on as few workers as at first."""
        for company in self.companies:
            await self._do("disconnect", company.id)
        await self._until_workers(0)
        await self._link_all()

    async def _until_workers(self, count: int) -> None:
        with anyio.move_on_after(SOON):
            while len(await self._shards()) > count:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.1)

    async def _footprint(self) -> Counter[str]:
        """Return what the application holds, once that does not change any more."""
        before, found = Counter[str](), await self._held()
        with anyio.move_on_after(SETTLE):
            while found != before:
                await anyio.sleep(STABLE)
                before, found = found, await self._held()
        logger.info("footprint: %s", found)
        return found

    async def _held(self) -> Counter[str]:
        assert self._application is not None
        pid = self._application.pid
        named: dict[str, int] = (await self._do("threads"))["threads"]
        passing = sum(count for name, count in named.items() if name.startswith("AnyIO worker"))
        workers = Counter(f"{worker['role']} workers" for worker in (await self._do("workers"))["workers"])
        return workers + footprint.descriptors(pid) + Counter(threads=footprint.threads(pid) - passing)

    def _judge_memory(self) -> None:
        samples = self._samples[len(self._samples) // 3 :]
        if len(samples) < 3:
            return
        slope = footprint.growth(samples, 600)
        self.outcome.figures["memory per 10 min"] = f"{slope:+.1%}"
        if self._options.minutes * 60 >= JUDGE_MEMORY and slope > MOST_GROWTH:
            self._violate(f"the application's memory grows by {slope:.1%} in 10 minutes")

    def _violate(self, what: str) -> None:
        logger.error("violated: %s", what)
        self.outcome.violations.append(what)

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        with anyio.move_on_after(timeout):
            while not condition():  # noqa: ASYNC110 - it looks at the server, the disk and the application's word
                await anyio.sleep(0.1)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@asynccontextmanager
async def _storm(options: Options, folder: Path) -> AsyncIterator[Storm]:
    async with WhatsAppServer(wire=folder / "wire.log") as whatsapp, anyio.create_task_group() as tasks:
        storm = Storm(options, whatsapp, folder, tasks)
        try:
            yield storm
        finally:
            await storm.end()
            tasks.cancel_scope.cancel()


async def brew(options: Options, folder: Path) -> Outcome:
    """Do one run; everything that it writes goes to the folder."""
    async with _storm(options, folder) as storm:
        await storm.run()
    return storm.outcome
