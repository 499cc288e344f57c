"""Results whose time is over: what goes, what stays, what postpones it, and what a death in between leaves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from orchestrator.db.outbox import DELIVERIES, WEBHOOK_EVENTS
from orchestrator.db.search import PROMPTS
from orchestrator.domain.access import AuditEntry
from orchestrator.domain.errors import Conflict, Transient
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Store
from orchestrator.domain.retention import Selector
from orchestrator.domain.states import State
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.services.archive.manifest import manifest_key
from orchestrator.services.archive.retention import Keeper, expire, make_plan, remove_rule, set_rule
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.sweep import SweepLane, finish_batches, write_batch_files
from orchestrator.services.lifecycle import retry_job
from orchestrator.services.views import job_object
from tests.health import assert_healthy
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO

DAY = 86_400.0
TALK = {"kind": "transcription", "body": {"model": "glm-asr-2512", "file": "kite.wav"}}
HOOK = {**VIDEO, "webhook": "https://example.com/hook"}


class Away:
    """Archives that cannot be reached."""

    def open(self, url: str) -> Store:
        raise Transient("store_unavailable", "away")


def keeper(bench: Bench) -> Keeper:
    return Keeper(bench.app.retention, bench.app.stores, bench.app.clock)


def keep(bench: Bench, selector: str, days: float | None) -> None:
    span = timedelta(days=days) if days is not None else None
    set_rule(keeper(bench), Selector.parse(selector), span, actor="alex", reason="as agreed with the client")


def run_rules(bench: Bench) -> tuple[int, int, list[str]]:
    done = expire(keeper(bench), bench.app.retention.list_rules(), actor="alex")
    return done.job_count, done.deleted_count, done.failures


def make(bench: Bench, context: LaneContext, *lines: dict[str, Any]) -> list[Job]:
    """Run lines to their end; return the jobs."""
    batch = bench.take(*lines)
    bench.submit(context)
    bench.let_due(batch)
    bench.poll(context)
    bench.archive(context)
    finish_batches(context)
    return list(bench.jobs(batch))


def files_of(bench: Bench, job: Job) -> list[Path]:
    keys = [output.stored.key for output in job.outputs if output.stored]
    return [bench.archived_file(key) for key in (*keys, manifest_key(job))]


def test_what_goes_and_what_stays(bench: Bench) -> None:
    """Objects, papers, prompt and raw answers go; row, cost, submissions, facts of the files and history stay."""
    with bench.process() as context:
        (job,) = make(bench, context, VIDEO)
        (other,) = make(bench, context, IMAGE)
    files = files_of(bench, job)
    assert all(path.is_file() for path in files)
    keep(bench, "kind:video", 90)
    bench.advance(89 * DAY)
    assert make_plan(keeper(bench), bench.app.retention.list_rules()).job_count == 0
    assert run_rules(bench) == (0, 0, [])
    bench.advance(2 * DAY)
    plan = make_plan(keeper(bench), bench.app.retention.list_rules())
    sizes = sum(output.stored.byte_count for output in job.outputs if output.stored)
    assert (plan.jobs["kind:video"], plan.byte_counts["kind:video"]) == (1, sizes)
    assert run_rules(bench) == (1, 1, [])
    assert not any(path.exists() for path in files)
    after = bench.app.history.get_job(job.id)
    assert (after.body, after.input, after.state) == ({}, {}, State.SUCCEEDED)
    assert (after.cost_final_micros, after.body_sha256) == (job.cost_final_micros, job.body_sha256)
    assert [o.stored for o in after.outputs] == [o.stored for o in job.outputs]
    shown = job_object(after, now=bench.clock.now(), kinds=bench.app.kinds, sign=lambda _: pytest.fail("a link"))
    assert "retention rule" in str(shown["status_reason"])
    records = bench.app.history.list_submissions(job.id)
    assert [(record.raw_answer, record.submission.task_id) for record in records] == [(None, job.provider_task_id)]
    assert bench.events(job)[-1] == "erased"
    words = select(PROMPTS.c.job_id)
    assert bench.app.jobs._database.read(lambda c: set(c.execute(words).scalars())) == {other.id}
    assert bench.app.history.get_job(other.id) == other
    assert run_rules(bench) == (0, 0, [])
    assert_healthy(bench.app, ledger=bench.ledger())


def test_an_answer_that_came_at_once_goes_too(bench: Bench) -> None:
    """A transcript stands in the submission as well as in the archive."""
    (bench.folder / "kite.wav").write_bytes((Path(__file__).parents[2] / "examples/speech/kite.wav").read_bytes())
    with bench.process() as context:
        (job,) = make(bench, context, TALK)
    keep(bench, "*", 1)
    bench.advance(2 * DAY)
    assert run_rules(bench) == (1, 1, [])
    (record,) = bench.app.history.list_submissions(job.id)
    assert (record.raw_answer, record.submission.result) == (None, ())
    assert_healthy(bench.app, ledger=bench.ledger())


def test_a_hold_keeps_and_is_counted(sqlite_bench: Bench) -> None:
    """Until it is removed."""
    bench = sqlite_bench
    with bench.process() as context:
        (job,) = make(bench, context, VIDEO)
    keep(bench, "*", 1)
    keep(bench, f"job:{job.id}", None)
    bench.advance(2 * DAY)
    plan = make_plan(keeper(bench), bench.app.retention.list_rules())
    assert (plan.job_count, plan.held_count) == (0, 1)
    assert run_rules(bench) == (0, 0, [])
    remove_rule(keeper(bench), Selector.parse(f"job:{job.id}"), actor="alex", reason="the case is closed")
    assert run_rules(bench) == (1, 1, [])


def test_only_agreed_rules_are_swept(sqlite_bench: Bench) -> None:
    """The sweep does nothing by a rule that nobody has seen at work, or that was changed since."""
    bench = sqlite_bench
    with bench.process() as context:
        (job,) = make(bench, context, VIDEO)
        keep(bench, "kind:video", 1)
        bench.advance(2 * DAY)
        sweep_hourly(bench, context)
        assert bench.app.history.get_job(job.id).erased_at is None
        agree(bench)
        keep(bench, "kind:video", 1)
        sweep_hourly(bench, context)
        assert bench.app.history.get_job(job.id).erased_at is None
        agree(bench)
        sweep_hourly(bench, context)
    assert bench.app.history.get_job(job.id).erased_at is not None
    assert not any(path.exists() for path in files_of(bench, job))
    actions = Counter(entry.action for entry in bench.app.audit_log.list_entries(limit=10))
    assert actions == {"retention.run": 2, "retention.keep": 2}


def test_an_archive_that_refuses_is_gone_on_with(sqlite_bench: Bench) -> None:
    """The rows are erased, the objects are found again by the next run."""
    bench = sqlite_bench
    with bench.process() as context:
        (job,) = make(bench, context, VIDEO)
    keep(bench, "*", 1)
    bench.advance(2 * DAY)
    away = expire(replace(keeper(bench), stores=Away()), bench.app.retention.list_rules(), actor="alex")
    assert (away.job_count, away.deleted_count, away.failures) == (1, 0, [f"{job.id}: store_unavailable: away"])
    assert all(path.exists() for path in files_of(bench, job))
    assert run_rules(bench) == (0, 1, [])
    assert not any(path.exists() for path in files_of(bench, job))


def test_what_is_still_to_be_told_stays(bench: Bench) -> None:
    """Then its words are taken out of what was told; the event keeps its id."""
    with bench.process() as context:
        (job,) = make(bench, context, HOOK)
    keep(bench, "*", 1)
    bench.advance(2 * DAY)
    assert run_rules(bench) == (0, 0, [])
    database = bench.app.jobs._database
    ended = update(DELIVERIES).values(state=DeliveryState.FAILED, due_at=None, finished_at=bench.clock.now())
    database.write(lambda c: c.execute(ended))
    before = database.read(lambda c: c.execute(select(WEBHOOK_EVENTS.c.id, WEBHOOK_EVENTS.c.body)).all())
    assert run_rules(bench) == (1, 1, [])
    after = database.read(lambda c: c.execute(select(WEBHOOK_EVENTS.c.id, WEBHOOK_EVENTS.c.body)).all())
    assert [row.id for row in after] == [row.id for row in before]
    told, left = json.loads(before[0].body), json.loads(after[0].body)
    assert (bool(told["data"]["input"]), left["data"]["input"]) == (True, {})
    assert left["data"]["id"] == job.id


def test_what_another_job_waits_for_stays(sqlite_bench: Bench) -> None:
    """A picture that a film is to be made of."""
    bench = sqlite_bench
    chained = {**VIDEO, "depends_on": ["job-0"]}
    with bench.process() as context:
        batch = bench.take(IMAGE, {**chained, "not_before": "2099-01-01T00:00:00Z"})
        bench.submit(context)
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
    picture, film = bench.jobs(batch)
    assert (picture.state, film.state) == (State.SUCCEEDED, State.QUEUED)
    keep(bench, "*", 1)
    bench.advance(2 * DAY)
    assert run_rules(bench) == (0, 0, [])


def test_an_erased_job_is_not_tried_again_and_answers_no_line(sqlite_bench: Bench) -> None:
    """Its request is gone; a new file with the same line makes a job of its own."""
    bench = sqlite_bench
    bench.fault(fault="content_policy", phase="submit", times=1)
    with bench.process() as context:
        (job,) = make(bench, context, VIDEO)
        assert job.state is State.FAILED
        keep(bench, "*", 1)
        bench.advance(2 * DAY)
        assert run_rules(bench) == (1, 1, [])
        with pytest.raises(Conflict, match="erased"):
            retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=True, actor="alex", reason="")
        again = bench.jobs(bench.take(VIDEO, IMAGE))
    assert job.id not in [one.id for one in again]


def test_the_files_of_a_batch_follow(bench: Bench) -> None:
    """Results are written anew without the erased words; the job file goes once nothing of the batch is kept."""
    with bench.process() as context:
        film, picture = make(bench, context, VIDEO, IMAGE)
        finish_batches(context)
        write_batch_files(context)
        folder = bench.archived_file(f"batches/{film.batch_id}")
        prompts = [str(job.input["prompt"]) for job in (film, picture)]
        assert all(prompt in (folder / "results.jsonl").read_text() for prompt in prompts)
        keep(bench, "kind:video", 1)
        bench.advance(2 * DAY)
        assert run_rules(bench) == (1, 1, [])
        write_batch_files(context)
        assert (folder / "input.jsonl").exists()
        lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert [bool(line["response"]["body"]["input"]) for line in lines] == [False, True]
        keep(bench, "kind:image", 1)
        assert run_rules(bench) == (1, 1, [])
        write_batch_files(context)
    assert not (folder / "input.jsonl").exists()
    assert not any(prompt in (folder / "results.jsonl").read_text() for prompt in prompts)


def sweep_hourly(bench: Bench, context: LaneContext) -> None:
    bench.advance(3601)
    SweepLane(context).claim([])


def agree(bench: Bench) -> None:
    """Say yes to the rules as they are, as `archive retention run` does."""
    bench.app.retention.agree(bench.app.retention.list_rules(), AuditEntry("alex", "retention.run", "*", "*", ""))
