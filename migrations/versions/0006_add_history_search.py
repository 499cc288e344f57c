"""What the history is asked by: words of prompts and tags, written once beside a job; indexes of its other fields.

Prompts lie beside `jobs` because a row of `jobs` is rewritten at every change of state, and each rewrite would enter its
words into the index again. The index of words on PostgreSQL is made after the revisions (orchestrator/db/search.py): it
needs an extension that a server may not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0006_add_history_search"
down_revision = "0005_add_webhooks"
branch_labels = None
depends_on = None

PAGE = 2_000
JOBS = sa.table("jobs", sa.column("id"), sa.column("input", sa.Text()), sa.column("tags", sa.Text()))
INDEXES: tuple[tuple[str, list[str], str | None], ...] = (
    ("ix_jobs_model", ["model", "id"], None),
    ("ix_jobs_custom_id", ["custom_id", "id"], "custom_id IS NOT NULL"),
    ("ix_jobs_failure_code", ["failure_code", "id"], "failure_code IS NOT NULL"),
    ("ix_jobs_provider_code", ["provider_code", "id"], "provider_code IS NOT NULL"),
    ("ix_jobs_cost", ["cost_final_micros", "id"], None),
    ("ix_jobs_submitted_at", ["submitted_at", "id"], "submitted_at IS NOT NULL"),
    ("ix_jobs_finished_at", ["finished_at", "id"], "finished_at IS NOT NULL"),
)


def upgrade() -> None:
    _create_tables()
    for jobs in _read_jobs():
        _fill(jobs)
    op.create_index("ix_job_tags_value", "job_tags", ["name", "value", "job_id"])
    for name, columns, where in INDEXES:
        clause = sa.text(where) if where else None
        op.create_index(name, "jobs", columns, sqlite_where=clause, postgresql_where=clause)
    op.create_index("ix_batch_members_batch_id", "batch_members", ["batch_id", "job_id"])


def downgrade() -> None:
    op.drop_index("ix_batch_members_batch_id", table_name="batch_members")
    for name, _, _ in reversed(INDEXES):
        op.drop_index(name, table_name="jobs")
    op.drop_table("job_tags")
    op.execute("DROP TABLE job_prompts")


def _create_tables() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE job_prompts USING fts5(job_id UNINDEXED, prompt, tokenize='trigram')")
    else:
        op.create_table(
            "job_prompts",
            sa.Column("job_id", sa.Text(), nullable=False, comment="Whose prompt"),
            sa.Column("prompt", sa.Text(), nullable=False, comment="In lower case: words are looked for in it"),
            sa.PrimaryKeyConstraint("job_id", name="pk_job_prompts"),
            sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_prompts_job_id", ondelete="CASCADE"),
            comment="What was asked for in words; written once, with the job",
        )
    op.create_table(
        "job_tags",
        sa.Column("name", sa.Text(), nullable=False, comment="The label's name"),
        sa.Column("job_id", sa.Text(), nullable=False, comment="Which job has it"),
        sa.Column("value", sa.Text(), nullable=False, comment="What it says"),
        sa.PrimaryKeyConstraint("name", "job_id", name="pk_job_tags"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_tags_job_id"),
        comment="Labels of jobs as they are looked up; written once, with the job",
    )


def _read_jobs() -> Iterator[list[tuple[str, dict[str, object], dict[str, str]]]]:
    """Yield what is there, page by page: a history need not fit into memory."""
    after = ""
    query = sa.select(JOBS.c.id, sa.cast(JOBS.c.input, sa.Text()), sa.cast(JOBS.c.tags, sa.Text()))
    while True:
        page = op.get_bind().execute(query.where(JOBS.c.id > after).order_by(JOBS.c.id).limit(PAGE)).all()
        if not page:
            return
        yield [(job_id, json.loads(asked or "{}"), json.loads(tags or "{}")) for job_id, asked, tags in page]
        after = page[-1][0]


def _fill(jobs: list[tuple[str, dict[str, object], dict[str, str]]]) -> None:
    prompts = [
        {"job_id": job_id, "prompt": str(asked["prompt"]).lower()} for job_id, asked, _ in jobs if asked.get("prompt")
    ]
    tags = [
        {"name": name, "job_id": job_id, "value": value} for job_id, _, labels in jobs for name, value in labels.items()
    ]
    for table, rows in (("job_prompts", prompts), ("job_tags", tags)):
        if rows:
            columns: list[sa.ColumnClause[str]] = [sa.column(name) for name in rows[0]]
            op.get_bind().execute(sa.insert(sa.table(table, *columns)), rows)
