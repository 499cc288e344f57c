"""What words and tags are looked up in: rows written once with a job, beside it.

A row of `jobs` is rewritten at every change of state; an index of text on it would take every word again each time.
`job_prompts` is a table with a trigram index on PostgreSQL and a full-text table of trigrams on SQLite, so it stands
outside the models; both hold lower case as Python spells it, whatever the server's locale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, MetaData, Table, Text, and_, inspect, select, text
from sqlalchemy.exc import DBAPIError

from orchestrator.db.inserts import insert_all
from orchestrator.db.rows import table_of
from orchestrator.db.tables import JobTagRow

TAGS = table_of(JobTagRow)
PROMPTS = Table("job_prompts", MetaData(), Column("job_id", Text(), primary_key=True), Column("prompt", Text()))
OUTSIDE_MODELS = "job_prompts"
"""What the names of tables begin with that the models do not describe; SQLite keeps a full-text table in several."""
INDEX = "ix_job_prompts_prompt"
EXTENSION = "pg_trgm"
_WILD = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})


def insert_searched(connection: Connection, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Enter the prompts and tags of new jobs, given as their rows."""
    insert_all(connection, make_searched_rows(jobs))


def make_searched_rows(jobs: Sequence[Mapping[str, Any]]) -> list[tuple[Table, list[dict[str, Any]]]]:
    """Return the tables in which new jobs are looked up, with the rows to insert."""
    prompts = [
        {"job_id": job["id"], "prompt": str(job["input"]["prompt"]).lower()}
        for job in jobs
        if job["input"].get("prompt")
    ]
    tags = [{"name": name, "job_id": job["id"], "value": value} for job in jobs for name, value in job["tags"].items()]
    return [(PROMPTS, prompts), (TAGS, tags)]


def holds_all(words: Sequence[str], *, is_sqlite: bool) -> ColumnElement[bool]:
    """Return whether a row of `job_prompts` holds each of these texts; nothing in them is a wildcard."""
    wanted = [word.lower() for word in words]
    if is_sqlite:
        phrases = ('"' + word.replace('"', '""') + '"' for word in wanted)
        return PROMPTS.c.prompt.match(" AND ".join(phrases))
    return and_(*(PROMPTS.c.prompt.like(f"%{word.translate(_WILD)}%") for word in wanted))


def ensure_index(connection: Connection) -> None:
    """Make the index of words on PostgreSQL, and its extension, where the server lets us; else words are read one by one."""
    if connection.dialect.name == "sqlite" or not inspect(connection).has_table(PROMPTS.name):
        return
    try:
        with connection.begin_nested():
            connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}"))
    except DBAPIError:  # not installed on the server, or not ours to create: `find_problem` says so, nothing else stops
        return
    connection.execute(text(f"CREATE INDEX IF NOT EXISTS {INDEX} ON job_prompts USING gin (prompt gin_trgm_ops)"))


def find_problem(connection: Connection) -> str | None:
    """Return in words why looking for words is slow, None when it is not."""
    if connection.dialect.name == "sqlite":
        return None
    query = select(text("1")).select_from(text("pg_indexes")).where(text("indexname = :name"))
    if connection.execute(query, {"name": INDEX}).first() is not None:
        return None
    return (
        f"words of prompts are searched without an index: the extension {EXTENSION} was not there or not ours to create."
        f" Have an administrator run CREATE EXTENSION {EXTENSION} in this database, then run `orchestrator db upgrade`"
    )
