"""The doctor's rules of webhooks, each broken once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from orchestrator.db.audit import SqlAudit
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS
from orchestrator.webhooks import SecretBox
from tests.db.delivering import DOWN, Post
from tests.db.driver import Driver


@pytest.fixture
def post(driver: Driver) -> Post:
    """Give the deliver lane of that database, one event queued in it."""
    post = Post(driver)
    post.endpoints.add_test(post.add().id)
    return post


def codes(post: Post) -> set[str]:
    """Return the codes of what the doctor finds."""
    return {each.code for each in SqlAudit(post.driver.database).find_violations(max_unknown_per_hour=20)}


def test_what_the_lane_leaves_breaks_nothing(post: Post) -> None:
    """Queued a moment ago, waiting for its next attempt, delivered: all in order."""
    assert codes(post) == set()
    (endpoint,) = post.endpoints.list_all()
    post.receivers.answers[endpoint.url] = DOWN
    post.go_on_for(timedelta(minutes=1))
    post.clock.advance(timedelta(minutes=4))
    assert codes(post) == set()


def test_deliveries_that_nobody_makes_are_told(post: Post) -> None:
    """Five minutes past its time nobody serves the deliver lane."""
    post.clock.advance(timedelta(minutes=6))
    assert codes(post) == {"deliveries_wait"}


def test_deliveries_of_a_disabled_endpoint_are_told(post: Post) -> None:
    """Left behind by a state that changed in the moment of disabling, while no lane runs."""
    values = {"disabled_at": post.clock.now(), "disabled_reason": "by hand"}
    post.driver.database.write(lambda c: c.execute(update(ENDPOINTS).values(values)))
    post.clock.advance(timedelta(minutes=6))
    assert codes(post) == {"deliveries_stranded"}


def test_deliveries_that_nobody_could_sign_are_told(post: Post) -> None:
    """The key that sealed the endpoint's secret is gone; once it is back and the event delivered, nothing is told."""
    key, post.box = post.box, SecretBox("another key of an installation, long enough")
    post.take_turns()
    assert codes(post) == {"deliveries_unsigned"}
    post.box = key
    post.go_on_for(timedelta(hours=1))
    assert codes(post) == set()


def test_an_event_for_nobody_is_told(post: Post) -> None:
    """Events are written with their deliveries or not at all."""
    post.driver.database.write(lambda c: c.execute(delete(DELIVERIES)))
    assert codes(post) == {"event_unaddressed"}
