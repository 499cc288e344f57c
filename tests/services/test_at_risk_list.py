"""What is not archived yet: in the order in which links die, with where they lead and why it waits; a sweep on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from orchestrator.db.rows import JOBS, OUTPUTS
from orchestrator.domain.errors import Permanent
from orchestrator.domain.ports import Store
from orchestrator.domain.states import State
from orchestrator.services.archive.at_risk import iter_unarchived, risk_object, show_left
from orchestrator.services.archive.sweep import Sweep, sweep_archive
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.views import Object
from tests.health import assert_healthy
from tests.services.bench import TALK, Bench
from tests.services.desk import IMAGE, VIDEO

HOUR = timedelta(hours=1)
VIDEO_LINK = "/_files/video"


def rows(bench: Bench, within: timedelta | None = None) -> list[Object]:
    now = bench.clock.now()
    found = iter_unarchived(bench.app.unarchived, now=now, within=within)
    return [risk_object(each, now=now, kinds=bench.app.kinds) for each in found]


def set_life(bench: Bench, batch: str, hours: float) -> None:
    """Let the links of a job die in so many hours from now."""
    job = bench.only(batch)
    at = bench.clock.now() + hours * HOUR
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(update(OUTPUTS).where(OUTPUTS.c.job_id == job.id).values(source_expires_at=at))
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(source_expires_at=at))


def run_sweep(
    bench: Bench,
    *,
    may_ask: bool = True,
    must_wait: bool = False,
    context: LaneContext | None = None,
    on_told: Callable[[str], None] = lambda _: None,
) -> tuple[list[str], tuple[int, int, int]]:
    """Sweep once; return what was told, and how many were archived, failed and found dead."""
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        on_told(line)
        if line.startswith("dead link"):
            bench.advance(2)  # a link signed in the same second is the same link

    with bench.process() as own:
        outputs = bench.app.unarchived
        tally = sweep_archive(Sweep(context or own, bench.loop, outputs, Stop(), may_ask, tell, must_wait))
    return told, (tally.stored, tally.failed, tally.dead)


def test_links_that_die_first_come_first_over_pages(bench: Bench) -> None:
    """Keyset pages of one: nothing twice, nothing left out, and what has no end of a link comes last."""
    with bench.process() as context:
        batches = [bench.start_archiving(context, line) for line in (VIDEO, IMAGE)]
        talk = bench.take(TALK)
        bench.submit(context)
    for batch, hours in zip(batches, (30.0, 2.0), strict=True):
        set_life(bench, batch, hours)
    assert bench.only(talk).state is State.ARCHIVING
    found: list[str] = []
    last = None
    while page := bench.app.unarchived.list_unarchived(now=bench.clock.now(), after=last, limit=1):
        (last,) = page
        found.append(last.output.id)
    assert found == [row["id"] for row in rows(bench)]
    assert len(found) == len(set(found)) == sum(len(bench.only(b).outputs) for b in (*batches, talk))
    roles = [
        str(row["role"]) for row in rows(bench)
    ]  # of a job's outputs any may come first: their ids were made at once
    assert (roles[0], set(roles[1:3]), set(roles[3:])) == (
        "image",
        {"video", "cover"},
        {"transcript", "transcript_json"},
    )
    assert [row["role"] for row in rows(bench, 3 * HOUR)] == ["image"]


def test_a_row_says_where_the_link_leads_and_why_it_waits_but_never_the_link(sqlite_bench: Bench) -> None:
    """Whoever reads the list cannot fetch with it."""
    bench = sqlite_bench
    bench.faults({"fault": "server_error", "path": VIDEO_LINK, "phase": "link"})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        bench.archive(context)
    (row,) = rows(bench)  # the cover is archived
    link = next(output.source_url for output in bench.only(batch).outputs if output.id == row["id"])
    assert (row["job_id"], row["role"], row["host"]) == (bench.only(batch).id, "video", "127.0.0.1")
    assert (row["status"], row["attempt_count"]) == ("archiving", 1)
    assert "not archived yet" in str(row["message"])
    assert "http_5" in str(row["message"])
    assert link is not None
    assert link.partition("?")[0] not in str(row)
    assert row["is_assumed"] is False


def test_what_failed_is_listed_while_it_can_be_fetched(bench: Bench) -> None:
    """A retry fetches it and pays nothing, as long as the link lives; what is proven lost is not listed."""
    with bench.process() as context:
        batch = bench.start_archiving(context)
    job = bench.only(batch)
    with bench.app.jobs._database.begin_write() as connection:
        values = {"state": "failed", "failure_code": "output_expired", "finished_at": bench.clock.now(), "due_at": None}
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(values))
    set_life(bench, batch, 2.0)
    found = rows(bench)
    assert {row["status"] for row in found} == {"failed"}
    assert f"orchestrator jobs retry {job.id}" in str(found[0]["message"])
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(update(OUTPUTS).where(OUTPUTS.c.id == found[0]["id"]).values(lost_at=bench.clock.now()))
    assert len(rows(bench)) == len(found) - 1
    bench.advance(2 * 3600 + 1)
    assert rows(bench) == []


def test_a_sweep_does_not_wait_for_the_next_try(bench: Bench) -> None:
    """The backoff is cut short, the fresh link asked for at once, the batch closed; one charge."""
    bench.faults({"fault": "server_error", "path": VIDEO_LINK, "phase": "link", "times": 3})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        for _ in range(3):
            bench.let_due(batch)
            bench.archive(context)
    job = bench.only(batch)
    assert job.due_at is not None
    assert job.due_at > bench.clock.now()
    bench.faults({"fault": "dead_link", "status": 404, "path": VIDEO_LINK, "phase": "link", "times": 1})
    told, counts = run_sweep(bench)
    assert counts == (1, 0, 1)
    assert bench.only(batch).state is State.SUCCEEDED
    assert any(line.startswith("dead link") for line in told)
    assert any(line.startswith("archived") for line in told)
    assert rows(bench) == []
    assert bench.app.batches.get(batch).finished_at is not None
    assert bench.posts() == 1
    assert_healthy(bench.app, ledger=bench.ledger())


def test_a_sweep_without_a_key_asks_nobody(sqlite_bench: Bench) -> None:
    """A dead link stays for whoever has the key; what lives is fetched."""
    bench = sqlite_bench
    with bench.process() as context:
        batch = bench.start_archiving(context)
    bench.faults({"fault": "dead_link", "status": 404, "path": VIDEO_LINK, "phase": "link"})
    asked = bench.asks()
    _, counts = run_sweep(bench, may_ask=False)
    assert counts == (1, 0, 1)
    assert bench.asks() == asked
    assert bench.only(batch).state is State.PROCESSING
    assert "the provider is asked" in str(rows(bench)[0]["message"])


def test_a_sweep_leaves_what_a_worker_holds(sqlite_bench: Bench) -> None:
    """A leased row is in somebody's hands."""
    bench = sqlite_bench
    with bench.process() as context:
        batch = bench.start_archiving(context)
        assert bench.claim_leased(context, State.ARCHIVING)
        held = bench.only(batch)
        _, counts = run_sweep(bench)
        assert counts == (0, 0, 0)
        assert bench.only(batch).lease_token == held.lease_token
        assert bench.only(batch).due_at == held.due_at


