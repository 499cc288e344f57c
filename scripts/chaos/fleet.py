"""A round on a fleet: workers killed, broker flushed and restarted, PostgreSQL crashed, all at random moments."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from scripts.chaos.count import Counts, count_round
from scripts.chaos.customer import Customer
from scripts.chaos.installation import Installation, Servers, installed
from scripts.chaos.plan import Plan
from scripts.chaos.score import Score
from scripts.chaos.waiting import count_active, wait_for_end
from scripts.chaos.workers import Processes

LOOK_SECONDS = 0.05
BROKER_AWAY_SECONDS = 1.0


@dataclass
class Breaker:
    """Breaks things when their random time has come. It touches nothing that this run has not started."""

    plan: Plan
    servers: Servers
    workers: Processes
    rng: Random
    counts: Counts = field(default_factory=Counts)
    _next: dict[str, float] = field(default_factory=dict)

    def keep_staffed(self) -> None:
        """Replace those who died, by us or by themselves (a worker that starts while PostgreSQL is away gives up)."""
        self.workers.bury_dead()
        while len(self.workers.running) < self.plan.workers:
            self.workers.start(["worker", "--queues", "submit,poll,archive,sweep"])

    def run(self, *, is_over: Callable[[], bool]) -> None:
        """Break until everything planned is broken, time is up, or nothing is left to be broken."""
        began = time.monotonic()
        while not self._is_spent() and not is_over() and time.monotonic() - began < self.plan.longest:
            self.keep_staffed()
            self._break_due()
            time.sleep(LOOK_SECONDS)

    def _is_spent(self) -> bool:
        counts, plan = self.counts, self.plan
        return counts.kills >= plan.kills and self._outages_left() == 0

    def _outages_left(self) -> int:
        counts, plan = self.counts, self.plan
        return plan.broker_restarts - counts.broker_restarts + plan.database_crashes - counts.database_crashes

    def _break_due(self) -> None:
        plan, counts = self.plan, self.counts
        outage_every = plan.kills * plan.kill_every / (plan.broker_restarts + plan.database_crashes + 1)
        if counts.kills < plan.kills and self._is_due("kill", plan.kill_every):
            self.workers.kill(self.rng.choice(self.workers.running))
            counts.kills += 1
        if self._is_due("flush", plan.flush_every):
            self.servers.valkey.client.flushall()
            counts.flushes += 1
        if self._outages_left() and self._is_due("outage", outage_every):
            self._cause_outage()

    def _cause_outage(self) -> None:
        plan, counts = self.plan, self.counts
        crashes, restarts = (
            plan.database_crashes - counts.database_crashes,
            plan.broker_restarts - counts.broker_restarts,
        )
        if self.rng.random() < crashes / (crashes + restarts):
            self.servers.postgres.stop(signal.SIGQUIT)  # what `pg_ctl stop -m immediate` does
            self.servers.postgres.start()
            counts.database_crashes += 1
        else:
            self.servers.valkey.stop()
            time.sleep(BROKER_AWAY_SECONDS)
            self.servers.valkey.start()
            counts.broker_restarts += 1

    def _is_due(self, what: str, mean: float) -> bool:
        now = time.monotonic()
        due = self._next.setdefault(what, now + mean * self.rng.uniform(0.2, 1.8))
        if now < due:
            return False
        self._next[what] = now + mean * self.rng.uniform(0.2, 1.8)
        return True


def run_fleet(plan: Plan, servers: Servers) -> Score:
    """Run one round and count what is left."""
    began = time.monotonic()
    with installed(plan, servers) as installation, installation.app() as app:
        workers = Processes(installation.environment, installation.folder)
        breaker = Breaker(plan, servers, workers, Random(plan.seed))  # noqa: S311 - a seed that replays is the point
        customer = Customer(app, installation.folder, plan.lines(), _pause(plan))
        try:
            thread = customer.start()
            breaker.run(is_over=lambda: customer.is_done.is_set() and count_active(app) == 0)
            while thread.is_alive():
                breaker.keep_staffed()
                thread.join(LOOK_SECONDS)
            wait_for_end(app, seconds=plan.give_up_after, meanwhile=breaker.keep_staffed)
            return _count(plan, installation, customer, breaker, began)
        finally:
            customer.is_stopped.set()
            workers.close()


def _pause(plan: Plan) -> float:
    """Spread the files over the first three quarters of the breaking, so that there is work for all of it."""
    return 0.75 * plan.kills * plan.kill_every / max(plan.jobs / 20, 1)


def _count(plan: Plan, installation: Installation, customer: Customer, breaker: Breaker, began: float) -> Score:
    def settle() -> None:
        wait_for_end(customer.app, seconds=plan.give_up_after, meanwhile=breaker.keep_staffed)

    return count_round("fleet", plan, installation, customer, breaker.counts, began=began, settle=settle)
