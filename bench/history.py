"""How fast the history answers with a million jobs, beside ten thousand of them and beside OFFSET.

    python -m bench.history [--jobs 1000000] [--beside 10000] [--repeat 40]

PostgreSQL, the tables and indexes of the migrations, rows spread over 100 days as a busy year leaves them. Every query is
the text that a person would type, through the parser and the History port; a page is 20 jobs with their outputs. The
1,000th page is read behind the cursor of the 999th (or the last full one, where there are fewer). Both databases are asked in
turns, so that other work on the machine meets both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import psycopg

from bench.results import Figure, emit, percentile
from orchestrator.clock import SystemClock
from orchestrator.db.engine import Database, open_database
from orchestrator.db.history import SqlHistory
from orchestrator.db.migrate import upgrade
from orchestrator.domain.query import parse_query
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

PAGE = 20
DEEP = 1_000  # pages
PATIENCE = timedelta(minutes=5)  # what is slow is to be measured, not stopped
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SPAN = timedelta(days=100)
QUERIES: Mapping[str, str] = {
    "everything": "",
    "status, common": "status:succeeded",
    "status, rare": "status:needs_review",
    "status, several": "status:active",
    "status, negated": "-status:succeeded",
    "model, common": "model:cogvideox-3",
    "model, rare": "model:vidu2-image",
    "model and status": "model:cogvideox-3 status:failed",
    "tag, common": "tag:campaign=c1",
    "tag, rare": "tag:client=acme",
    "tag, any value": "tag:client",
    "tag, negated": "-tag:campaign=c1",
    "time, the last day": "created:>1d",
    "time, old": "created:<90d",
    "time, one day": "created:2026-09-01",
    "finished, one day": "finished:2026-09-01",
    "submitted, the last hour": "submitted:>1h",
    "batch": "batch:batch_7",
    "batch and status": "batch:batch_7 status:failed",
    "custom_id": "custom_id:scene-77",
    "code, ours": "code:content_policy",
    "code, the provider's, rare": "code:1234",
    "cost, exact": "cost:0.07",
    "cost, range of few": "cost:>0.9",
    "words, common": "kite",
    "words, two common": "kite harbour",
    "words, rare": "zeppelin",
    "words, absent": "xylograph",
    "words, only long ago": "glacier",
    "words, rare, and status": "zeppelin status:failed",
    "words, common, and status": "kite status:failed",
    "words, common, and a rare status": "kite status:needs_review",
    "words, negated": "-kite",
}
FILL = (  # `share`: even between 0 and 1, for each row the same in every run
    """CREATE UNLOGGED TABLE seed AS SELECT n, ('x' || substr(md5(n::text), 1, 7))::bit(28)::int / 268435456.0 AS share,
    %(first)s::timestamptz + n * (%(span)s::interval / %(count)s) AS at
    FROM generate_series(1, %(count)s) AS n""",
    "DROP INDEX ix_job_prompts_prompt",  # a tenth of the time; the benchmark of ingest has what it costs to keep
    "ALTER TABLE seed ADD id text, ADD state text, ADD final bool",
    """UPDATE seed SET
    id = 'job_' || lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || lpad(to_hex(n), 20, '0'),
    state = CASE WHEN share < 0.0001 THEN 'needs_review' WHEN share < 0.05 THEN 'failed' WHEN share < 0.08 THEN 'cancelled'
        WHEN n > %(count)s * 0.998 THEN 'queued' ELSE 'succeeded' END""",
    "UPDATE seed SET final = state IN ('succeeded', 'failed', 'cancelled')",
    """INSERT INTO batches (id, owner, name, identity_sha256, environment, archive_url, line_count, created_at,
    intake_done_at, generation, refused_count)
    SELECT 'batch_' || b, 'local', 'b', b::text, 'bench', 'file:///a', 50000, %(first)s, %(first)s, 1, 0
    FROM generate_series(0, %(count)s / %(batch)s) AS b""",
    """INSERT INTO jobs (id, kind, model, state, owner, fair_key, credential, batch_id, line_number, custom_id, tags,
    priority, input, body, body_sha256, archive_url, archive_class, price_micros, price_currency, price_version,
    cost_final_micros, created_at, due_at, waiting_on_count, provider_task_id, submitted_at, finished_at,
    submission_count, poll_count, attempt_count, ask_count, death_count, sequence, failure_code, provider_code)
    SELECT id, 'video', CASE WHEN n %% 5000 = 7 THEN 'vidu2-image' WHEN n %% 3 = 0 THEN 'cogvideox-3'
        WHEN n %% 3 = 1 THEN 'glm-image' ELSE 'cogview-4' END, state, 'local', 'batch_' || n / %(batch)s, 'default',
    'batch_' || n / %(batch)s, n %% %(batch)s + 1, 'scene-' || n,
    jsonb_strip_nulls(jsonb_build_object('campaign', 'c' || n %% 10, 'client', CASE WHEN n %% 20000 = 9 THEN 'acme' END)), 5,
    jsonb_build_object('prompt', words), jsonb_build_object('prompt', words), md5(n::text), 'file:///a', 'video',
    CASE WHEN n %% 10000 = 3 THEN 950000 WHEN n %% 3 = 0 THEN 200000 ELSE 70000 END, 'USD', '2026-11',
    CASE WHEN final THEN CASE WHEN n %% 10000 = 3 THEN 950000 WHEN n %% 3 = 0 THEN 200000 ELSE 70000 END END, at,
    CASE WHEN state = 'queued' THEN at END, 0, CASE WHEN final THEN 't' || n END,
    CASE WHEN state <> 'queued' THEN at + interval '1 minute' END, CASE WHEN final THEN at + interval '5 minutes' END,
    1, 4, 0, 0, 0, 5, CASE WHEN state = 'failed' THEN CASE WHEN n %% 2 = 0 THEN 'content_policy' ELSE 'provider_failed' END
    END, CASE WHEN state = 'failed' THEN CASE WHEN n %% 1000 = 1 THEN '1234' WHEN n %% 2 = 0 THEN '1301' END END
    FROM (SELECT *, concat_ws(' ', 'Scene', n, 'of a', CASE WHEN n %% 3 = 0 THEN 'red Kite over the harbour' ELSE
        'quiet street' END, CASE WHEN n %% 20000 = 11 THEN 'and a Zeppelin' END,
        CASE WHEN n < %(count)s / 10 THEN 'below a glacier' END,
        translate(md5(n::text || 'a'), '0123456789', 'ghijklmnop'), substr(md5(n::text || 'b'), 1, 9),
        'wide angle, film grain, soft light') AS words FROM seed) AS seed""",
    """INSERT INTO batch_members (batch_id, line_number, custom_id, job_id)
    SELECT batch_id, line_number, custom_id, id FROM jobs""",
    "INSERT INTO job_prompts SELECT id, lower(input->>'prompt') FROM jobs",
    "INSERT INTO job_tags (name, job_id, value) SELECT key, id, value FROM jobs, jsonb_each_text(tags)",
    "CREATE INDEX ix_job_prompts_prompt ON job_prompts USING gin (prompt gin_trgm_ops)",
    "DROP TABLE seed",
    "VACUUM ANALYZE",
)


@dataclass(frozen=True)
class Pages:
    """What reads the first page of a query and a deep one, and how far in that lies."""

    first: Callable[[], object]
    deep: Callable[[], object]
    deep_page: int


Times = list[float]
"""Milliseconds."""


def fill(url: str, count: int, *, ends: datetime = NOW) -> None:
    """Make the tables and put `count` jobs into them, the newest of them at `ends`."""
    upgrade(url)
    values = {"first": ends - SPAN, "span": SPAN, "count": count, "batch": min(50_000, max(count // 20, 1))}
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = psycopg.ClientCursor(connection)
        for statement in FILL:
            cursor.execute(statement.encode(), values if "%(" in statement else None)


def find_pages(history: SqlHistory, text: str) -> Pages:
    """Return the pages of a query, the deep one behind the cursor of the one before it."""
    wanted = parse_query(text, now=NOW)
    ahead = history.list_jobs(wanted, limit=(DEEP - 1) * PAGE).jobs
    deep_page = max(len(ahead) // PAGE, 1)
    cursor = ahead[(deep_page - 1) * PAGE - 1].id if deep_page > 1 else None
    return Pages(
        lambda: history.list_jobs(wanted, limit=PAGE),
        lambda: history.list_jobs(wanted, limit=PAGE, after=cursor),
        deep_page,
    )


def time_in_turns(repeat: int, *works: Callable[[], object]) -> list[Times]:
    """Run each in its turn, again and again: what else the machine does then meets all of them. The first two warm up."""
    taken: list[Times] = [[] for _ in works]
    for _ in range(repeat + 2):
        for times, work in zip(taken, works, strict=True):
            begun = time.perf_counter()
            work()
            times.append((time.perf_counter() - begun) * 1000)
    return [times[2:] for times in taken]


def compare(what: str, many: SqlHistory, few: SqlHistory, repeat: int, beside: int) -> list[float]:
    """Print a query's figures; return the ratios of its medians."""
    text = QUERIES[what]
    ours, theirs = find_pages(many, text), find_pages(few, text)
    first, small_first, deep, small_deep = time_in_turns(repeat, ours.first, theirs.first, ours.deep, theirs.deep)
    aim = "at most 300 ms" if what.startswith("words") else "at most 2 times"
    ratios = []
    for page, mine, small in (("first page", first, small_first), (f"page {ours.deep_page:,}", deep, small_deep)):
        ratios.append(median(mine) / median(small))
        note = f"{text or 'no query'}; {page}; medians {median(mine):.1f} and {median(small):.1f} ms, {ratios[-1]:.2f}"
        p95, small_p95 = percentile(mine, 0.95), percentile(small, 0.95)
        emit(Figure(f"history: {what}", "ms p95", p95, small_p95, f"{beside:,} jobs", p95 / small_p95, aim, note))
    return ratios


