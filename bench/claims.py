"""How long a claim takes behind a long history, with dead rows that no vacuum may remove.

    python -m bench.claims [--finished 1000000] [--churn-seconds 30]

A million finished, 50,000 queued and 20,000 running jobs on PostgreSQL; a REPEATABLE READ transaction is opened and left
idle before the churn, so that every row version that claims, renewals and writes leave behind stays. Claims are of a
handful of rows and are measured before and after the churn. Submit claims are not answered here: each finds five more
jobs in `submitting` than the one before, so theirs is an upper figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from random import Random

import psycopg

from bench.jobs import analyze, copy_jobs, insert_template
from bench.measure import percentile, print_json, print_table
from orchestrator.clock import SystemClock
from orchestrator.db.engine import open_database
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.migrate import upgrade
from orchestrator.domain.decide import decide
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import StillRunning
from orchestrator.domain.ports import HeldPoll, LaneName, SubmitWindow
from orchestrator.domain.retry import Rules
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

LEASE = timedelta(seconds=60)
HANDFUL = 5
QUEUED, PROCESSING = 50_000, 20_000
CLAIMS = 200
SPREAD_SECONDS = 20.0
RULES, RNG = Rules(), Random(7)


@contextmanager
def pinned_snapshot(server: PostgresServer, database: str) -> Iterator[None]:
    """Hold an idle transaction whose snapshot keeps every later dead row from being removed."""
    with psycopg.connect(server.url(database).replace("+psycopg", "")) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM batches")
        yield


def claim_polls(jobs: SqlJobs, limit: int) -> tuple[Job, ...]:
    """Claim as the poll lane does."""
    return jobs.claim_due(LaneName.POLL, limit=limit, lease=LEASE, process="bench").rows


def claim_submissions(jobs: SqlJobs) -> None:
    """Claim as the submit lane does; the slots are never the limit."""
    window = SubmitWindow(
        limit=HANDFUL, slots={"*": 1_000_000}, deadlines={"video": LEASE}, task_lives={"video": LEASE},
        margin=LEASE, process="bench",
    )  # fmt: skip
    jobs.claim_submissions(window)


def measure(name: str, claim: Callable[[], object]) -> dict[str, object]:
    """Return milliseconds of many claims."""
    times = []
    for _ in range(CLAIMS):
        begun = time.perf_counter()
        claim()
        times.append((time.perf_counter() - begun) * 1000)
    return {"claim": name, "p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99), "max_ms": max(times)}


def churn(jobs: SqlJobs, seconds: float) -> int:
    """Claim, renew and write polls as a busy fleet does; return how many row versions died."""
    until, dead = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        rows = claim_polls(jobs, 500)
        if not rows:
            time.sleep(0.2)
            continue
        jobs.renew_polls([HeldPoll(job.id, job.lease_token or "") for job in rows], lease=LEASE)
        now = SystemClock().now()
        jobs.apply([(job, decide(job, StillRunning("PROCESSING"), RULES, now, RNG)) for job in rows])
        dead += 3 * len(rows)
    return dead


def run(server: PostgresServer, finished: int, churn_seconds: float) -> list[dict[str, object]]:
    """Fill the table, then measure around the churn."""
    server.execute("CREATE DATABASE claims")
    url = server.url("claims")
    upgrade(url)
    template = insert_template(url)
    copy_jobs(url, template, "succeeded", finished, spread_seconds=0)
    copy_jobs(url, template, "queued", QUEUED, spread_seconds=0)
    copy_jobs(url, template, "processing", PROCESSING, spread_seconds=SPREAD_SECONDS)
    analyze(url)
    rows: list[dict[str, object]] = []
    with closing(open_database(url, clock=SystemClock())) as database, pinned_snapshot(server, "claims"):
        jobs = SqlJobs(database)

        def measure_both(moment: str, dead: int) -> None:
            for name, claim in (
                ("poll", lambda: claim_polls(jobs, HANDFUL)),
                ("submit", lambda: claim_submissions(jobs)),
            ):
                rows.append({"moment": moment, "dead_versions": dead, **measure(name, claim)})

        measure_both("before", 0)
        dead = churn(jobs, churn_seconds)
        measure_both("after", dead)
    return rows


def main() -> None:
    """Print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--churn-seconds", type=float, default=30.0)
    options = parser.parse_args()
    with running_server(*choose_binaries()) as server:
        rows = run(server, options.finished, options.churn_seconds)
    print_table(rows)
    print_json("claims", {"finished": options.finished, "rows": rows})


if __name__ == "__main__":
    main()
