"""How fast a checked job file becomes jobs on PostgreSQL, beside the bare inserts of the same rows.

    python -m bench.ingest [--lines 50000]

Ours is `take_file`: read the file again, compare every line with what was checked, look for equal jobs, insert jobs, members
and events in chunks of one transaction. Beside it stand the rows that this left, put by psycopg into the same tables with
the same indexes: by COPY and by executemany, each in one transaction, from tuples in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb, set_json_dumps

from bench.measure import cpu_seconds, resident_bytes
from bench.results import Figure, emit
from orchestrator.clock import SystemClock
from orchestrator.db.batches import SqlBatches
from orchestrator.db.engine import open_database
from orchestrator.db.migrate import upgrade
from orchestrator.domain.kind import Kind
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckedFile, CheckOptions, check_file, take_file
from orchestrator.zai.kinds import load_kinds
from tests.fixtures.postgres import choose_binaries, running_server
from tests.services.intake.fakes import FakeStore

TABLES = ("jobs", "batch_members", "job_events")
Rows = dict[str, tuple[list[str], list[tuple[Any, ...]]]]


@dataclass(frozen=True)
class Taken:
    """One timed stretch."""

    seconds: float
    cpu: float
    grown_bytes: int


def write_file(path: Path, count: int) -> None:
    """Write a file of pictures with prompts and tags of a usual length."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            prompt = f"scene {number}: a red kite above a harbour at dawn, wide angle, film grain, soft light, calm sea"
            body = {"model": "glm-image", "prompt": prompt, "size": "1280x1280"}
            line = {"custom_id": f"scene-{number:05d}", "kind": "image", "body": body, "tags": {"campaign": "spring"}}
            file.write(f"{json.dumps(line)}\n")


def timed(work: Callable[[], object]) -> Taken:
    """Run it once."""
    memory, cpu, begun = resident_bytes(), cpu_seconds(), time.perf_counter()
    work()
    return Taken(time.perf_counter() - begun, cpu_seconds() - cpu, resident_bytes() - memory)


def take(url: str, checked: CheckedFile, folder: Path) -> Taken:
    """Take the checked file in as `run` does."""
    clock = SystemClock()
    with closing(open_database(url, clock=clock)) as database:
        taker = Taker(SqlBatches(database), FakeStore(), clock, Random(), folder)
        return timed(lambda: take_file(checked, taker))


def read_rows(connection: psycopg.Connection[Any]) -> Rows:
    """Return what was taken in, as values that psycopg writes again."""
    rows: Rows = {}
    for table in TABLES:
        cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - names of our own
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        rows[table] = (names, [tuple(_as_written(value) for value in row) for row in cursor])
    return rows


def _as_written(value: object) -> object:
    return Jsonb(value) if isinstance(value, dict | list) else value


def copy(connection: psycopg.Connection[Any], rows: Rows) -> None:
    """COPY the rows in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        for table, (names, values) in rows.items():
            with cursor.copy(f"COPY {table} ({_join(names)}) FROM STDIN") as stream:
                for row in values:
                    stream.write_row(row)


def execute_many(connection: psycopg.Connection[Any], rows: Rows) -> None:
    """Insert the rows by executemany in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        for table, (names, values) in rows.items():
            places = ", ".join(["%s"] * len(names))
            statement = f"INSERT INTO {table} ({_join(names)}) VALUES ({places})"  # noqa: S608 - names of our own
            cursor.executemany(cast("Any", statement), values)


def _join(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def run(url: str, count: int) -> None:
    """Measure all of it on one database and print the figures."""
    upgrade(url)
    with tempfile.TemporaryDirectory() as folder, psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as bare:
        path = Path(folder) / "jobs.jsonl"
        write_file(path, count)
        kinds = cast("dict[str, Kind]", load_kinds())
        checked: list[CheckedFile] = []
        check = timed(lambda: checked.append(check_file(path, kinds, options=CheckOptions("sandbox"))))
        ours = take(url, checked[0], Path(folder))
        rows = read_rows(bare)
        beside = {}
        for name, insert in (("COPY", copy), ("executemany", execute_many)):
            bare.execute("TRUNCATE job_events, batch_members, jobs CASCADE")
            beside[name] = timed(lambda insert=insert: insert(bare, rows))  # type: ignore[misc]
    report(count, check, ours, beside)


def report(count: int, check: Taken, ours: Taken, beside: dict[str, Taken]) -> None:
    """Print a figure a line."""
    what = f"{count:,} lines ingested on PostgreSQL"
    for name, bare in beside.items():
        ratio = bare.seconds / ours.seconds
        note = f"beside {name}"
        aim = "at least 0.6"
        emit(Figure(what, "lines/s", count / ours.seconds, count / bare.seconds, f"bare {name}", ratio, aim, note))
    emit(Figure(what, "s", ours.cpu, note="CPU of this process"))
    emit(Figure(what, "MB", ours.grown_bytes / 1e6, note="growth of memory", aim="flat"))
    emit(Figure(f"{count:,} lines checked", "s", check.seconds, note=f"memory +{check.grown_bytes / 1e6:.0f} MB"))


def main() -> None:
    """Parse options, start a server, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=50_000)
    options = parser.parse_args()
    set_json_dumps(lambda value: json.dumps(value, separators=(",", ":")))
    with running_server(*choose_binaries()) as server:
        server.execute("CREATE DATABASE ingest")
        run(server.url("ingest"), options.lines)


if __name__ == "__main__":
    main()
