"""Objects are shown with the names and the order that surfaces sections 2 and 3 promise."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.history import SubmissionRecord
from orchestrator.domain.job import Job, JobEvent, Output, Price, Role, StoredFile, Submission, Verdict
from orchestrator.domain.progress import Hold
from orchestrator.domain.states import State
from orchestrator.domain.thumbnails import Thumbnail
from orchestrator.services.views import (
    cost_object,
    event_object,
    explain,
    failure_object,
    job_object,
    output_object,
    results_line,
    submission_object,
)
from tests.services.intake.desk import KINDS

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=9)
PRICE = Price(200_000, "USD", "2026-11")
FILE = StoredFile("2026/11/22/job_1/0-video-9f2c.mp4", 8_123_456, "9f2c", "video/mp4", 1920, 1080, 5.0)


def make_job(state: State = State.PROCESSING, **fields: object) -> Job:
    values: dict[str, object] = {
        "id": "job_1",
        "kind": "video",
        "model": "cogvideox-3",
        "state": state,
        "body": {"model": "cogvideox-3", "prompt": "x"},
        "body_sha256": "0" * 64,
        "credential": "default",
        "archive_url": "file:///archive",
        "created_at": NOW,
        "input": {"prompt": "x"},
        "price": PRICE,
        "custom_id": "scene-014",
        **fields,
    }
    return Job(**values)  # type: ignore[arg-type]


def make_output(**fields: object) -> Output:
    values: dict[str, object] = {"id": "out_1", "job_id": "job_1", "index": 0, "role": Role.VIDEO, **fields}
    return Output(**values)  # type: ignore[arg-type]


def test_the_job_object_is_the_promised_one() -> None:
    """Surfaces section 2, key by key and in its order."""
    job = make_job(due_at=LATER, provider_task_id="8868", submission_count=1, poll_count=4, submitted_at=NOW)
    shown = job_object(job, now=NOW, kinds=KINDS)
    assert list(shown) == [
        *("id", "object", "kind", "model", "status", "status_reason", "input", "custom_id", "batch_id", "tags"),
        *("priority", "provider_task_id", "outputs", "failure", "cost", "submission_count", "poll_count"),
        *("created_at", "submitted_at", "finished_at"),
    ]
    assert shown["status_reason"] == "the provider is working; next check in 9 s"
    assert shown["cost"] == {"currency": "USD", "estimate": "0.20", "final": None, "price_version": "2026-11"}
    assert (shown["created_at"], shown["finished_at"], shown["failure"]) == ("2026-11-22T12:00:00.000Z", None, None)
    assert json.loads(json.dumps(shown)) == shown


def test_an_output_shows_its_link_only_when_one_is_signed() -> None:
    """The provider's link is never shown: it opens the file to whoever reads the history."""
    output = make_output(
        stored=FILE, archived_at=NOW, source_url="https://provider.test/secret", source_expires_at=LATER
    )
    assert "secret" not in json.dumps(output_object(output))
    signed = output_object(output, sign=lambda _: ("https://archive.test/x", LATER))
    assert (signed["url"], signed["url_expires_at"]) == ("https://archive.test/x", "2026-11-22T12:00:09.000Z")
    assert (signed["bytes"], signed["width"], signed["duration_seconds"]) == (8_123_456, 1920, 5.0)
    assert signed["thumbnail"] is None
    small = replace(FILE, thumbnail=Thumbnail(900, "ab" * 32, 64, 36))
    shown = output_object(make_output(stored=small, archived_at=NOW), sign_small=lambda _: ("https://x.test/s", LATER))
    assert shown["thumbnail"] == {
        "key": f"{FILE.key}.poster.jpg",
        "bytes": 900,
        "sha256": "ab" * 32,
        "content_type": "image/jpeg",
        "width": 64,
        "height": 36,
        "url": "https://x.test/s",
        "url_expires_at": "2026-11-22T12:00:09.000Z",
    }
    gone = output_object(
        make_output(stored=small, archived_at=NOW, erased_at=LATER), sign_small=lambda _: pytest.fail("a link")
    )
    assert gone["thumbnail"] is None
    waiting = output_object(make_output(), sign=lambda _: ("https://archive.test/x", LATER))
    assert (waiting["key"], waiting["url"], waiting["is_lost"]) == (None, None, False)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (make_job(State.QUEUED), {"final": None}),
        (make_job(State.SUCCEEDED, cost_final_micros=200_000, submission_count=1), {"final": "0.20"}),
        (make_job(State.FAILED, cost_final_micros=0, submission_count=1), {"final": "0.00"}),
        (make_job(State.FAILED, submission_count=1), {"final": None, "charge": "unknown"}),
        (make_job(State.NEEDS_REVIEW, submission_count=1), {"final": None, "charge": "unknown"}),
        (make_job(State.PROCESSING, price=None), {"estimate": None, "currency": None, "final": None}),
        (make_job(price=Price(1_200, "USD", "1")), {"estimate": "0.0012"}),
        (make_job(price=Price(12_000_000, "USD", "1")), {"estimate": "12.00"}),
    ],
)
def test_money_is_exact_and_what_nobody_knows_is_said(job: Job, expected: dict[str, object]) -> None:
    """Surfaces section 2: final is the price once accepted, 0 when surely refused, null while unknown."""
    cost = cost_object(job)
    assert {name: cost[name] for name in expected} == expected
    assert ("charge" in cost) == ("charge" in expected)


