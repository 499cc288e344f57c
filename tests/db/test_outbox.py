"""Events are written with the change of state that they tell of, once, for whoever listens."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from orchestrator.db.named_webhooks import Named, link_webhooks
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS, WEBHOOK_EVENTS, JobEnd, record_jobs
from orchestrator.domain.outcomes import ArchiveStep, OutputStored, ProviderFailed, Rejected, Unknown
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from tests.db.delivering import Post
from tests.db.driver import Driver
from tests.factories import make_file, make_new_job


@pytest.fixture
def post(driver: Driver) -> Post:
    """Give the deliver lane of that database."""
    return Post(driver)


def types(post: Post) -> list[str]:
    """Return the types of what was received, in order."""
    return [json.loads(sending.body)["type"] for sending in post.receivers.received]


def test_a_job_that_ends_is_delivered(post: Post) -> None:
    """State, event and delivery come in one commit; the lane sends the stored bytes and says so."""
    endpoint = post.add()
    job = post.driver.add_succeeded()
    post.take_turns()
    (sending,) = post.receivers.received
    body = json.loads(sending.body)
    assert (body["type"], body["data"]["id"], body["data"]["status"]) == ("job.succeeded", job.id, "succeeded")
    assert body["data"]["sequence"] == post.driver.history.list_events(job.id)[-1].sequence
    assert [output["url"] for output in body["data"]["outputs"]] == [None]
    (record,) = post.records(endpoint)
    assert (record.state, record.attempt_count, record.event_id) == ("delivered", 1, sending.message_id)


def test_nobody_listening_means_nothing_rendered(post: Post) -> None:
    """Without an enabled endpoint of the owner there is no event, and none for another owner's."""
    post.add(owner="somebody else")
    post.driver.add_succeeded()
    assert post.driver.rows(WEBHOOK_EVENTS) == []
    assert post.driver.rows(DELIVERIES) == []


def test_every_end_is_announced(post: Post) -> None:
    """A failure, a refusal, a cancelled job and one that waits for a person are told, each by its own type."""
    post.add()
    driver = post.driver
    driver.finish_poll(driver.add_processing("task-1").id, ProviderFailed(None, "no reason given"))
    driver.add_many(1)
    driver.report(driver.claim_one(), Rejected("1210", "a parameter is wrong"))
    driver.add_held()
    post.take_turns()
    assert sorted(types(post)) == ["job.failed", "job.failed", "job.needs_review"]


def test_the_same_change_twice_is_one_event(post: Post) -> None:
    """F16: a step that is applied again finds its guard gone, and the event stands once; the table insists."""
    post.add()
    driver = post.driver
    job = driver.add_archiving()
    held = driver.hold(LaneName.ARCHIVE, job.id)
    step = ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs))
    assert [driver.apply(held, step).is_fenced for _ in range(2)] == [False, True]
    (event,) = driver.rows(WEBHOOK_EVENTS)
    assert (event["job_id"], event["type"]) == (job.id, "job.succeeded")
    again = JobEnd(job.id, job.owner, event["type"], event["sequence"])
    with pytest.raises(Exception, match=r"(?i)unique"):
        driver.database.write(lambda c: record_jobs(c, [again], now=driver.clock.now(), database=driver.database))
    assert len(driver.rows(WEBHOOK_EVENTS)) == 1


def test_a_batch_is_announced_once_for_each_finish(post: Post) -> None:
    """batch.finished comes once per finish, numbered: anew when late truth has moved a held job of it."""
    post.add("https://hooks.example/batches", "batch.finished")
    driver = post.driver
    driver.add_many(1)
    row = driver.claim_one()
    driver.report(row, Unknown("read_timeout", "no answer"))
    assert [len(driver.batches.finish_done()) for _ in range(2)] == [1, 0]
    post.clock.advance(timedelta(seconds=1))
    driver.report_late(row.submission.id, Rejected("1210", "a parameter is wrong"))
    assert [len(driver.batches.finish_done()) for _ in range(2)] == [1, 0]
    post.take_turns()
    bodies = [json.loads(sending.body) for sending in post.receivers.received]
    assert [body["data"]["sequence"] for body in bodies] == [1, 2]
    assert [body["data"]["job_counts"]["failed"] for body in bodies] == [0, 1]
    assert {(body["type"], body["data"]["object"]) for body in bodies} == {("batch.finished", "batch")}


def test_a_named_webhook_hears_of_its_own_alone(post: Post) -> None:
    """A URL on a line hears of that job, one on a batch of its jobs and its end; one row for each URL."""
    driver = post.driver
    mine, other = make_new_job(webhook="https://a.example/"), make_new_job()
    batch = driver.add(mine, other)
    driver.batches.link_webhook(batch.id, "https://b.example/")
    driver.batches.link_webhook(batch.id, "https://b.example/")
    for row in driver.claim():
        driver.report(row, Rejected("1210", "a parameter is wrong"))
    driver.batches.finish_done()
    post.take_turns()
    heard = [(sending.url, json.loads(sending.body)["data"]["id"]) for sending in post.receivers.received]
    assert sorted(heard) == sorted(
        [("https://a.example/", mine.id)] + [("https://b.example/", each) for each in (mine.id, other.id, batch.id)]
    )
    assert {sending.secrets for sending in post.receivers.received} == {(post.box.default_secret,)}
    assert len(driver.rows(ENDPOINTS)) == 2


def test_a_deleted_named_webhook_comes_back_when_it_is_named_again(post: Post) -> None:
    """What a person deleted hears of nothing, until another job names the URL."""
    driver = post.driver
    driver.add(make_new_job(webhook="https://a.example/"))
    (endpoint,) = post.endpoints.list_all()
    post.endpoints.delete(endpoint.id)
    assert post.endpoints.list_all() == []
    driver.add(make_new_job(webhook="https://a.example/"))
    (again,) = post.endpoints.list_all()
    assert (again.id, again.disabled_at) == (endpoint.id, None)


def test_the_same_url_of_two_owners_is_two_endpoints(post: Post) -> None:
    """Owners share nothing, not even a failing receiver's pause."""
    database = post.driver.database
    jobs = [make_new_job(), make_new_job()]
    post.driver.add(*jobs)
    named = [Named(owner, "https://a.example/", job_id=job.id) for owner, job in zip("ab", jobs, strict=True)]
    database.write(lambda c: link_webhooks(c, named, now=post.clock.now(), rng=database.rng))
    assert sorted(endpoint.owner for endpoint in post.endpoints.list_all()) == ["a", "b"]


def test_an_endpoint_hears_what_it_subscribed_to(post: Post) -> None:
    """A name or a family; nothing else is stored for it."""
    failed = post.add("https://a.example/", "job.failed")
    every = post.add("https://b.example/", "job.*")
    post.driver.add_succeeded()
    assert (len(post.records(failed)), len(post.records(every))) == (0, 1)


def test_a_chain_of_dependents_is_announced_whole(post: Post) -> None:
    """Jobs that fail because another did are told in the same commit."""
    post.add()
    driver = post.driver
    first = make_new_job(custom_id="first")
    driver.add(first, make_new_job(custom_id="second", depends_on=("first",)))
    driver.report(driver.claim_one(), Rejected("1210", "a parameter is wrong"))
    post.clock.advance(timedelta(seconds=1))
    post.take_turns()
    assert types(post) == ["job.failed", "job.failed"]
    assert driver.state(first.id) is State.FAILED
