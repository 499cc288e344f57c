"""Query plans: behind many rows, each lane reads its own partial index and nothing end to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from orchestrator.db import history
from orchestrator.db.audit import SqlAudit, spans
from orchestrator.db.batch_cancels import MEMBERS
from orchestrator.db.dependencies import _count_statement
from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.db.rowset import encode_rows
from orchestrator.db.search import PROMPTS, TAGS
from orchestrator.domain.ports import HeldPoll, LaneName
from orchestrator.domain.query import Filter, parse_query, within
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR, make_window

pytestmark = pytest.mark.plans

STATES = ("queued", "processing", "archiving", "succeeded")
ROWS_PER_STATE = 2_000  # enough for PostgreSQL to prefer an index to reading the table


@pytest.fixture
def full(driver: Driver) -> Driver:
    """Give a database with many jobs in every state, its statistics fresh."""
    fill(driver, STATES)
    driver.clock.advance(HOUR)
    return driver


def fill(driver: Driver, states: tuple[str, ...], due_in: timedelta = timedelta()) -> None:
    """Add many jobs of each state, and tell the planner."""
    (job_id,) = driver.add_many(1)
    template = dict(driver.row(JOBS, job_id))
    rows = []
    for state in states:
        is_final = state == "succeeded"
        for number in range(ROWS_PER_STATE):
            own = {
                "id": f"{state}-{number:06d}",
                "state": state,
                "provider_task_id": None if state in ("queued", "submitting") else f"{state}-{number}",
                "due_at": None if is_final else template["created_at"] + due_in,
                "finished_at": template["created_at"] if is_final else None,
                "source_expires_at": template["created_at"] if state == "archiving" else None,
            }
            rows.append(template | own)
    with driver.database.begin_write() as connection:
        connection.execute(insert(JOBS), rows)
        if not driver.database.is_sqlite:  # nobody runs ANALYZE on a laptop's file: its plans must do without
            connection.execute(text("ANALYZE jobs"))


def add_submissions(driver: Driver) -> None:
    """Give each job of `fill` in submitting the submission that it is in, and tell the planner."""
    with driver.database.begin_write() as connection:
        template = dict(connection.execute(select(SUBMISSIONS).limit(1)).mappings().one())
        rows = [
            template | {"id": f"sub-{number:06d}", "job_id": f"submitting-{number:06d}"}
            for number in range(ROWS_PER_STATE)
        ]
        connection.execute(insert(SUBMISSIONS), rows)
        connection.execute(
            update(JOBS).where(JOBS.c.id.like("submitting-%")).values(submission_count=template["number"])
        )
        if not driver.database.is_sqlite:
            connection.execute(text("ANALYZE jobs, submissions"))


def add_archived_outputs(driver: Driver) -> None:
    """Give each job of `fill` that succeeded its output, long archived, and tell the planner."""
    now = driver.clock.now()
    template = {
        "index": 0, "role": "video", "is_expiry_assumed": False, "attempt_count": 0, "ask_count": 0, "dead_links": [],
        "notes": [], "created_at": now, "archived_at": now, "key": "out/video.mp4", "byte_count": 1,
        "sha256": "0" * 64, "content_type": "video/mp4",
    }  # fmt: skip
    rows = [
        template | {"id": f"out-{number:06d}", "job_id": f"succeeded-{number:06d}"} for number in range(ROWS_PER_STATE)
    ]
    with driver.database.begin_write() as connection:
        connection.execute(insert(OUTPUTS), rows)
        if not driver.database.is_sqlite:
            connection.execute(text("ANALYZE outputs"))


@contextmanager
def explained(database: Database) -> Iterator[list[str]]:
    """Collect the plan of every statement that touches jobs while the block runs; whole reads only where no index serves."""
    plans: list[str] = []

    def explain(connection: Connection, cursor: object, statement: str, parameters: object, *_: object) -> None:
        is_about_jobs = "jobs" in statement and statement.lstrip().startswith(("WITH", "UPDATE", "SELECT"))
        if not is_about_jobs or connection.info.get("explaining"):
            return
        connection.info["explaining"] = True
        if not database.is_sqlite:  # a table of this size is on the brink; sampled statistics must not decide the test
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        command = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{command} {statement}", parameters).all()  # type: ignore[arg-type]
        plans.append("\n".join(str(row[-1]) for row in rows))
        connection.info["explaining"] = False

    event.listen(database.engine, "before_cursor_execute", explain)
    yield plans
    event.remove(database.engine, "before_cursor_execute", explain)


def assert_seeks(plans: list[str], index: str) -> None:
    """The index is used, and no plan reads all of jobs."""
    whole = "\n--\n".join(plans)
    assert index in whole, whole
    assert "Seq Scan on jobs" not in whole, whole
    assert "ix_jobs_state (state=?)" not in whole, whole  # SQLite going through every job of a state
    for line in whole.splitlines():
        assert not (line.startswith("SCAN jobs") and "INDEX" not in line), whole


def test_every_lane_reads_its_own_index(full: Driver) -> None:
    """C10: a shared index cost 5.0 ms against 0.09 ms behind 50,000 queued rows; finished rows stand in none."""
    check_leased_lane(full, LaneName.POLL, "ix_jobs_poll_lane", None)
    check_leased_lane(full, LaneName.ARCHIVE, "ix_jobs_archive_lane", "video")
    check_submit_lane(full)
    check_lapse_sweep(full)
    check_stragglers(full)
    check_risks(full)


def check_leased_lane(full: Driver, lane: LaneName, index: str, archive_class: str | None) -> None:
    """Claim and look ahead of a leased lane; rows come out of the index in order, nothing is sorted."""
    with explained(full.database) as plans:
        claim = full.jobs.claim_due(lane, limit=10, lease=LEASE, archive_class=archive_class)
        held = {job.id: job.lease_token or "" for job in claim.rows}
        assert full.jobs.renew(held, lease=LEASE) == set(held)
        if lane is LaneName.POLL:
            polls = [HeldPoll(job_id, token) for job_id, token in held.items()]
            assert full.jobs.renew_polls(polls, lease=LEASE).job_ids == set(held)
        full.jobs.release(held)
        full.jobs.find_next_due(lane)
    assert len(claim.rows) == 10
    assert_seeks(plans, index)
    assert "TEMP B-TREE FOR ORDER BY" not in "\n".join(plans)


def test_polls_are_looked_for_from_the_low_water_on(full: Driver) -> None:
    """Below it lie versions of rows that no vacuum may have removed: 400,000 of them cost every claim 117 ms."""
    full.jobs.claim_due(LaneName.POLL, limit=10, lease=LEASE)
    with explained(full.database) as plans:
        full.jobs.claim_due(LaneName.POLL, limit=10, lease=LEASE)
        full.jobs.find_next_due(LaneName.POLL)
    bound = "due_at >= " if not full.database.is_sqlite else "due_at>?"
    reads = [line for plan in plans for line in plan.splitlines() if bound in line]
    assert len(reads) == 2, plans
    assert not [
        plan for plan in plans if bound in plan and "Aggregate" in plan
    ]  # a min() over every row above the bound
    for line in reads:
        assert "Index Cond" in line or "USING COVERING INDEX ix_jobs_poll_lane" in line, line


def test_turns_are_looked_for_from_the_head_on(full: Driver) -> None:
    """The head of a group is its first row that lives: what lies before it was read once already."""
    with explained(full.database) as plans:
        full.claim()
    bound = "ROW(due_at, id) >= ROW(" if not full.database.is_sqlite else "(due_at,id)>(?,?)"
    reads = [line for plan in plans for line in plan.splitlines() if bound in line]
    assert len(reads) == 1, plans
    assert "Index Cond" in reads[0] or "INDEX ix_jobs_submit_lane (" in reads[0], reads


def check_submit_lane(full: Driver) -> None:
    """A queue of any length costs a few seeks per batch in it."""
    with explained(full.database) as plans:
        rows = full.claim()
        full.jobs.find_next_due(LaneName.SUBMIT, window=make_window(slots={"*": 50}))
    assert len(rows) == 5
    assert_seeks(plans, "ix_jobs_submit_lane")


def check_stragglers(full: Driver) -> None:
    """The sweep that looks for jobs that wait for nothing reads those that wait, not the queue and not the history."""
    with explained(full.database) as plans:
        assert full.jobs.settle_stragglers(limit=10) == 0
    assert_seeks(plans, "ix_jobs_waiting")


def check_risks(full: Driver) -> None:
    """The sweep that looks for links that die reads outputs that wait, not all that were ever made."""
    add_archived_outputs(full)
    with explained(full.database) as plans:
        assert full.jobs.tell_at_risk(limit=10) == ()
    assert_seeks(plans, "ix_outputs_at_risk")


def check_lapse_sweep(full: Driver) -> None:
    """A maintenance task that ran over all jobs in flight every 30 s would be felt; with none, any index serves as well."""
    fill(full, ("submitting",), due_in=2 * HOUR)
    add_submissions(full)
    with explained(full.database) as plans:
        full.jobs.find_lapsed_submissions(limit=10)
    assert_seeks(plans, "ix_jobs_lapse_lane")


def test_an_audit_reads_spans_and_never_a_table_per_job(full: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement stays in its span of ids in every table it joins; the lists of live rows use their own indexes."""
    monkeypatch.setattr(spans, "SPAN_ROWS", 4_000)
    with explained(full.database) as plans:
        list(SqlAudit(full.database).find_violations(max_unknown_per_hour=20))
    joined = [plan for plan in plans if "job_events" in plan]
    assert len(joined) >= 2
    for plan in joined:
        assert "Seq Scan on job_events" not in plan, plan
        # Newer planners may hash a table as small as this one for an EXISTS (it has an alias then); a join reads its span.
        assert "Seq Scan on submissions  (" not in plan, plan
        assert not [line for line in plan.splitlines() if line.startswith(("SCAN job_events", "SCAN submissions"))], (
            plan
        )


