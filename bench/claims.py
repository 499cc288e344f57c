"""How long a claim takes behind a long history, with dead rows that no vacuum may remove.

    python -m bench.claims [--finished 1000000] [--churn-seconds 65] [--held 50]

A million finished, 50,000 queued and 20,000 running jobs on PostgreSQL, each finished or running one with its
submission; a REPEATABLE READ transaction is opened and left idle before the churn, so that every row version that
claims, renewals and writes leave behind stays. The churn outlasts a lease: what it left lies where claims look. Claims
are of a handful of rows, measured before and after. Of the submissions that a submit claim made, all but the newest
`--held` are answered between two measured claims, not in them: what stands in flight stays the same.

Besides wall time, the CPU time that this process and the database's took for a claim: other work on the machine hardly
shows in that.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import psycopg
from sqlalchemy import text

from bench.jobs import add_submissions, analyze, copy_jobs, insert_template
from bench.measure import percentile, print_json, print_table
from bench.results import Figure, emit
from orchestrator.clock import SystemClock
from orchestrator.db.engine import Database, open_database
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.migrate import upgrade
from orchestrator.domain.decide import Evidence, decide
from orchestrator.domain.decide.late import settle
from orchestrator.domain.job import Job, Verdict
from orchestrator.domain.outcomes import CallEvidence, Moment, Rejected, StillRunning
from orchestrator.domain.ports import ClaimedSubmission, EvidenceReport, HeldPoll, LaneName, SubmitWindow
from orchestrator.domain.retry import Rules
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

LEASE = timedelta(seconds=60)
HANDFUL = 5
QUEUED, PROCESSING = 50_000, 20_000
CLAIMS = 400
SPREAD_SECONDS = 20.0
SUBMITS_PER_CHURN = 25
RULES, RNG = Rules(), Random(7)
REFUSED = Rejected("1210", "no such parameter")
SHARED_BUFFERS = "1GB"  # the rows lie in memory, as a busy server's do


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


@dataclass
class Submits:
    """Submit claims whose calls are answered once `held` newer ones are in flight. The slots are never the limit."""

    jobs: SqlJobs
    held: int
    in_flight: deque[ClaimedSubmission] = field(default_factory=deque)

    def claim(self, limit: int = HANDFUL) -> None:
        """Claim as the submit lane does."""
        window = SubmitWindow(
            limit=limit, slots={"*": 1_000_000}, deadlines={"video": LEASE}, task_lives={"video": timedelta(days=1)},
            margin=LEASE, process="bench",
        )  # fmt: skip
        self.in_flight += self.jobs.claim_submissions(window).rows

    def answer(self) -> None:
        """Refuse what is too many: the slot is free and the job at its end."""
        reports = []
        while len(self.in_flight) > self.held:
            reports.append(_report(self.in_flight.popleft()))
        if reports:
            self.jobs.apply_reports(reports)


def _report(row: ClaimedSubmission) -> EvidenceReport:
    evidence, about = CallEvidence(Moment.ANSWERED, http_status=400), Evidence(row.submission.id, REFUSED)
    return EvidenceReport(
        row.submission.id, evidence, REFUSED, Verdict.REJECTED, row.job.lease_token,
        lambda job, now: settle(job, about, RULES, now, RNG),
    )  # fmt: skip


class Cpu:
    """CPU time of this thread and of the one connection that it uses."""

    def __init__(self, database: Database) -> None:
        pid = database.read(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one())
        self._server = Path(f"/proc/{pid}/schedstat")

    def milliseconds(self) -> float:
        """Return what both have used so far."""
        return time.thread_time() * 1000 + int(self._server.read_text().split()[0]) / 1e6


def measure(
    claim: Callable[[], object], cpu: Cpu, *, between: Callable[[], object] = lambda: None, count: int = CLAIMS
) -> dict[str, object]:
    """Return milliseconds of many claims; what happens between two of them is not counted."""
    wall, used = [], []
    for _ in range(count):
        spent, begun = cpu.milliseconds(), time.perf_counter()
        claim()
        wall.append((time.perf_counter() - begun) * 1000)
        used.append(cpu.milliseconds() - spent)
        between()
    return {
        "p50_ms": percentile(wall, 0.5), "p99_ms": percentile(wall, 0.99), "max_ms": max(wall),
        "cpu_p50_ms": percentile(used, 0.5), "cpu_p99_ms": percentile(used, 0.99),
    }  # fmt: skip


def churn(jobs: SqlJobs, submits: Submits, seconds: float) -> int:
    """Claim, renew and write polls and submissions as a busy fleet does; return how many row versions died."""
    until, dead = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        rows = claim_polls(jobs, 500)
        if not rows:
            time.sleep(0.2)
            continue
        jobs.renew_polls([HeldPoll(job.id, job.lease_token or "") for job in rows], lease=LEASE)
        now = SystemClock().now()
        jobs.apply([(job, decide(job, StillRunning("PROCESSING"), RULES, now, RNG)) for job in rows])
        submits.claim(SUBMITS_PER_CHURN)
        submits.answer()
        dead += 3 * len(rows) + 4 * SUBMITS_PER_CHURN  # of a submission two of the job and two of its own
    return dead


def fill(url: str, finished: int) -> None:
    """Make the rows."""
    upgrade(url)
    template = insert_template(url)
    copy_jobs(url, template, "succeeded", finished, spread_seconds=0)
    copy_jobs(url, template, "queued", QUEUED, spread_seconds=0)
    copy_jobs(url, template, "processing", PROCESSING, spread_seconds=SPREAD_SECONDS)
    add_submissions(url, "succeeded")
    analyze(url)


def run(server: PostgresServer, finished: int, churn_seconds: float, held: int) -> Iterator[dict[str, object]]:
    """Fill the tables, then measure around the churn."""
    server.execute("CREATE DATABASE claims")
    url = server.url("claims")
    begun = time.monotonic()
    fill(url, finished)
    print(f"filled in {time.monotonic() - begun:.0f} s", flush=True)
    with closing(open_database(url, clock=SystemClock())) as database, pinned_snapshot(server, "claims"):
        jobs, cpu = SqlJobs(database), Cpu(database)
        submits = Submits(jobs, held)
        submits.claim(held)

        def measure_all(moment: str, dead: int) -> Iterator[dict[str, object]]:
            about = {"moment": moment, "dead_versions": dead}
            yield about | {"what": "poll claim"} | measure(lambda: claim_polls(jobs, HANDFUL), cpu)
            yield about | {"what": "submit claim"} | measure(submits.claim, cpu, between=submits.answer)
            yield about | {"what": "poll look-ahead"} | measure(lambda: jobs.find_next_due(LaneName.POLL), cpu)
            full = SqlJobs(database)
            yield about | {"what": "the same, full"} | measure(lambda: full.find_next_due(LaneName.POLL), cpu, count=5)

        claim_polls(jobs, HANDFUL)  # statements compiled
        yield from measure_all("before", 0)
        dead = churn(jobs, submits, churn_seconds)
        yield from measure_all("after", dead)


def report(rows: Sequence[dict[str, object]]) -> None:
    """Print a table, then the figures that have an aim."""
    print_table(rows)
    for row in rows:
        if str(row["what"]).endswith("claim"):
            name = f"{row['what']} {row['moment']} the churn ({row['dead_versions']:,} dead versions), p99"
            note = f"CPU of client and server {row['cpu_p99_ms']:.1f} ms"
            emit(Figure(name, "ms", ours=float(str(row["p99_ms"])), aim="under 5 ms", note=note))


def main() -> None:
    """Print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--churn-seconds", type=float, default=65.0)
    parser.add_argument("--held", type=int, default=50, help="submissions in flight")
    options = parser.parse_args()
    with running_server(*choose_binaries(), shared_buffers=SHARED_BUFFERS, max_wal_size="8GB") as server:
        rows = list(run(server, options.finished, options.churn_seconds, options.held))
    report(rows)
    print_json("claims", {"finished": options.finished, "rows": rows})


if __name__ == "__main__":
    main()
