"""Two who retry the same batch at the same moment: one child, and each line in it once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from orchestrator.db.batches import SqlBatches
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Batch
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import Retried, retry_batch
from tests.factories import make_batch, make_new_job
from tests.services.bench import Bench
from tests.services.test_batch_actions import desk_of, end_refused

AT_ONCE = 2


class MetBatches(SqlBatches):
    """Everybody has planned before anybody makes the child."""

    meeting: Barrier

    def create(self, batch: Batch) -> None:
        self.meeting.wait(20)
        super().create(batch)


class LateBatches(SqlBatches):
    """Somebody else does all of it between our plan and our child."""

    other: Callable[[], object]

    def create(self, batch: Batch) -> None:
        self.other()
        super().create(batch)


def retry_with(bench: Bench, batches: SqlBatches, batch_id: str) -> Retried | Conflict:
    desk = replace(desk_of(bench), batches=batches)
    try:
        return retry_batch(desk, batch_id, ["failed"], max_cost_micros=None, actor="ann", reason="")
    except Conflict as conflict:
        return conflict


def children(bench: Bench, batch_id: str) -> list[str]:
    return [batch.id for batch in bench.app.reports.list_family(batch_id) if batch.parent_id == batch_id]


def test_two_at_once_make_one_child(bench: Bench) -> None:
    """Promise 2: both have planned the same lines; the provider sees each of them once more."""
    with bench.process() as context:
        batch_id = end_refused(bench, context, 3)
        batches = MetBatches(bench.app.batches._database)
        batches.meeting = Barrier(AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ends = list(pool.map(lambda _: retry_with(bench, batches, batch_id), range(AT_ONCE)))
        (child,) = children(bench, batch_id)
        assert any(isinstance(end, Retried) for end in ends)
        assert {end.child.id for end in ends if isinstance(end, Retried) and end.child} == {child}
        assert [job.custom_id for job in bench.jobs(child)] == ["job-0", "job-1", "job-2"]
        before = bench.posts()
        bench.submit(context)
        assert bench.posts() == before + 3


def test_who_comes_when_the_child_is_whole_is_told(bench: Bench) -> None:
    """A second child would pay for the same lines twice."""
    with bench.process() as context:
        batch_id = end_refused(bench, context)
        batches = LateBatches(bench.app.batches._database)
        batches.other = lambda: retry_with(bench, bench.app.batches, batch_id)
        assert isinstance(retry_with(bench, batches, batch_id), Conflict)
        (child,) = children(bench, batch_id)
        assert {job.state for job in bench.jobs(child)} == {State.QUEUED}


def test_nothing_comes_in_behind_the_end_of_an_intake(bench: Bench) -> None:
    """The batch may be finished by then, and its files written."""
    batch = make_batch()
    bench.app.batches.create(batch)
    bench.app.batches.add_jobs(batch.id, [make_new_job(line_number=1)], actor="local")
    bench.app.batches.finish_intake(batch.id)
    assert bench.app.batches.add_jobs(batch.id, [make_new_job(line_number=2)], actor="local") == 0
    assert [member.line_number for member in bench.app.batches.list_members(batch.id)] == [1]


def test_a_child_is_joined_while_it_is_filled(bench: Bench) -> None:
    """The other one died, or is slow: its child is filled, not another one made."""
    with bench.process() as context:
        batch_id = end_refused(bench, context, 3)
        batches = LateBatches(bench.app.batches._database)
        batches.other = lambda: begin(bench, batch_id)
        end = retry_with(bench, batches, batch_id)
        assert isinstance(end, Retried)
        assert [job.custom_id for job in bench.jobs(children(bench, batch_id)[0])] == ["job-0", "job-1", "job-2"]
        assert (end.new_count, len(children(bench, batch_id))) == (3, 1)


class BegunBatches(SqlBatches):
    """Dies once the child is there."""

    def add_jobs(self, *_: object, **__: object) -> int:
        raise KeyboardInterrupt


def begin(bench: Bench, batch_id: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        retry_with(bench, BegunBatches(bench.app.batches._database), batch_id)