def test_a_sweep_asks_about_running_tasks_and_archives_what_has_ended(bench: Bench) -> None:
    """Long before the next question is due; one that failed is told of, one that runs is counted; nothing is paid."""
    bench.faults({"fault": "fail", "times": 1})
    bench.control("latency", {"*": {"mean_seconds": 1, "jitter": 0}})
    with bench.process() as context:
        failing = bench.take(VIDEO)
        bench.submit(context)
        ready = bench.start_processing(context, {**VIDEO, "custom_id": "ready"})
        bench.control("latency", {"*": {"mean_seconds": 90_000, "jitter": 0}})
        running = bench.start_processing(context, {**VIDEO, "custom_id": "running"})
    bench.advance(1)
    due = [bench.only(batch).due_at for batch in (failing, ready, running)]
    assert min(at for at in due if at) > bench.clock.now()
    told, counts = run_sweep(bench)
    assert (counts[1:], bench.only(ready).state) == ((0, 0), State.SUCCEEDED)
    assert bench.only(failing).state is State.FAILED
    assert [line for line in told if line.startswith(f"ended     {bench.only(failing).id}: failed: ")]
    assert (bench.only(running).state, bench.app.unarchived.count_running()) == (State.PROCESSING, 1)
    assert bench.posts() == 3


def test_a_sweep_that_waits_stays_until_no_task_runs(sqlite_bench: Bench) -> None:
    """It says how many are left each time it waits, and asks again when the poll lane would."""
    bench = sqlite_bench
    bench.control("latency", {"*": {"mean_seconds": 600, "jitter": 0}})
    with bench.process() as context:
        batches = [bench.start_processing(context, {**VIDEO, "custom_id": f"scene-{n}"}) for n in range(2)]
    waits: list[str] = []

    def let_pass(line: str) -> None:
        if "still running" in line:
            waits.append(line)
            bench.advance(250)

    run_sweep(bench, must_wait=True, on_told=let_pass)
    assert waits == ["2 tasks are still running at the provider; interrupt to stop waiting"] * 3
    assert {bench.only(batch).state for batch in batches} == {State.SUCCEEDED}
    assert bench.posts() == 2


def test_a_sweep_does_not_wait_where_nobody_may_be_asked(sqlite_bench: Bench) -> None:
    """Without a key, waiting would never end."""
    bench = sqlite_bench
    with bench.process() as context:
        batch = bench.start_processing(context)
    asked = bench.asks()
    told, _ = run_sweep(bench, may_ask=False, must_wait=True)
    assert (bench.only(batch).state, bench.asks()) == (State.PROCESSING, asked)
    assert not [line for line in told if "still running" in line]


class RefusingStores:
    """Opens every archive but one."""

    def __init__(self, bench: Bench) -> None:
        self._real = bench.app.stores

    def open(self, url: str) -> Store:
        if url == "s3://refused":
            raise Permanent("store_denied", "403 AccessDenied")
        return self._real.open(url)


def test_an_archive_that_refuses_is_told_and_the_rest_goes_on(sqlite_bench: Bench) -> None:
    """Its uploads cannot be looked through: that is said, and the outputs were fetched all the same."""
    bench = sqlite_bench
    with bench.process() as real:
        batch = bench.start_archiving(real)
        context = replace(real, archive_url="s3://refused", stores=RefusingStores(bench))
        told, _ = run_sweep(bench, context=context)
    assert bench.only(batch).state is State.SUCCEEDED
    assert "uploads: failed: store_denied: 403 AccessDenied" in told
    assert "spool: 0 spool files removed" in told


def test_time_left_is_told_in_two_units() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    left = [timedelta(days=2, hours=4), timedelta(hours=3, minutes=20), timedelta(minutes=12), -timedelta(minutes=1)]
    assert [show_left(now + span, now) for span in left] == ["2d 4h", "3h 20m", "12m", "over"]
    assert show_left(None, now) == "no end known"
