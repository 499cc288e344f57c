"""What a person is advised to do about a job: by the code that says most, and never what would pay twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.domain.decide.restore import REASON
from orchestrator.domain.job import RESTORED_CODES, RESTORED_IN_DOUBT, Job, Submission, Verdict
from orchestrator.domain.progress import Hold
from orchestrator.domain.states import State
from orchestrator.services.explain import advise, advise_waiting, explain
from orchestrator.services.views import error_object, failure_object, job_object, results_line
from orchestrator.wiring import error_catalogue
from tests.services.intake.desk import KINDS
from tests.services.intake.test_views import NOW, make_job

CATALOGUE = error_catalogue()
PAID = Submission("sub_2", "job_1", 2, NOW, verdict=Verdict.ANSWERED)


def failed(code: str, **fields: object) -> Job:
    return make_job(State.FAILED, failure_code=code, failure_message="m", finished_at=NOW, **fields)


def held(code: str | None = None, **fields: object) -> Job:
    return make_job(State.NEEDS_REVIEW, provider_code=code, last_error="m", **fields)


def advice_of(job: Job) -> str:
    advice = advise(job, KINDS)
    assert advice is not None
    return advice


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (failed("invalid_params", provider_code="1211"), "Choose a model"),
        (failed("invalid_params", provider_code="1214"), "the refused try was not charged"),
        (failed("invalid_params"), "Correct the named field"),
        (failed("content_policy", provider_code="1301"), "Change the prompt"),
        (failed("provider_failed", provider_code="500"), "Retry it as a new charge"),
        (failed("result_lost", provider_code="1214"), "Ask the provider's support"),
        (failed("result_lost", provider_code="1222"), "Ask the provider's support"),
        (failed("output_expired"), "A retry uses another paid task of the job"),
        (failed("internal_error"), "Retry the job"),
        (failed("written_off", provider_code="answer_lost"), "still brings it back"),
        (held("answer_lost"), "attach its id"),
        (held("1231"), "attach its id"),
        (held("http_502"), "attach its id"),
        (held("process_died"), "attach the task's id"),
        (held("duplicate_task_id"), "Compare the two jobs"),
        (held(), "attach the task's id"),
        (held(provider_task_id="t"), "asks about its task again at no charge"),
        (make_job(State.CANCELLED, finished_at=NOW), "is kept"),
    ],
)
def test_a_job_that_stands_still_is_told_what_to_do(job: Job, words: str) -> None:
    """A refusal is explained by the provider's code; the end of a paid task never by the code of a poll."""
    assert words in advice_of(job)


@pytest.mark.parametrize("code", ["answer_lost", "1231", "http_502", "process_died", "restored_in_doubt", None])
@pytest.mark.parametrize(("kind", "model"), [("image", "cogview-4-250304"), ("transcription", "glm-asr-2512")])
def test_nobody_is_told_to_attach_what_has_no_task(kind: str, model: str, code: str | None) -> None:
    """A model that answers at once leaves none: attaching is a conflict there. Other images have one."""
    doubtful = Submission("sub_1", "job_1", 1, NOW, verdict=Verdict.UNKNOWN, provider_code=code)
    job = held(code, kind=kind, model=model, submissions=(doubtful,))
    shown = (job_object(job, now=NOW, kinds=KINDS), results_line(job, now=NOW, kinds=KINDS)["error"])
    for words in (advice_of(job), explain(job, now=NOW, kinds=KINDS), *map(str, shown)):
        assert "attaches" not in words
        assert "attach its" not in words
        assert "attach the" not in words
        assert "resubmit" in words
    assert "retry ID` takes it up at no charge" in advice_of(replace(job, submissions=(PAID,)))
    with_task = held(code, kind="image", model="glm-image", submissions=(doubtful,))
    assert "attach" in advice_of(with_task)
    assert "attaches its task id" in explain(with_task, now=NOW, kinds=KINDS)


@pytest.mark.parametrize("code", sorted(RESTORED_CODES))
def test_a_restored_job_is_not_told_to_resubmit_first(code: str) -> None:
    """docs/decisions/0008: first somebody looks."""
    assert advice_of(held(code)).startswith("Look ")


