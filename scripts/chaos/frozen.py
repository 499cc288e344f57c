"""Freezes what a fleet rests on, and measures: `python -m scripts.chaos.frozen broker`, `... worker --rounds 20`.

broker: jobs are accepted over the HTTP API while the broker stands still (SIGSTOP); how long each takes, and what is lost.
worker: the only one that submits stands still past its leases while the provider answers it; after SIGCONT, which of the
answered tasks are linked, and whether anything is sent that was claimed before. One line of JSON each.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.config import load_settings
from orchestrator.domain.access import Role
from orchestrator.domain.query import Filter
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.access import create_key
from orchestrator.wiring import App, read_secret_key
from scripts.chaos.customer import Customer
from scripts.chaos.installation import Installation, installed, running_servers
from scripts.chaos.plan import IMAGE, VIDEO, Plan
from scripts.chaos.score import Charges
from scripts.chaos.waiting import wait_for_end
from scripts.chaos.workers import Processes
from tests.fixtures.brokers import Valkey, free_port

SECONDS = 300.0
LOOK_SECONDS = 0.05
SECRET_KEY = "for a measurement on loopback, thirty-two characters"  # noqa: S105
LEASE_SECONDS = 8  # deadline and margin of the paid call below
FROZEN_WORKER = {"call_deadlines": "video=5s", "leases": "submit=3s", "assumed_task_life": "video=1h"}
CALLS = 4  # in flight at once, within the limit of a model


def main() -> None:
    """Measure one of the two and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("broker", "worker"))
    parser.add_argument("--seconds", type=float, default=60, help="that the broker stands still")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two jobs")
    parser.add_argument("--rounds", type=int, default=10, help="how often the worker is frozen")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    found = freeze_broker(given.seconds, given.every) if given.what == "broker" else freeze_worker(given.rounds)
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    command = f"python -m scripts.chaos.frozen {' '.join(sys.argv[1:])}"
    line = {**found, "load": os.getloadavg()[0], "commit": described.stdout.strip() or "unknown", "command": command}
    sys.stdout.write(json.dumps(line, sort_keys=True) + "\n")


@dataclass
class Api:
    """One caller of the HTTP API, on one connection that stays open."""

    port: int
    key: str
    accepted: list[str]

    def accept(self, connection: http.client.HTTPConnection) -> float:
        """Hand one job in; return the seconds until it was accepted."""
        body = json.dumps({"kind": "image", "body": {**IMAGE["body"], "prompt": f"kite {len(self.accepted)}"}})  # type: ignore[dict-item]
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        began = time.perf_counter()
        connection.request("POST", "/v1/jobs", body, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        took = time.perf_counter() - began
        if answer.status != http.client.ACCEPTED:
            raise RuntimeError(f"{answer.status}: {said}")
        self.accepted.append(said["id"])
        return took

    def accept_for(self, seconds: float, every: float) -> list[float]:
        """Hand jobs in for so long."""
        took, ends_at = [], time.monotonic() + seconds
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            while time.monotonic() < ends_at:
                took.append(self.accept(connection))
                time.sleep(every)
        return took


def freeze_broker(seconds: float, every: float) -> dict[str, Any]:
    """Accept jobs for a while as it should be, then while the broker stands still; then let everything end."""
    with running_servers() as servers, installed(Plan(seed=1, jobs=0, kills=0), servers) as plain:
        place = replace(plain, settings={**plain.settings, "secret_key": SECRET_KEY, "limits": "*=20"})
        place.control("PUT", "faults", [])
        with _running(place) as processes, place.app() as app:
            api = Api(free_port(), _make_key(place, app), [])
            for _ in range(2):
                processes.start(["worker", "--queues", "submit,poll,archive,sweep"])
            processes.start(["serve", "--port", str(api.port)])
            _wait_for_api(api)
            before = api.accept_for(seconds / 3, every)
            with _standing_still(servers.valkey):
                during = api.accept_for(seconds, every)
            thawed = time.monotonic()
            wait_for_end(app, seconds=SECONDS, meanwhile=lambda: None)
            states = {job.id: job.state for job in app.history.iter_jobs(Filter())}
            charges = Charges.read(app, place.control("GET", "ledger")["data"])
            return {
                "what": "broker frozen",
                "seconds": seconds,
                "before": _spread(before),
                "frozen": _spread(during),
                "accepted": len(api.accepted),
                "lost": sum(job not in states or states[job] in ACTIVE for job in api.accepted),
                "twice": charges.count_twice(),
                "held": sum(state is State.NEEDS_REVIEW for state in states.values()),
                "succeeded": sum(state is State.SUCCEEDED for state in states.values()),
                "seconds_to_the_end": round(time.monotonic() - thawed, 1),
            }


@contextmanager
def _running(place: Installation) -> Iterator[Processes]:
    processes = Processes(place.environment, place.folder)
    try:
        yield processes
    finally:
        processes.close()


@contextmanager
def _standing_still(valkey: Valkey) -> Iterator[None]:
    valkey.freeze()
    try:
        yield
    finally:
        valkey.thaw()


def _make_key(place: Installation, app: App) -> str:
    server_key = read_secret_key(load_settings(dict(place.settings))).encode()
    _, text = create_key(app.keys, name="chaos", role=Role.SUBMIT, server_key=server_key, rng=app.rng, actor="chaos")
    return text


def _wait_for_api(api: Api) -> None:
    give_up_at = time.monotonic() + SECONDS
    while True:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=SECONDS)) as connection:
                api.accept(connection)
                return
        except ConnectionError:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(LOOK_SECONDS)


def _spread(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    at = {"p50": 0.5, "p99": 0.99, "worst": 1.0}
    return {"jobs": len(ordered)} | {
        name: round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 1) for name, share in at.items()
    }


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
        with _running(place) as processes, place.app() as app:
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


def _wait_until(condition: Any) -> None:  # noqa: ANN401 - any question
    give_up_at = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError("it did not come to pass")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
