"""Events are written with the change of state that they tell of, once, for whoever listens."""

from __future__ import annotations

import json

import pytest

from orchestrator.db.outbox import DELIVERIES, WEBHOOK_EVENTS
from tests.db.delivering import Post
from tests.db.driver import Driver


@pytest.fixture
def post(driver: Driver) -> Post:
    """Give the deliver lane of that database."""
    return Post(driver)


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
