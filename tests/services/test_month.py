"""A month without the bucket, on a clock that is moved: in time everything is archived, too late every loss is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import Store
from orchestrator.domain.states import State
from orchestrator.services.lanes.context import LaneContext
from tests.health import assert_healthy
from tests.services.bench import Bench
from tests.services.desk import VIDEO

DAY = timedelta(days=1)
HOURS_LEFT = (5, 2, 1, 6, 3)
"""Of each film's link on the thirtieth day, in the order in which the films were asked for."""


class DownStore:
    """Refuses whatever is asked."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a store has
        def refuse(*_: object, **__: object) -> NoReturn:
            raise Transient("store_unreachable", "connection refused")

        return refuse


class Stores:
    """One archive, which may be down; the keys that were put into it, in their order."""

    def __init__(self, real: Store) -> None:
        self._real = real
        self.is_down = True
        self.puts: list[str] = []

    def open(self, url: str) -> Any:  # noqa: ANN401 - a store, or what stands for one
        return DownStore() if self.is_down else self

    def put_file(self, key: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the real one's
        self.puts.append(key)
        self._real.put_file(key, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        return getattr(self._real, name)


def begin(bench: Bench, context: LaneContext) -> list[str]:
    """Let the provider make the films, with links that die a few hours after thirty days."""
    batches = []
    for number, hours in enumerate(HOURS_LEFT):
        life = (30 * DAY + timedelta(hours=hours)).total_seconds()
        bench.control("options", {"link_life_seconds": {"vidu": life}})
        batches.append(bench.start_archiving(context, {**VIDEO, "custom_id": f"scene-{number}"}))
    return batches


def days(bench: Bench, context: LaneContext, count: int) -> Iterator[int]:
    """Let days pass; on each the lanes try what is due, and the sweep looks after what is at risk."""
    for day in range(1, count + 1):
        bench.advance(DAY.total_seconds())
        bench.archive(context)
        bench.poll(context)
        bench.sweep(context)
        yield day


def test_a_bucket_that_is_back_on_the_thirtieth_day_gets_everything_in_order(sqlite_bench: Bench) -> None:
    """Promise 7: 29 days down; then all films are archived, those whose links die first before the others, one charge each."""
    bench = sqlite_bench
    with bench.process() as real:
        stores: Any = Stores(real.stores.open(real.archive_url))
        one_by_one = replace(real.limits, archive_windows={"video": 1, "other": 1})
        context = replace(real, stores=stores, limits=one_by_one)
        batches = begin(bench, context)
        for _ in days(bench, context, 29):
            assert {bench.only(batch).state for batch in batches} == {State.ARCHIVING}
        assert stores.puts == []
        bench.advance(DAY.total_seconds())
        expected = sorted(
            (bench.only(batch) for batch in batches), key=lambda job: str(job.outputs[0].source_expires_at)
        )
        stores.is_down = False
        bench.archive(context)
        bench.advance(DAY.total_seconds())
        bench.sweep(context)
    films = [key.split("/")[-2] for key in stores.puts if "-video-" in key]
    assert films == [job.id for job in expected]
    assert [job.custom_id for job in expected] == [f"scene-{HOURS_LEFT.index(hours)}" for hours in sorted(HOURS_LEFT)]
    assert {bench.only(batch).state for batch in batches} == {State.SUCCEEDED}
    assert bench.posts() == len(HOURS_LEFT)
    assert_healthy(bench.app, ledger=bench.ledger())


def test_a_bucket_that_is_away_for_longer_costs_what_is_named(sqlite_bench: Bench) -> None:
    """E7, promise 7: 31 days down: each job says which output is lost, whose link it was, when that died, and the money."""
    bench = sqlite_bench
    bench.control("options", {"links_resigned_per_poll": False})
    with bench.process() as real:
        stores: Any = Stores(real.stores.open(real.archive_url))
        context = replace(real, stores=stores)
        batches = begin(bench, context)
        expiries = {batch: bench.only(batch).outputs[0].source_expires_at for batch in batches}
        for _ in days(bench, context, 31):
            pass
        stores.is_down = False
        for _ in range(4):
            for batch in batches:
                bench.let_due(batch)
            bench.archive(context)
            bench.poll(context)
        bench.advance(DAY.total_seconds())
        bench.sweep(context)
    for batch in batches:
        job, expiry = bench.only(batch), expiries[batch]
        assert expiry is not None
        assert (job.state, job.failure_code) == (State.FAILED, "output_expired")
        for words in ("output 0 (video) is lost", "link of 127.0.0.1", f"expiry {expiry:%Y-%m-%d}"):
            assert words in str(job.failure_message)
        assert job.price is not None
        assert job.cost_final_micros == job.price.micros
        assert "output_expired" in bench.events(job)
    assert [key for key in stores.puts if not key.startswith("batches/")] == []
    assert bench.posts() == len(HOURS_LEFT)
    assert_healthy(bench.app, ledger=bench.ledger())
