"""How long the console's first page and `/metrics` take with a million jobs, beside ten thousand of them.

    python -m bench.console [--jobs 1000000] [--beside 10000] [--repeat 40]

PostgreSQL, the tables and indexes of the migrations, the rows of `bench.history` ending today, each with its submission.
Timed is what the server does for one request, from the request to the whole answer, by an application in this process whose
looks are never served from its few seconds of cache: what the first of all who look would wait. The parts refresh alone
(`/console/overview/live`), so both are timed. The two databases are asked in turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import psycopg
from starlette.testclient import TestClient

from bench.history import PAGE, fill, time_in_turns
from bench.results import Figure, emit, percentile
from orchestrator.api import Desk, create_app
from orchestrator.config import load_settings
from orchestrator.domain.access import Role
from orchestrator.domain.ports import LaneName
from orchestrator.services.access import create_key
from orchestrator.wiring import open_app
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

SERVER_KEY = b"for a benchmark on loopback, thirty-two characters"
ORIGIN = {"Origin": "http://testserver"}
PATHS = {"console overview": "/console/", "its figures alone": "/console/overview/live", "/metrics": "/metrics"}
AIMS = {"console overview": "under 200 ms"}
SUBMISSIONS = (
    """INSERT INTO submissions (id, job_id, number, origin, process, credential, kind, model, fair_key, body_sha256,
    price_micros, price_currency, price_version, intent_at, assumed_life_until, slot_released_at, moment, sent_at,
    answered_at, verdict, verdict_at, task_id, final_at, final_answer)
    SELECT 'sub_' || substr(id, 5), id, 1, 'ours', 'bench', credential, kind, model, fair_key, body_sha256, price_micros,
    price_currency, price_version, created_at, created_at + interval '1 day', finished_at, 'answered', submitted_at,
    submitted_at, CASE WHEN state = 'needs_review' THEN 'unknown' ELSE 'accepted' END, submitted_at,
    CASE WHEN state <> 'needs_review' THEN 't' || id END, finished_at,
    CASE WHEN finished_at IS NOT NULL THEN CASE WHEN state = 'failed' THEN 'FAIL' ELSE 'SUCCESS' END END
    FROM jobs WHERE state <> 'queued'""",
    "VACUUM ANALYZE submissions",
)


class Silent:
    """Nobody works here: nobody is woken."""

    def wake(self, lane: LaneName) -> None:
        """Do nothing."""


def add_submissions(url: str) -> None:
    """Give every job that is not queued its paid call."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in SUBMISSIONS:
            connection.execute(statement.encode())


def open_visit(stack: ExitStack, url: str) -> Callable[[str], None]:
    """Open an application on a database and log in; return what visits a path with nothing cached."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    settings = load_settings({"data_dir": folder, "database_url": url, "secret_key": SERVER_KEY.decode()})
    app = stack.enter_context(open_app(settings))
    made = create_key(app.keys, name="bench", role=Role.ADMIN, server_key=SERVER_KEY, rng=app.rng, actor="bench")
    api = create_app(Desk(app=app, server_key=SERVER_KEY, wakeup=Silent(), environment="bench"), version="0")
    client = stack.enter_context(TestClient(api, headers={"Authorization": f"Bearer {made[1]}"}))
    client.post("/console/login", data={"key": made[1]}, headers=ORIGIN)
    console = next(route.app for route in api.routes if getattr(route, "name", "") == "console")  # type: ignore[attr-defined]

    def visit(path: str) -> None:
        console.state.overview.forget()
        api.state.figures.forget()
        answer = client.get(path)
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")

    return visit


def run(server: PostgresServer, count: int, beside: int, repeat: int) -> None:
    """Fill two databases and visit each path on both in turns."""
    with ExitStack() as stack:
        visits = []
        for number in (count, beside):
            server.execute(f"CREATE DATABASE console_{number}")
            url = server.url(f"console_{number}")
            fill(url, number, ends=datetime.now(UTC))
            add_submissions(url)
            visits.append(open_visit(stack, url))
        many, few = visits
        for what, path in PATHS.items():
            mine, small = time_in_turns(repeat, partial(many, path), partial(few, path))
            p95, small_p95 = percentile(mine, 0.95), percentile(small, 0.95)
            note = f"{count:,} jobs; medians {median(mine):.1f} and {median(small):.1f} ms"
            beside_what = f"{beside:,} jobs"
            emit(Figure(what, "ms p95", p95, small_p95, beside_what, p95 / small_p95, AIMS.get(what, ""), note))


def main() -> None:
    """Parse options, start a server, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--beside", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=40)
    options = parser.parse_args()
    with running_server(*choose_binaries()) as server:
        run(server, options.jobs, max(options.beside, PAGE), options.repeat)


if __name__ == "__main__":
    main()
