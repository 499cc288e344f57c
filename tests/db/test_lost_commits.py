"""A transaction that was committed and whose answer never came (C2), and poolers that keep no session (C16)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from orchestrator.db.engine import open_database
from orchestrator.domain.errors import Transient
from orchestrator.domain.outcomes import TaskAccepted
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.fixtures.clock import FakeClock
from tests.fixtures.toxic import Toxics, toxic_door

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT\0"  # whole: READ COMMITTED stands in every BEGIN


@dataclass
class TwoWays:
    """One database, seen directly and through a door that spoils what passes."""

    direct: Driver
    through: Driver
    toxics: Toxics


@pytest.fixture
def ways(postgres_url_factory: Callable[[], str], clock: FakeClock) -> Iterator[TwoWays]:
    """Give both; the one through the door has connected already."""
    url = postgres_url_factory()
    server = Path(str(make_url(url).query["host"]))
    with (
        tempfile.TemporaryDirectory(prefix="door-") as folder,  # a socket's path must be short
        toxic_door(server / SOCKET, Path(folder) / SOCKET) as (toxics, _),
        closing(open_database(url, clock=clock)) as direct,
        closing(open_database(url.replace(str(server), folder), clock=clock)) as through,
    ):
        ways = TwoWays(Driver(direct, clock), Driver(through, clock), toxics)
        ways.through.claim()
        yield ways


def test_a_claim_whose_commit_was_not_heard_of_is_not_made_again(ways: TwoWays) -> None:
    """C2: the intent stands; nobody holds it, nobody sends it, and the sweep holds the job when its lease has passed."""
    (job_id,) = ways.direct.add_many(1)
    ways.toxics.cut_answer_to = COMMIT
    with pytest.raises(Transient, match="database_unavailable"):
        ways.through.claim()
    assert ways.toxics.cut_count == 1
    assert ways.direct.get(job_id).state is State.SUBMITTING
    assert ways.through.claim() == ()
    assert [s.number for s in ways.direct.get(job_id).submissions] == [1]


def test_an_answer_whose_commit_was_not_heard_of_lands_once(ways: TwoWays) -> None:
    """C2: the lane keeps the result and writes it again: the token is spent, and as late evidence it changes nothing."""
    ways.direct.add_many(1)
    row = ways.direct.claim_one()
    ways.toxics.cut_answer_to = COMMIT
    with pytest.raises(Transient, match="database_unavailable"):
        ways.through.report(row, TaskAccepted("task-1"))
    assert ways.toxics.cut_count == 1
    again = ways.through.report(row, TaskAccepted("task-1"))
    assert again.is_fenced
    late = ways.through.report_late(row.submission.id, TaskAccepted("task-1"))
    job = ways.direct.get(row.job.id)
    assert (late.is_extra_paid, late.is_duplicate_id) == (False, False)
    assert (job.state, job.provider_task_id, len(job.submissions)) == (State.PROCESSING, "task-1", 1)


def test_a_job_needs_no_session_of_the_database(postgres_url_factory: Callable[[], str], clock: FakeClock) -> None:
    """C16: behind a pooler in transaction mode every transaction may meet another connection."""
    with closing(open_database(postgres_url_factory(), clock=clock)) as database:
        connects: list[object] = []
        event.listen(database.engine, "connect", lambda connection, _record: connects.append(connection))
        event.listen(database.engine, "checkin", lambda _connection, record: record.invalidate())
        driver = Driver(database, clock)
        job = driver.add_processing("task-1")
        assert job.state is State.PROCESSING
        assert len(connects) > 4, "each transaction had a connection of its own"
