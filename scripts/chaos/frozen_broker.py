"""Accepts jobs over the HTTP API while the broker stands still: how long each takes, and what is lost."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.config import load_settings
from orchestrator.domain.access import Role
from orchestrator.domain.query import Filter
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.access import create_key
from orchestrator.wiring import App, read_secret_key
from scripts.chaos.installation import Installation, installed, running_servers
from scripts.chaos.plan import IMAGE, Plan
from scripts.chaos.score import Charges
from scripts.chaos.waiting import wait_for_end
from scripts.chaos.workers import Processes
from tests.fixtures.brokers import Valkey, free_port

SECONDS = 300.0
LOOK_SECONDS = 0.05
SECRET_KEY = "for a measurement on loopback, thirty-two characters"  # noqa: S105


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
        with closing(Processes(place.environment, place.folder)) as processes, place.app() as app:
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