def test_a_restore_leaves_the_reason_of_what_was_held_before() -> None:
    """Its own call is what is settled; that a restore has marked it is said beside it."""
    lost = Submission("sub_1", "job_1", 1, NOW, verdict=Verdict.UNKNOWN, provider_code="duplicate_task_id")
    job = held(RESTORED_IN_DOUBT, submissions=(lost,))
    assert advice_of(job).startswith("Compare the two jobs")
    sentence = explain(job, now=NOW, kinds=KINDS)
    assert "took it (m); it was held already when the database was restored from a backup" in sentence
    fresh = replace(job, last_error=REASON, submissions=(replace(lost, provider_code=RESTORED_IN_DOUBT),))
    assert advice_of(fresh).startswith("Look in the provider's console")
    assert "held already" not in explain(fresh, now=NOW, kinds=KINDS)


def test_an_unexplained_call_counts_more_than_a_task() -> None:
    """A job with a task and an unknown submission may have been paid for twice already."""
    doubtful = Submission("sub_1", "job_1", 1, NOW, verdict=Verdict.UNKNOWN)
    assert "attach" in advice_of(held("answer_lost", provider_task_id="t", submissions=(doubtful,)))


def test_the_advice_stands_wherever_the_failure_does() -> None:
    """Surfaces 2 and 3: in the job object's failure and in a results line."""
    job = failed("result_lost")
    failure = failure_object(job, kinds=KINDS)
    error = results_line(job, now=NOW, kinds=KINDS)["error"]
    assert failure is not None
    assert isinstance(error, dict)
    assert failure["advice"] == error["advice"] == advice_of(job)
    cancelled = results_line(make_job(State.CANCELLED, finished_at=NOW), now=NOW, kinds=KINDS)["error"]
    assert isinstance(cancelled, dict)
    assert cancelled["advice"]


PAUSE = Hold("default", datetime(2026, 11, 22, 13, tzinfo=UTC), "1113", "empty", is_credential=True)


@pytest.mark.parametrize(
    ("job", "hold", "words"),
    [
        (make_job(State.QUEUED, due_at=NOW), PAUSE, "Top up the account"),
        (make_job(State.QUEUED, due_at=NOW, last_error="name_not_found: x"), None, "name server"),
        (make_job(State.QUEUED, due_at=NOW, last_error="1302: slow"), None, "ORCHESTRATOR_LIMITS"),
        (make_job(State.QUEUED, due_at=NOW, last_error="lease_too_old: x"), None, "overloaded"),
        (make_job(State.QUEUED, due_at=NOW), None, None),
        (make_job(State.PROCESSING, due_at=NOW, last_error="http_502: page"), None, "asked again by itself"),
        (make_job(State.PROCESSING, due_at=NOW, last_error="1222: gone"), None, "asked again by itself"),
        (make_job(State.PROCESSING, due_at=NOW, last_error="1113: empty"), None, "Top up the account"),
        (make_job(State.ARCHIVING, due_at=NOW, last_error="store_full: x"), None, "Make room"),
        (make_job(State.ARCHIVING, due_at=NOW, last_error="http_403: x"), None, "another link"),
        (
            make_job(State.ARCHIVING, due_at=NOW, last_error="manifest.json could not be stored: store_denied: put x"),
            None,
            "Grant read, write",
        ),
        (make_job(State.ARCHIVING, due_at=NOW, last_error="not every output was fetched"), None, None),
        (make_job(State.SUCCEEDED, finished_at=NOW), None, None),
    ],
)
def test_a_job_that_waits_is_told_what_would_help(job: Job, hold: Hold | None, words: str | None) -> None:
    """`jobs why`; a failed question about a task never sends anybody to pay again."""
    advice = advise_waiting(job, CATALOGUE, hold=hold)
    assert advice == words if words is None else advice is not None and words in advice


def test_a_row_of_the_catalogue_is_shown_whole() -> None:
    """`errors list`, later GET /v1/errors."""
    (row,) = [error_object(entry) for entry in CATALOGUE.find_all("1302")]
    assert list(row) == ["code", "object", "source", "then", "meaning", "advice"]
    assert row["source"] == "provider"
