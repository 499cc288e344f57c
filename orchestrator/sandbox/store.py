"""What the provider remembers, in SQLite: tasks, POSTs received, and a few named values. A commit has reached the disk
before anything is answered. One connection, used from the event loop's thread only; tables are small and indexed.
"""

import json
import sqlite3
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS named (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posts (request_id TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL, route TEXT NOT NULL,
    kind TEXT NOT NULL, model TEXT NOT NULL, price TEXT NOT NULL, prompt TEXT NOT NULL, picture TEXT NOT NULL,
    file_key TEXT NOT NULL UNIQUE, created_at REAL NOT NULL, finish_at REAL NOT NULL, outcome TEXT NOT NULL,
    reason TEXT, answered INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_by_request ON tasks (request_id);
CREATE INDEX IF NOT EXISTS tasks_in_flight ON tasks (model, finish_at);
"""


@dataclass(frozen=True)
class Shot:
    """What is to be seen and heard in a task's file."""

    width: int = 0
    height: int = 0
    seconds: int = 0
    fps: int = 0
    has_audio: bool = False
    has_watermark: bool = True


@dataclass(frozen=True)
class Task:
    """One accepted task: `outcome` (SUCCESS or FAIL) is what it will be from `finish_at` on."""

    number: int
    id: str
    request_id: str
    route: str
    kind: str
    model: str
    price: str
    prompt: str
    picture: Shot
    file_key: str
    created_at: float
    finish_at: float
    outcome: str = "SUCCESS"
    reason: str | None = None
    answered: bool = False

    def status(self, now: float) -> str:
        return self.outcome if now >= self.finish_at else "PROCESSING"


COLUMNS = tuple(spec.name for spec in fields(Task))
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM tasks"  # noqa: S608 - column names of our own
_INSERT = f"INSERT INTO tasks VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - as above


class Store:
    """The tables, opened or made. `path` None keeps them in memory. `only_reads`: somebody else's, perhaps in use;
    nothing is made or changed.
    """

    def __init__(self, path: Path | None, *, only_reads: bool = False) -> None:
        name = "file::memory:" if path is None else f"{path.absolute().as_uri()}{'?mode=ro' if only_reads else ''}"
        self._db = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        if only_reads:
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def named(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - any JSON value
        """The value kept under the name."""
        row = self._db.execute("SELECT value FROM named WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def keep(self, **values: object) -> None:
        """Keeps JSON values under their names, all or none."""
        self._write("INSERT OR REPLACE INTO named VALUES (?, ?)", [(k, json.dumps(v)) for k, v in values.items()])

    def count_post(self, request_id: str) -> None:
        """One more POST was received with this request_id, whatever becomes of it."""
        self._db.execute(
            "INSERT INTO posts VALUES (?, 1) ON CONFLICT (request_id) DO UPDATE SET count = count + 1", (request_id,)
        )

    def most_posts(self) -> int:
        """The largest number of POSTs received with one request_id."""
        return int(self._db.execute("SELECT coalesce(max(count), 0) FROM posts").fetchone()[0])

    def next_number(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM tasks").fetchone()[0])

    def add(self, task: Task) -> None:
        """Creates and thereby charges the task."""
        self._db.execute(_INSERT, _row(task))

    def mark_answered(self, task_id: str) -> None:
        self._db.execute("UPDATE tasks SET answered = 1 WHERE id = ?", (task_id,))

    def finish(self, task_id: str, *, outcome: str, reason: str | None, at: float) -> None:
        """Ends a task now, whatever its own time was."""
        self._db.execute(
            "UPDATE tasks SET outcome = ?, reason = ?, finish_at = ? WHERE id = ?", (outcome, reason, at, task_id)
        )

    def find(self, task_id: str) -> Task | None:
        return self._one("WHERE id = ?", task_id)

    def find_by_file(self, file_key: str) -> Task | None:
        return self._one("WHERE file_key = ?", file_key)

    def is_used(self, request_id: str) -> bool:
        """Whether an accepted task carries this request_id."""
        row = self._db.execute("SELECT 1 FROM tasks WHERE request_id = ? LIMIT 1", (request_id,)).fetchone()
        return row is not None

    def in_flight(self, model: str, now: float) -> int:
        """Tasks of the model that are not finished."""
        row = self._db.execute("SELECT count(*) FROM tasks WHERE model = ? AND finish_at > ?", (model, now)).fetchone()
        return int(row[0])

    def tasks(self) -> list[Task]:
        """All tasks, oldest first."""
        return [_task(row) for row in self._db.execute(f"{_SELECT} ORDER BY number")]

    def forget(self) -> None:
        """Empties everything but the port."""
        self._db.executescript(
            "BEGIN IMMEDIATE; DELETE FROM tasks; DELETE FROM posts; DELETE FROM named WHERE name <> 'port'; COMMIT"
        )

    def _one(self, where: str, *values: object) -> Task | None:
        row = self._db.execute(f"{_SELECT} {where}", values).fetchone()
        return None if row is None else _task(row)

    def _write(self, statement: str, rows: list[tuple[str, str]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")


def _row(task: Task) -> tuple[object, ...]:
    values = {name: getattr(task, name) for name in COLUMNS}
    values["picture"] = json.dumps(asdict(task.picture))
    return tuple(values.values())


def _task(row: tuple[Any, ...]) -> Task:
    values = dict(zip(COLUMNS, row, strict=True))
    values["picture"] = Shot(**json.loads(values["picture"]))
    values["answered"] = bool(values["answered"])
    return Task(**values)
