"""Rows for measurements: one job led through intake as a template, copied by the database itself."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import text

from orchestrator.clock import SystemClock
from orchestrator.db.batches import SqlBatches
from orchestrator.db.engine import open_database
from tests.factories import make_batch, make_new_job

_COPY = """
INSERT INTO jobs SELECT (jsonb_populate_record(template, jsonb_build_object(
    'id', :state || '-' || lpad(number::text, 9, '0'), 'state', cast(:state AS text),
    'provider_task_id', CASE WHEN :state = 'queued' THEN NULL ELSE 'task-' || number END,
    'submitted_at', clock_timestamp(),
    'due_at', CASE WHEN :state = 'succeeded' THEN NULL
              ELSE clock_timestamp() + (number % 1000) / 1000.0 * :spread * interval '1 second' END,
    'finished_at', CASE WHEN :state = 'succeeded' THEN clock_timestamp() END))).*
FROM jobs AS template, generate_series(1, :count) AS number WHERE template.id = :template
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
    with closing(open_database(url, clock=SystemClock())) as database, database.begin_write() as connection:
        values = {"state": state, "count": count, "template": template, "spread": spread_seconds}
        connection.execute(text(_COPY), values)


def analyze(url: str) -> None:
    """Tell the planner what lies in the table."""
    with closing(open_database(url, clock=SystemClock())) as database, database.begin_write() as connection:
        connection.execute(text("ANALYZE jobs"))


def insert_processing(url: str, count: int, *, interval_seconds: float) -> None:
    """Make a job table of `count` running tasks, due over one interval."""
    template = insert_template(url)
    copy_jobs(url, template, "processing", count, spread_seconds=interval_seconds)
    analyze(url)