def compare_offsets(database: Database, count: int, repeat: int) -> None:
    """Print what a page of everything takes by OFFSET, deep in and in the middle, beside the deep one by cursor."""
    by_cursor = find_pages(SqlHistory(database, patience=PATIENCE), "").deep
    for offset in sorted({min(DEEP * PAGE, count // 2), count // 2}):
        statement = f"SELECT * FROM jobs ORDER BY id DESC LIMIT {PAGE} OFFSET {offset}"  # noqa: S608 - numbers of our own

        def read(statement: str = statement) -> object:
            return database.read(lambda c: c.exec_driver_sql(statement).all())

        taken, cursor = time_in_turns(repeat, read, by_cursor)
        note = "no jobs made of the rows, no outputs read"
        emit(Figure(f"OFFSET {offset:,}", "ms", median(taken), median(cursor), "by cursor, page 1,000", note=note))


def run(server: PostgresServer, count: int, beside: int, repeat: int) -> None:
    """Fill two databases and measure every query on both in turns."""
    databases = []
    for number in (count, beside):
        server.execute(f"CREATE DATABASE history_{number}")
        fill(server.url(f"history_{number}"), number)
        databases.append(open_database(server.url(f"history_{number}"), clock=SystemClock()))
    with closing(databases[0]), closing(databases[1]):
        many, few = (SqlHistory(database, patience=PATIENCE) for database in databases)
        ratios = [ratio for what in QUERIES for ratio in compare(what, many, few, repeat, beside)]
        note = f"ratios of medians to {beside:,} jobs: median {median(ratios):.2f}, worst {max(ratios):.1f}"
        emit(Figure(f"history of {count:,} jobs", "", note=note))
        compare_offsets(databases[0], count, max(repeat // 4, 3))


def main() -> None:
    """Parse options, start a server, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--beside", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=40)
    options = parser.parse_args()
    with running_server(*choose_binaries()) as server:
        run(server, options.jobs, options.beside, options.repeat)


if __name__ == "__main__":
    main()
