"""Rows for measurements: one job led through intake as a template, copied by the database itself."""

from __future__ import annotations

from contextlib import closing
from string import Template

from sqlalchemy import text

from orchestrator.clock import SystemClock
from orchestrator.db.batches import SqlBatches
from orchestrator.db.engine import open_database
from orchestrator.db.rows import JOBS
from tests.factories import make_batch, make_new_job

# Column by column: jsonb_populate_record took seven times as long, which a million rows show.
_CHANGED = {
    "id": ":state || '-' || lpad(CAST(number AS text), 9, '0')",
    "state": ":state",
    "provider_task_id": "CASE WHEN :state <> 'queued' THEN 'task-' || :state || number END",
    "submitted_at": "CASE WHEN :state <> 'queued' THEN clock_timestamp() END",
    "due_at": "CASE WHEN :state <> 'succeeded' THEN"
    " clock_timestamp() + (number % 1000) / 1000.0 * :spread * interval '1 second' END",
    "finished_at": "CASE WHEN :state = 'succeeded' THEN clock_timestamp() END",
    "submission_count": "CASE WHEN :state <> 'queued' THEN 1 ELSE 0 END",
}
_COPY_JOBS = Template("""
INSERT INTO jobs ($names) SELECT $values
FROM jobs AS template, generate_series(1, :count) AS number WHERE template.id = :template
""")
_ADD_SUBMISSIONS = """
INSERT INTO submissions (id, job_id, number, origin, process, credential, kind, model, fair_key, body_sha256, intent_at,
    assumed_life_until, slot_released_at, verdict, verdict_at, task_id, final_at, final_answer)
SELECT 'sub-' || id, id, 1, 'ours', 'bench', credential, kind, model, fair_key, body_sha256, submitted_at,
    submitted_at + interval '1 day', finished_at, 'accepted', submitted_at, provider_task_id, finished_at,
    CASE WHEN finished_at IS NOT NULL THEN 'SUCCESS' END
FROM jobs WHERE state = :state
"""


def insert_template(url: str) -> str:
    """Empty the job table and take one job in; return its id."""
    with closing(open_database(url, clock=SystemClock())) as database:
        with database.begin_write() as connection:
            connection.execute(text("TRUNCATE jobs, batches CASCADE"))
        batches, batch, job = SqlBatches(database), make_batch(), make_new_job()
        batches.create(batch)
        batches.add_jobs(batch.id, [job], actor="local")
        batches.finish_intake(batch.id)
    return job.id


def copy_jobs(url: str, template: str, state: str, count: int, *, spread_seconds: float) -> None:
    """Copy the template into a state; due times lie evenly over the next `spread_seconds`."""
    names = [column.name for column in JOBS.c]
    statement = _COPY_JOBS.substitute(
        names=", ".join(names), values=", ".join(_CHANGED.get(name, f"template.{name}") for name in names)
    )
    with closing(open_database(url, clock=SystemClock())) as database, database.begin_write() as connection:
        values = {"state": state, "count": count, "template": template, "spread": spread_seconds}
        connection.execute(text(statement), values)


def add_submissions(url: str, state: str) -> None:
    """Give every job of a state the submission that led there."""
    with closing(open_database(url, clock=SystemClock())) as database, database.begin_write() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # a look-up a row for the foreign key
        connection.execute(text(_ADD_SUBMISSIONS), {"state": state})


def analyze(url: str) -> None:
    """Tell the planner what lies in the tables, and mark pages all visible, as autovacuum does on a server that runs."""
    with closing(open_database(url, clock=SystemClock())) as database, database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE jobs, submissions"))


def insert_processing(url: str, count: int, *, interval_seconds: float) -> None:
    """Make a job table of `count` running tasks, due over one interval."""
    template = insert_template(url)
    copy_jobs(url, template, "processing", count, spread_seconds=interval_seconds)
    analyze(url)
