"""Takes job files in, each in a process of its own that kills itself (SIGKILL) at a chosen statement.

As a program it forks one for every line of its input, so that each begins with everything imported: a JSON list of
database URL, file and statement; it answers with the exit code.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from typing import cast

from sqlalchemy import event

from orchestrator.clock import SystemClock
from orchestrator.db import inserts
from orchestrator.db.batches import SqlBatches
from orchestrator.db.engine import make_engine, open_database
from orchestrator.domain.kind import Kind
from orchestrator.services import batches
from orchestrator.services.intake import CheckOptions, Intake, check_file, take_file
from orchestrator.zai.kinds import load_kinds
from tests.services.intake.fakes import FakeStore

CHUNK = 20
KINDS = cast("dict[str, Kind]", load_kinds())


def take_in(url: str, path: Path, kill_at: int | None) -> Intake:
    """Check and take the file; before the statement numbered `kill_at`, BEGIN and COMMIT included, die."""
    batches.CHUNK = CHUNK
    inserts.COPY_FROM = CHUNK // 2  # both ways to insert
    clock = SystemClock()
    with closing(open_database(url, clock=clock)) as database:
        if kill_at is not None:
            numbers = itertools.count()

            def count(*_: object) -> None:
                if next(numbers) == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(database.engine, "before_cursor_execute", count)
            event.listen(database.engine, "commit", count)
        checked = check_file(path, KINDS, options=CheckOptions("sandbox"))
        taker = batches.Taker(SqlBatches(database), FakeStore(), clock, Random(), path.parent / "spool")
        return take_file(checked, taker)


def main() -> None:
    """Fork, wait, answer, until the input ends."""
    for line in sys.stdin:
        url, path, kill_at = json.loads(line)
        make_engine(url)  # imports the driver; opens nothing
        child = os.fork()
        if not child:
            take_in(url, Path(path), kill_at)
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
