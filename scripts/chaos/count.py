"""Counts a round, and does with held jobs what a person would: attach the task that stands in the provider's books."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.states import State
from orchestrator.services.lifecycle import attach_task
from scripts.chaos.customer import Customer
from scripts.chaos.installation import Installation
from scripts.chaos.plan import Plan
from scripts.chaos.score import Charges, Row, Score, count_findings, count_lost, count_orphans

ACTOR = "chaos"


@dataclass
class Counts:
    """What was really done, as against planned."""

    kills: int = 0
    flushes: int = 0
    broker_restarts: int = 0
    database_crashes: int = 0


def count_round(
    mode: str,
    plan: Plan,
    installation: Installation,
    customer: Customer,
    counts: Counts,
    *,
    began: float,
    settle: Callable[[], None],
) -> Score:
    """Return the score. `settle` lets the jobs that were attached come to their end."""
    app = customer.app
    ended = _states(customer)
    held = {job for job, state in ended.items() if state is State.NEEDS_REVIEW}
    attached = _attach(installation, customer, held)
    settle()
    states = _states(customer)
    still_held = {job for job, state in states.items() if state is State.NEEDS_REVIEW}
    rows = _ledger(installation)
    charges = Charges.read(app, rows)
    by_state: dict[str, int] = {}
    for state in states.values():
        by_state[str(state)] = by_state.get(str(state), 0) + 1
    high = max(installation.control("GET", "stats")["in_flight_high_water"].values(), default=0)
    findings = dict(count_findings(app, rows))
    stray_objects = findings.pop("object_orphaned", 0)
    return Score(
        mode=mode,
        seed=plan.seed,
        jobs=len(customer.accepted),
        states=by_state,
        held=len(held),
        attached=sum(states[job] is State.SUCCEEDED for job in attached),
        lost=count_lost(customer.accepted, states) + max(plan.jobs - len(customer.accepted), 0),
        twice=charges.count_twice(),
        orphans=count_orphans(charges.find_unlinked(), still_held),
        above_limit=max(int(high) - plan.limit, 0),
        findings=findings,
        stray_objects=stray_objects,
        failures=_count_failures(customer),
        kills=counts.kills,
        flushes=counts.flushes,
        broker_restarts=counts.broker_restarts,
        database_crashes=counts.database_crashes,
        seconds=round(time.monotonic() - began, 1),
    )


def _states(customer: Customer) -> dict[str, State]:
    history = customer.app.history
    return {job.id: job.state for batch in customer.batches for job in history.iter_members(batch)}


def _count_failures(customer: Customer) -> dict[str, int]:
    members = (job for batch in customer.batches for job in customer.app.history.iter_members(batch))
    return dict(Counter(job.failure_code or "" for job in members if job.state is State.FAILED))


def _ledger(installation: Installation) -> list[Row]:
    rows: list[Row] = installation.control("GET", "ledger")["data"]
    return rows


def _attach(installation: Installation, customer: Customer, held: set[str]) -> list[str]:
    """Attach to held jobs the tasks that the ledger names for them; return those jobs."""
    app, attached = customer.app, []
    charges = Charges.read(app, [row for row in _ledger(installation) if row["route"] != "sync"])
    for job, task in charges.find_unlinked():
        if job in held and job is not None:
            attach_task(
                app.jobs, job, task, kinds=app.kinds, rules=app.rules, rng=app.rng, actor=ACTOR, reason="ledger"
            )
            attached.append(job)
    return attached