def test_a_failure_says_what_to_do() -> None:
    """The kind's advice on the provider's code before ours on the failure code."""
    job = make_job(State.FAILED, failure_code="content_policy", failure_message="refused", finished_at=NOW)
    failure = failure_object(job, kinds=KINDS)
    assert failure is not None
    assert list(failure) == ["code", "message", "advice", "provider_code"]
    assert str(failure["advice"]).startswith("Change the prompt")
    assert failure_object(make_job(), kinds=KINDS) is None


def test_a_results_line_holds_the_job_or_the_error() -> None:
    """Surfaces section 3, for every end state."""
    done = make_job(State.SUCCEEDED, outputs=(make_output(stored=FILE),), finished_at=NOW)
    line = results_line(done, now=NOW, kinds=KINDS)
    assert list(line) == ["id", "custom_id", "status", "response", "error"]
    assert line["response"] == {"status_code": 200, "body": job_object(done, now=NOW, kinds=KINDS)}
    for state, code in [
        (State.FAILED, "result_lost"),
        (State.CANCELLED, "cancelled"),
        (State.NEEDS_REVIEW, "needs_review"),
    ]:
        failed = results_line(make_job(state, failure_code="result_lost"), now=NOW, kinds=KINDS)
        assert (failed["status"], failed["response"]) == (state, None)
        assert isinstance(failed["error"], dict)
        assert failed["error"]["code"] == code
        assert failed["error"]["message"]


REFUSED = "1302: too many requests"
SENTENCES = [
    (make_job(State.QUEUED), "it waits for a free slot of cogvideox-3"),
    (make_job(State.QUEUED, due_at=NOW + timedelta(days=3)), "it starts at 2026-11-25 12:00 UTC"),
    (
        make_job(State.QUEUED, due_at=LATER, last_error=REFUSED),
        f"the last try was refused ({REFUSED}); next try in 9 s",
    ),
    (make_job(State.SUBMITTING), "the request is being sent to the provider"),
    (make_job(State.PROCESSING, due_at=NOW), "the provider is working; it is being asked now"),
    (make_job(State.PROCESSING, due_at=NOW + timedelta(minutes=5), last_error="timeout"), "next check in 5 min"),
    (make_job(State.PROCESSING, due_at=LATER, missing_since=NOW), "has not known the task since 2026-11-22 12:00 UTC"),
    (make_job(State.PROCESSING, due_at=LATER, cancel_requested_at=NOW), "a paid task cannot be stopped"),
    (make_job(State.ARCHIVING), "its outputs are being fetched and archived"),
    (
        make_job(State.ARCHIVING, due_at=NOW + timedelta(hours=3), last_error="x"),
        "not archived yet (x); next try in 3 h",
    ),
    (
        make_job(
            State.ARCHIVING,
            due_at=LATER,
            last_error="x",
            outputs=(make_output(source_expires_at=NOW + timedelta(hours=5)),),
        ),
        "not archived yet (x); next try in 9 s; its link dies in 5 h",
    ),
    (
        make_job(State.ARCHIVING, due_at=LATER, last_error="x", outputs=(make_output(source_expires_at=NOW),)),
        "not archived yet (x); next try in 9 s; its link's life is over",
    ),
    (make_job(State.SUCCEEDED, outputs=(make_output(stored=FILE),)), "1 output archived and verified"),
    (make_job(State.FAILED, failure_message="it was lost"), "it was lost"),
    (make_job(State.CANCELLED), "cancelled"),
    (make_job(State.NEEDS_REVIEW, last_error="cut"), "nobody can know whether the provider took it (cut)"),
]


@pytest.mark.parametrize(("job", "words"), SENTENCES, ids=[f"{job.state}-{n}" for n, (job, _) in enumerate(SENTENCES)])
def test_why_is_one_sentence_in_words(job: Job, words: str) -> None:
    """Surfaces section 1: what it waits for, when it will move."""
    sentence = explain(job, now=NOW)
    assert words in sentence
    assert sentence.startswith("job_1 is ")
    assert sentence.endswith(".")


def test_a_pause_is_the_reason_that_counts() -> None:
    """A held queue says whom it waits for and until when."""
    hold = Hold("default", NOW + timedelta(minutes=5), "1113", "the account is in arrears", is_credential=True)
    sentence = explain(make_job(State.QUEUED), now=NOW, hold=hold)
    assert "the account is paused (the account is in arrears); submissions go on in 5 min" in sentence


def test_events_and_submissions_are_plain_json() -> None:
    """Times RFC 3339, words instead of enumerations, nothing missing."""
    event = JobEvent("evt_1", "job_1", 1, "accepted", None, State.QUEUED, NOW, "local", "accepted", {"x": 1})
    assert event_object(event)["to_state"] == "queued"
    submission = Submission("sub_1", "job_1", 1, NOW, verdict=Verdict.ACCEPTED, task_id="8868")
    record = SubmissionRecord(
        submission=submission,
        credential="default",
        model="cogvideox-3",
        process="p",
        body_sha256="0" * 64,
        price=PRICE,
        moment="answered",
        sent_at=NOW,
        answered_at=LATER,
        http_status=200,
        raw_answer="{}",
        verdict_at=LATER,
        assumed_life_until=LATER,
        slot_released_at=None,
        decided_by=None,
        decided_why=None,
    )
    shown = submission_object(record)
    assert (shown["provider_task_id"], shown["price"], shown["verdict"]) == ("8868", "0.20", "accepted")
    assert json.loads(json.dumps([event_object(event), shown])) == [event_object(event), shown]
