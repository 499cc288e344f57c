"""Stops the only worker that submits past its leases while the provider answers it: which tasks are linked afterwards, and
whether anything is sent that was claimed before.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.domain.states import ACTIVE, State
from orchestrator.wiring import App
from scripts.chaos.customer import Customer
from scripts.chaos.installation import Installation, installed, running_servers
from scripts.chaos.plan import VIDEO, Plan
from scripts.chaos.score import Charges
from scripts.chaos.waiting import wait_for_end
from scripts.chaos.workers import Processes

SECONDS = 300.0
LOOK_SECONDS = 0.05
LEASE_SECONDS = 8  # deadline and margin of the paid call below
FROZEN_WORKER = {"call_deadlines": "video=5s", "leases": "submit=3s", "assumed_task_life": "video=1h"}
CALLS = 4  # in flight at once, within the limit of a model


@dataclass
class Frozen:
    """What came of the rounds: tasks that the provider had answered, and where their ids are."""

    rounds: int = 0
    answered: int = 0
    linked: int = 0
    lapsed_meanwhile: int = 0
    sent_by_zombies: int = 0
    twice: int = 0
    lost: int = 0


def freeze_worker(rounds: int) -> dict[str, Any]:
    """Freeze the only worker that submits past its leases, each time with calls in flight; let it go on and count."""
    found = Frozen()
    with running_servers() as servers, installed(Plan(seed=1, jobs=0, kills=0), servers) as plain:
        place = replace(plain, settings={**plain.settings, **FROZEN_WORKER})
        hang = {"fault": "hang", "phase": "submit", "seconds": 1.0}
        place.control("PUT", "faults", [hang])
        with closing(Processes(place.environment, place.folder)) as processes, place.app() as app:
            submitting = processes.start(["worker", "--queues", "submit,poll,archive"])
            processes.start(["worker", "--queues", "sweep"])
            for _ in range(rounds):
                _freeze_once(place, app, submitting.process.pid or 0, found)
    return {"what": "worker frozen", **vars(found)}


def _freeze_once(place: Installation, app: App, pid: int, found: Frozen) -> None:
    jobs = _hand_in(place.folder, app, found.rounds)
    found.rounds += 1
    charged = {row["id"] for row in _ledger(place)}
    _wait_until(lambda: len(_new(place, charged)) >= CALLS or _count(app, jobs, State.PROCESSING) > 0)
    os.kill(pid, signal.SIGSTOP)
    try:
        claimed = {record.submission.id for job in jobs for record in app.history.list_submissions(job)}
        frozen_at = time.monotonic()
        _wait_until(
            lambda: _count(app, jobs, State.SUBMITTING) == 0 and time.monotonic() - frozen_at > LEASE_SECONDS + 1
        )
        found.lapsed_meanwhile += _count(app, jobs, State.NEEDS_REVIEW)
        answered = _new(place, charged)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for_end(app, seconds=SECONDS, meanwhile=lambda: None)
    _wait_until_quiet(app, jobs)
    rows = _new(place, charged)
    sent_before = {row["id"] for row in answered}
    found.sent_by_zombies += sum(row["request_id"] in claimed and row["id"] not in sent_before for row in rows)
    charges = Charges.read(app, rows)
    unlinked = {task for _, task in charges.find_unlinked()}
    found.answered += len(answered)
    found.linked += sum(row["id"] not in unlinked for row in answered)
    found.twice += charges.count_twice()
    found.lost += sum(app.history.get_job(job).state in ACTIVE for job in jobs)


def _hand_in(folder: Path, app: App, number: int) -> list[str]:
    lines = [
        {"custom_id": f"r{number}-{n}", "kind": "video", "body": {**VIDEO["body"], "prompt": f"kite {number}-{n}"}}  # type: ignore[dict-item]
        for n in range(CALLS)
    ]
    path = folder / f"frozen-{number}"
    path.mkdir()
    customer = Customer(app, path, lines, 0)
    customer.start().join()
    return sorted(customer.accepted)


def _ledger(place: Installation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = place.control("GET", "ledger")["data"]
    return rows


def _new(place: Installation, known: set[Any]) -> list[dict[str, Any]]:
    return [row for row in _ledger(place) if row["id"] not in known and row["charged"]]


def _count(app: App, jobs: list[str], state: State) -> int:
    return sum(app.history.get_job(job).state is state for job in jobs)


def _wait_until_quiet(app: App, jobs: list[str]) -> None:
    """Late answers come in after the rest: give held jobs the time that theirs may take, and no longer."""
    ends_at = time.monotonic() + 10
    while _count(app, jobs, State.NEEDS_REVIEW) and time.monotonic() < ends_at:
        time.sleep(LOOK_SECONDS)
    wait_for_end(app, seconds=SECONDS, meanwhile=lambda: None)


def _wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError("it did not come to pass")
        time.sleep(LOOK_SECONDS)