def test_letting_many_jobs_go_looks_each_up_by_its_id(database: Database) -> None:
    """Ten thousand that wait for one: to walk all queued jobs for each of them took minutes on SQLite."""
    if not database.is_sqlite:
        pytest.skip("PostgreSQL chooses by the sizes of what it joins")
    statement = _count_statement(is_sqlite=True).compile(database.engine)
    row = {"id": "job_1", "count": 0, "due_at": None, "event_count": 1, "source": "queued"}
    given = tuple(statement.params.get(name) or encode_rows([row]) for name in statement.positiontup or ())
    with database.engine.connect() as connection:
        plan = [str(step[-1]) for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
    assert [step for step in plan if step.startswith("SEARCH jobs") and "id=?" in step], plan


HISTORY: Mapping[str, tuple[str, ...]] = {
    "": ("pk_jobs",),
    "status:processing": ("ix_jobs_state",),
    "status:processing,succeeded": ("ix_jobs_state",),
    "model:rare": ("ix_jobs_model",),
    "custom_id:rare": ("ix_jobs_custom_id",),
    "code:rare": ("ix_jobs_failure_code", "ix_jobs_provider_code"),
    "cost:0.19": ("ix_jobs_cost",),
    "finished:2026-01-01": ("ix_jobs_finished_at",),
    "submitted:2026-01-01": ("ix_jobs_submitted_at",),
    "batch:batch_rare": ("on batch_members",),  # two of its indexes begin with the batch: either will do
    "tag:campaign=rare": ("ix_job_tags_value",),
    "tag:rare": ("pk_job_tags",),
    "owner:rare": ("ix_jobs_owner",),
    "zeppelin": ("ix_job_prompts_prompt",),
    "zeppelin status:processing": ("ix_job_prompts_prompt",),
}
SQLITE_NAMES = {  # what SQLite calls them, or takes in their place: it keeps no statistics, and any seek will do
    "on batch_members": "ix_batch_members_batch_id",
    "pk_jobs": "sqlite_autoindex_jobs_1",
    "pk_job_tags": "sqlite_autoindex_job_tags_1",
    "ix_job_prompts_prompt": "job_prompts VIRTUAL TABLE INDEX",
    "ix_jobs_finished_at": "ix_jobs_",
    "ix_jobs_submitted_at": "ix_jobs_",
}

PAGES = ((None, False), ("succeeded-001000", False), (None, True), ("archiving-001000", True))
"""A cursor and an order: the first page and one with most of the table behind it, from either end."""
BETWEEN = "sqlite_autoindex_jobs_1 (id>? AND id<?)"


@pytest.fixture
def searched(full: Driver, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Give that database with a prompt, a tag and a membership for each job."""
    monkeypatch.setattr(history, "NEAR", 10)
    ids = [row["id"] for row in full.rows(JOBS) if row["id"].startswith(STATES)]
    batch = full.add()
    with full.database.begin_write() as connection:
        connection.execute(insert(PROMPTS), [{"job_id": job_id, "prompt": f"{job_id} of a kite"} for job_id in ids])
        connection.execute(insert(TAGS), [{"name": "campaign", "value": job_id, "job_id": job_id} for job_id in ids])
        members = [{"batch_id": batch.id, "line_number": line, "job_id": job_id} for line, job_id in enumerate(ids, 1)]
        connection.execute(insert(MEMBERS), members)
        if not full.database.is_sqlite:
            connection.execute(text("ANALYZE"))
    return full


def _wanted(query: str, driver: Driver) -> Filter:
    """`owner` is no field of the grammar: services add it."""
    field, _, owner = query.partition(":")
    if field == "owner":
        return within(parse_query("", now=driver.clock.now()), owner)
    return parse_query(query, now=driver.clock.now())


def test_every_field_of_the_history_has_an_index(searched: Driver) -> None:
    """C10: What is rare is not looked for by walking the table: not for the first page, nor for one behind a cursor, from
    neither end.
    """
    is_sqlite = searched.database.is_sqlite
    for query, indexes in HISTORY.items():
        wanted = _wanted(query, searched)
        for after, is_oldest_first in PAGES:
            with explained(searched.database) as plans:
                searched.history.list_jobs(wanted, limit=10, after=after, is_oldest_first=is_oldest_first)
            found = "\n--\n".join(plan for plan in plans if "outputs" not in plan)
            for index in indexes:
                name = SQLITE_NAMES.get(index, index) if is_sqlite else index
                is_between = is_sqlite and is_oldest_first and BETWEEN in found  # without statistics as good as another
                assert name in found or is_between, (query, found)
            assert "Seq Scan" not in found, (query, found)
            assert not [line for line in found.splitlines() if line.startswith("SCAN jobs") and "INDEX" not in line], (
                found
            )
            assert "Merge Join" not in found, (query, found)
