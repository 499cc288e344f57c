"""Every crash point, on both databases, with both policies for unknown calls: a run dies there, the same file is run
again to its end, and the doctor, with the provider's ledger before it, finds nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, select, text, update

from orchestrator.config import load_settings
from orchestrator.crashpoints import KILLED, VARIABLE, CrashPoint
from orchestrator.db.engine import parse_url
from orchestrator.db.rows import SUBMISSIONS
from orchestrator.sandbox import SandboxOptions, start
from orchestrator.wiring import open_app
from tests.acceptance.runs import AFTER_A_KILL, ROOT, Desk, Ended
from tests.crashes.cases import AN_HOUR, CASES, DELIVERING, OF_A_CANCEL, THUMBNAILS, Case
from tests.crashes.forks import Forked, forked
from tests.fixtures.s3 import S3Server
from tests.health import assert_healthy

pytestmark = pytest.mark.acceptance

SPEED = 15.0
USUAL = {("sqlite", "hold"), ("postgresql", "resubmit")}
LONG_AGO = timedelta(minutes=15)  # longer than the policy waits before it pays again
STALE = timedelta(hours=7)
POLICIES: Mapping[str, Mapping[str, str]] = {
    "hold": {},
    "resubmit": {"ORCHESTRATOR_ON_UNKNOWN": "resubmit", "ORCHESTRATOR_RESUBMIT_MAX": "3"},
}


def ways() -> Iterator[object]:
    """Yield every case x database x policy. Half of them, each point on both databases, are in every run of the tests;
    the others in those of `make test-all`.
    """
    for case in CASES:
        for database in ("sqlite", "postgresql"):
            for policy in POLICIES:
                if case.is_of_policy and policy == "hold":
                    continue
                marks = [pytest.mark.postgres] if database == "postgresql" else []
                if (database, policy) not in USUAL and not case.is_of_policy:
                    marks.append(pytest.mark.whole_walk)
                yield pytest.param(case, database, policy, marks=marks, id=f"{database}-{case.name}-{policy}")


class Walk:
    """One case on a database and a sandbox of its own."""

    def __init__(self, case: Case, desk: Desk, database_url: str, settings: Mapping[str, str]) -> None:
        self.case = case
        self.desk = desk
        self.url = database_url
        self.settings = {"ORCHESTRATOR_DATABASE_URL": database_url, "ORCHESTRATOR_TICK_SECONDS": "0.1", **settings}
        self.settings[THUMBNAILS] = (
            "0"  # a process each takes time; a case of theirs says otherwise for the run that dies
        )
        self.engine = create_engine(parse_url(database_url), poolclass=NullPool)  # nothing is left open

    def die(self, path: Path) -> None:
        """Run the file with the case's point armed; see it die there and nowhere else."""
        given = {**self.settings, **self.case.settings, VARIABLE: self.case.setting}
        environment = self.desk.environment(**given)
        with forked(
            ["run", str(path), "--concurrency", "1"],
            environment=environment,
            folder=self.desk.folder,
            is_in_parts=self.case.is_in_parts,
        ) as process:
            if self.case.is_stopped:
                self.wait_until("SELECT 1 FROM jobs WHERE state = 'processing' AND lease_token IS NOT NULL", process)
                os.kill(process.process.pid or 0, signal.SIGINT)
            if self.case.is_held_meanwhile:
                self.wait_until("SELECT 1 FROM jobs WHERE state = 'submitting'", process)
                held = self.desk.run("db", "mark-restored", "--yes", **self.settings)
                assert held.code in (0, 3), held.err
                self.let_tasks_end()
            code = process.wait()
        assert (code, f"died at {self.case.point}\n" in process.said) == (KILLED, True), process.said
        assert "CRITICAL event=crash_armed" in process.said
        self.let_tasks_end()

    def run(self, path: Path) -> Ended:
        """Run the file to its end in this process, nothing armed."""
        ended = self.desk.run("run", str(path), **self.settings)
        assert ended.code in (0, 3), ended.err
        return ended

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Look into the database."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def wait_until(self, statement: str, process: Forked) -> None:
        """Look again and again until the statement finds a row; the process must not end before."""
        give_up_at = time.monotonic() + 60
        while not self.query(statement):
            assert process.process.is_alive(), process.said
            assert time.monotonic() < give_up_at, process.said
            process.process.join(0.02)

    def let_time_pass(self) -> None:
        """Make every paid call older than the policy waits: no answer to it can be under way any more."""
        with self.engine.begin() as connection:
            for row in connection.execute(select(SUBMISSIONS.c.id, SUBMISSIONS.c.intent_at)).all():
                older = update(SUBMISSIONS).where(SUBMISSIONS.c.id == row.id)
                connection.execute(older.values(intent_at=row.intent_at - LONG_AGO))

    def let_tasks_end(self) -> None:
        """Move the provider's clock past the tasks of a case whose latency is an hour; later ones end at once."""
        if self.case.latency == AN_HOUR:
            at_once = {"mean_seconds": 0, "jitter": 0}
            self.desk.control("PUT", "latency", dict.fromkeys(self.case.slow_models, at_once))
            self.desk.control("POST", "clock", {"advance_seconds": AN_HOUR})

    def states(self) -> Counter[str]:
        """Return how many jobs are in each state."""
        return Counter(str(state) for (state,) in self.query("SELECT state FROM jobs"))

    def count_unknown(self) -> int:
        """Return how many paid calls ended unknown, whatever was decided about them since."""
        return len(self.query("SELECT id FROM submissions WHERE verdict = 'unknown'"))

    def count_extra_charges(self) -> Counter[str]:
        """Return how often each job was charged beyond its first charge."""
        jobs = {str(submission): str(job) for submission, job in self.query("SELECT id, job_id FROM submissions")}
        charges = Counter(jobs[row["request_id"]] for row in self.desk.ledger() if row["charged"])
        return Counter({job: count - 1 for job, count in charges.items() if count > 1})

    def resubmissions(self) -> Counter[str]:
        """Return how often each job was submitted again by policy, as its history says."""
        rows = self.query("SELECT job_id FROM job_events WHERE type = 'resubmit' AND actor = 'policy'")
        return Counter(str(job) for (job,) in rows)

    def check(self, *, is_holding: bool) -> None:
        """Ask the doctor about everything that was written; he has the provider's ledger."""
        given = {
            "data_dir": self.desk.data_dir,
            "database_url": self.url,
            "archive_url": self.settings.get("ORCHESTRATOR_ARCHIVE_URL"),
            "s3_endpoint_url": self.settings.get("ORCHESTRATOR_S3_ENDPOINT_URL"),
            "s3_region": self.settings.get("ORCHESTRATOR_S3_REGION"),
        }
        settings = load_settings(given)
        with open_app(settings) as app:
            assert_healthy(app, ledger=self.desk.ledger(), allow=AFTER_A_KILL if is_holding else ())


def job_lines(case: Case) -> list[dict[str, object]]:
    """Return a picture, a film and a recording: a task with one output, one with two, and an answer at once."""
    image = {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"}
    speech = {"model": "glm-asr-2512", "file": "kite.wav"}
    lines: list[dict[str, object]] = [
        {"custom_id": "picture", "kind": "image", "body": image},
        {"custom_id": "film", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a lamp"}},
        {"custom_id": "talk", "kind": "transcription", "body": speech},
    ]
    return lines[2:] if case.is_held_meanwhile else lines


def prepare(walk: Walk) -> Path:
    """Lay out the file, and what must have happened before the death."""
    desk, case = walk.desk, walk.case
    (desk.folder / "kite.wav").write_bytes((ROOT / "examples/speech/kite.wav").read_bytes())
    lines = job_lines(case)
    if case.begins_with:
        walk.run(desk.write_jobs(lines[: case.begins_with], "begun.jsonl"))
    if case.has_stale_spool:
        stale = desk.data_dir / "spool" / "out_of_an_old_run.part"
        stale.parent.mkdir(parents=True)
        stale.write_bytes(b"half")
        os.utime(stale, (time.time() - STALE.total_seconds(),) * 2)
    if case.latency is not None:
        slow = {"mean_seconds": case.latency * SPEED, "jitter": 0}
        desk.control("PUT", "latency", dict.fromkeys(case.slow_models, slow))
    if case.is_dripping:
        desk.control("PUT", "faults", [{"fault": "drip", "seconds": 0.2, "bytes": 1 << 11, "times": 1}])
    path = desk.write_jobs(lines)
    if case.after is not None:
        Walk(Case(case.after), desk, walk.url, walk.settings).die(path)
    if case.is_of_policy:
        walk.run(path)
        walk.let_time_pass()
    return path


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=11, speed=SPEED)) as sandbox:
        yield Desk(tmp_path, sandbox)


@pytest.fixture
def archive(case: Case, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Give the settings of a bucket to the cases that need one; the others archive into a folder."""
    if not case.is_in_parts:
        return {}
    server: S3Server = request.getfixturevalue("s3_server")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)
    return {
        "ORCHESTRATOR_ARCHIVE_URL": f"s3://{request.getfixturevalue('s3_bucket')}/films",
        "ORCHESTRATOR_S3_ENDPOINT_URL": server.endpoint_url,
        "ORCHESTRATOR_S3_REGION": server.region,
    }


def test_every_point_has_a_case() -> None:
    """A new point without a way to it, that somebody has been, is no proof of anything."""
    assert {case.point for case in CASES} | {point for point, _ in OF_A_CANCEL} | DELIVERING == set(CrashPoint)


@pytest.mark.parametrize(("case", "database_url_factory", "policy"), list(ways()), indirect=["database_url_factory"])
def test_nothing_is_lost_or_paid_twice(
    case: Case, policy: str, desk: Desk, database_url: str, archive: Mapping[str, str]
) -> None:
    """A1-A5: whatever the instant of the death, the second run ends every job or says that it is in doubt."""
    walk = Walk(case, desk, database_url, {**archive, **POLICIES[policy]})
    path = prepare(walk)
    walk.die(path)
    walk.run(path)
    fewest, most = case.unknown_calls
    if policy == "resubmit" and walk.states()["needs_review"]:
        walk.let_time_pass()
        walk.run(path)
    unknown, states, extra = walk.count_unknown(), walk.states(), walk.count_extra_charges()
    assert fewest <= unknown <= most
    held = unknown if policy == "hold" else 0
    assert states == Counter(succeeded=len(job_lines(case)) - held, needs_review=held)
    assert extra <= walk.resubmissions()
    assert policy == "resubmit" or not walk.resubmissions()
    walk.check(is_holding=bool(held))
