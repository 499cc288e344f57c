"""The deliver lane against receivers that are down, gone, slow or many: every event arrives, nobody holds another back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, text

from orchestrator.db.endpoint_rows import make_endpoint_row
from orchestrator.db.inserts import insert_many
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS, WEBHOOK_EVENTS, record_for
from orchestrator.domain.deliveries import SCHEDULE
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.webhooks import TEST, Endpoint
from orchestrator.webhooks import SecretBox
from tests.db.delivering import DOWN, GONE, OK, SLOW, Post
from tests.db.driver import Driver
from tests.factories import make_id

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def post(driver: Driver) -> Post:
    """Give the deliver lane of that database."""
    return Post(driver)


def announce(post: Post, endpoint: Endpoint, count: int = 1) -> None:
    """Record events for an endpoint without jobs behind them."""
    database = post.driver.database
    for _ in range(count):
        database.write(lambda c: record_for(c, TEST, endpoint, [endpoint.id], now=post.clock.now(), database=database))


def test_an_outage_of_half_an_hour_costs_nothing(post: Post) -> None:
    """F1: a receiver that is down for 30 minutes has every event afterwards, each with its sequence."""
    endpoint = post.add()
    post.receivers.answers[endpoint.url] = DOWN
    jobs = [post.driver.add_succeeded(f"task-{number}") for number in range(3)]
    post.go_on_for(timedelta(minutes=30))
    assert {record.state for record in post.records()} == {"pending"}
    post.receivers.answers[endpoint.url] = OK
    post.receivers.received.clear()
    post.go_on_for(timedelta(hours=1))
    assert {record.state for record in post.records()} == {"delivered"}
    bodies = [json.loads(sending.body)["data"] for sending in post.receivers.received]
    assert sorted(body["id"] for body in bodies) == sorted(job.id for job in jobs)
    assert all(body["sequence"] > 0 for body in bodies)


def test_a_delivery_is_tried_by_the_whole_schedule(post: Post) -> None:
    """Every attempt has the same id and body and a time of its own; at the end it is given up, its log whole."""
    endpoint = post.add()
    announce(post, endpoint)
    post.receivers.answers[endpoint.url] = DOWN
    post.go_on_for(timedelta(days=4))
    (record,) = post.records()
    assert (record.state, record.attempt_count) == ("failed", len(SCHEDULE))
    assert [attempt.number for attempt in record.attempts] == list(range(1, len(SCHEDULE) + 1))
    received = post.receivers.received
    assert len({(sending.message_id, sending.body) for sending in received}) == 1
    assert len({sending.at for sending in received}) == len(SCHEDULE)


def test_a_dead_endpoint_holds_nobody_back(post: Post) -> None:
    """F2: with a backlog at one dead endpoint every healthy one is served by the first claim."""
    dead = post.add("https://dead.example/")
    post.receivers.answers[dead.url] = DOWN
    announce(post, dead, 200)
    healthy = [post.add(f"https://well.example/{number}") for number in range(20)]
    post.clock.advance(SECOND)
    for endpoint in healthy:
        announce(post, endpoint)
    works = post.claim()
    assert {work.turn.endpoint.id for work in works} == {dead.id, *(endpoint.id for endpoint in healthy)}
    assert max(len(work.turn.deliveries) for work in works) == 8


def test_endpoints_that_only_fail_share_half_of_the_places(driver: Driver) -> None:
    """However many receivers are dead, the other half of the places is for those that work."""
    post = Post(driver, deliver_window=4, deliver_failing=2)
    dead = [post.add(f"https://dead.example/{number}") for number in range(6)]
    for endpoint in dead:
        post.receivers.answers[endpoint.url] = DOWN
        announce(post, endpoint, 2)
    post.take_turns()
    post.clock.advance(SECOND)
    for endpoint in dead:
        announce(post, endpoint, 3)
    well = post.add("https://well.example/")
    announce(post, well)
    works = post.claim()
    assert sum(work.turn.endpoint.failing_since is not None for work in works) == 2
    assert well.id in {work.turn.endpoint.id for work in works}


def test_an_endpoint_that_took_nothing_rests(post: Post) -> None:
    """F2: one that refuses at once rests as long as it has failed, one to five seconds; one that takes events goes on."""
    dead, well = post.add("https://dead.example/"), post.add("https://well.example/")
    post.receivers.answers[dead.url] = DOWN
    announce(post, dead, 80)
    announce(post, well, 24)
    post.take_turns()
    sent = [sending.url for sending in post.receivers.received]
    assert (sent.count(dead.url), sent.count(well.url)) == (8, 24)
    assert post.deliveries.find_next_due() == post.clock.now() + SECOND
    post.clock.advance(SECOND)
    for rest in (1, 2, 4, 5, 5):
        assert post.take_turns() == 1
        assert post.deliveries.find_next_due() == post.clock.now() + rest * SECOND
        post.clock.advance(rest * SECOND)
    assert [work.turn.endpoint.id for work in post.claim()] == [dead.id]


def test_410_disables_and_cancels_what_is_queued(post: Post) -> None:
    """F6: an endpoint that is gone hears no more, and its owner's other endpoint is told."""
    gone, other = post.add("https://gone.example/"), post.add("https://other.example/", "webhook_endpoint.disabled")
    post.receivers.answers[gone.url] = GONE
    announce(post, gone, 20)
    post.take_turns()
    states = [str(record.state) for record in post.records(gone)]
    assert (states.count("failed"), states.count("cancelled")) == (8, 12)
    assert post.endpoints.get(gone.id).disabled_reason == "gone"
    (told,) = [sending for sending in post.receivers.received if sending.url == other.url]
    body = json.loads(told.body)
    assert (body["type"], body["data"]["id"]) == ("webhook_endpoint.disabled", gone.id)
    post.driver.add_succeeded()
    assert len(post.records(gone)) == 20


def test_a_send_that_nobody_could_mark_is_made_again(post: Post) -> None:
    """F9: a worker dies between sending and marking; once its lease has lapsed another sends the same id again."""
    endpoint = post.add()
    announce(post, endpoint)
    post.perform(post.claim())
    assert post.claim() == []
    post.clock.advance(timedelta(seconds=61))
    post.take_turns()
    (first, second) = post.receivers.received
    assert (first.message_id, first.body) == (second.message_id, second.body)
    (record,) = post.records()
    assert (record.state, record.attempt_count) == ("delivered", 1)


def test_whoever_lost_the_lease_writes_nothing(post: Post) -> None:
    """The token guards the result: a holder that was replaced is fenced."""
    endpoint = post.add()
    announce(post, endpoint)
    late = post.claim()
    post.clock.advance(timedelta(seconds=61))
    post.claim()
    post.receivers.answers[endpoint.url] = OK
    post.perform(late)
    post.lane.apply(late)
    (record,) = post.records()
    assert (record.state, record.attempt_count) == ("pending", 0)
    assert [work.turn.endpoint.id for work in post.lane.renew(late)] == [endpoint.id]


def test_renewed_leases_stay_ours(post: Post) -> None:
    """A turn that takes long is renewed: nobody else takes the endpoint."""
    announce(post, post.add())
    works = post.claim()
    for _ in range(4):
        post.clock.advance(timedelta(seconds=20))
        assert post.lane.renew(works) == []
    assert post.claim() == []


def test_a_stop_half_way_writes_what_was_answered(post: Post) -> None:
    """What a receiver has taken is not sent again after Ctrl-C; what it has not is due at once."""
    endpoint = post.add()
    announce(post, endpoint, 2)
    works = post.claim()

    async def send_one() -> None:
        await post.lane._send(works[0], works[0].turn.deliveries[0])

    asyncio.run(send_one())
    post.lane.release(works)
    assert sorted(record.state for record in post.records()) == ["delivered", "pending"]
    post.take_turns()
    assert set(post.receivers.counts().values()) == {1}
    assert len(post.receivers.received) == 2


@pytest.mark.parametrize("how", ["disable", "delete"])
def test_a_disabled_endpoint_hears_nothing_more(post: Post, how: str) -> None:
    """F10: between two attempts, or while one is under way, it stops at once, and what was sent is not marked."""
    endpoint = post.add()
    post.receivers.answers[endpoint.url] = DOWN
    announce(post, endpoint, 9)
    post.take_turns()
    post.clock.advance(timedelta(seconds=6))
    under_way = post.claim()
    if how == "disable":
        post.endpoints.set_enabled(endpoint.id, reason="by hand")
    else:
        post.endpoints.delete(endpoint.id)
    post.receivers.received.clear()
    assert [work.turn.endpoint.id for work in post.lane.renew(under_way)] == [endpoint.id]
    post.go_on_for(timedelta(days=4))
    assert post.receivers.received == []
    assert {record.state for record in post.records()} == {"cancelled"}
    assert post.deliveries.find_next_due() is None


def test_what_slips_in_while_an_endpoint_is_disabled_is_cancelled(post: Post) -> None:
    """F10: a state that changed in the same moment leaves a delivery behind; the next claim cancels it."""
    endpoint = post.add()
    post.endpoints.set_enabled(endpoint.id, reason="by hand")
    announce(post, endpoint)
    assert post.claim() == []
    assert [record.state for record in post.records()] == ["cancelled"]


def test_both_secrets_sign_while_one_replaces_the_other(post: Post) -> None:
    """F11: rotated between two attempts: both sign during the overlap, the old one not after it."""
    endpoint = post.add()
    announce(post, endpoint)
    post.receivers.answers[endpoint.url] = DOWN
    post.take_turns()
    new = post.box.new_secret()
    post.endpoints.rotate(endpoint.id, post.box.seal(new, endpoint_id=endpoint.id), overlap=timedelta(hours=1))
    post.go_on_for(timedelta(hours=5))
    old = post.receivers.received[0].secrets[0]
    signed = [sending.secrets for sending in post.receivers.received]
    assert signed == [(old,), (new, old), (new, old), (new, old), (new,)]


def test_a_second_rotation_waits_for_the_first(post: Post) -> None:
    """F11: the secret that a receiver still has signs until its promised end; only --overlap 0 ends it before."""
    endpoint, hour = post.add(), timedelta(hours=1)
    sealed = [post.box.seal(post.box.new_secret(), endpoint_id=endpoint.id) for _ in range(4)]
    post.endpoints.rotate(endpoint.id, sealed[0], overlap=hour)
    before = post.endpoints.get(endpoint.id)
    with pytest.raises(Conflict, match="signs until") as caught:
        post.endpoints.rotate(endpoint.id, sealed[1], overlap=hour)
    assert "--overlap 0" in (caught.value.hint or "")
    assert post.endpoints.get(endpoint.id).secrets == before.secrets
    post.clock.advance(hour)
    assert post.endpoints.rotate(endpoint.id, sealed[2], overlap=hour).secrets.previous == sealed[0]
    assert post.endpoints.rotate(endpoint.id, sealed[3], overlap=timedelta(0)).secrets.previous is None


def test_a_rotation_after_the_key_was_lost_signs_at_once(post: Post) -> None:
    """The advice on a secret that does not open is to rotate: the old one, which opens no more, keeps nothing back."""
    endpoint = post.add()
    announce(post, endpoint)
    post.box = SecretBox("another key of an installation, long enough")
    post.take_turns()
    assert [attempt.code for record in post.records() for attempt in record.attempts] == ["secret_unusable"]
    new = post.box.new_secret()
    post.endpoints.rotate(endpoint.id, post.box.seal(new, endpoint_id=endpoint.id), overlap=DAY)
    post.go_on_for(timedelta(hours=1))
    assert [sending.secrets for sending in post.receivers.received] == [(new,)]


def test_a_lost_key_costs_no_event_and_no_endpoint(post: Post) -> None:
    """F14, promise 8: nothing could be signed for six days. That says nothing about the receiver: its events wait, and
    have their whole schedule once the key is back.
    """
    endpoint, key = post.add(), post.box
    announce(post, endpoint)
    post.box = SecretBox("another key of an installation, long enough")
    post.go_on_for(6 * DAY)
    stored, (record,) = post.endpoints.get(endpoint.id), post.records()
    assert (stored.disabled_at, stored.failing_since, post.receivers.received) == (None, None, [])
    assert {attempt.code for attempt in record.attempts} == {"secret_unusable"}
    post.box, post.receivers.answers[endpoint.url] = key, DOWN
    post.go_on_for(4 * DAY)
    assert len(post.receivers.received) == len(SCHEDULE)
    (ended,) = post.records()
    assert (ended.state, ended.attempt_count) == ("failed", record.attempt_count + len(SCHEDULE))


def test_an_endpoint_of_the_default_secret_is_not_rotated(post: Post) -> None:
    """Others share the project's secret: it changes with ORCHESTRATOR_SECRET_KEY alone."""
    endpoint = replace(post.add(), id=make_id("we"), is_global=False, url="https://named.example/")
    row = {**make_endpoint_row(endpoint), "uses_default_secret": True, "sealed_secret": None}
    post.driver.database.write(lambda c: c.execute(insert(ENDPOINTS).values(row)))
    with pytest.raises(Conflict, match="project's secret"):
        post.endpoints.rotate(endpoint.id, "sealed", overlap=DAY)


def test_resending_keeps_id_and_body(post: Post) -> None:
    """F12: one that was delivered goes again: the same id and body, a new time, the log goes on."""
    announce(post, post.add())
    post.take_turns()
    post.clock.advance(DAY)
    (before,) = post.records()
    post.endpoints.resend(before.id)
    post.take_turns()
    first, second = post.receivers.received
    assert (first.message_id, first.body) == (second.message_id, second.body)
    assert second.at - first.at == DAY
    (record,) = post.records()
    assert [attempt.number for attempt in record.attempts] == [1, 2]
    assert (record.state, record.attempt_count) == ("delivered", 2)


def test_resending_all_that_failed_since_a_time(post: Post) -> None:
    """F12: a range is due again and its schedule begins anew; what failed earlier stays as it is."""
    endpoint = post.add()
    post.receivers.answers[endpoint.url] = DOWN
    announce(post, endpoint)
    post.go_on_for(timedelta(days=4))
    since = post.clock.now()
    announce(post, endpoint, 2)
    post.go_on_for(timedelta(days=4))
    post.endpoints.set_enabled(endpoint.id, reason=None)
    announce(post, endpoint)
    post.take_turns()
    assert post.endpoints.resend_failed(since=since) == 2
    post.clock.advance(SECOND)
    post.take_turns()
    records = post.records()
    assert [str(record.state) for record in records].count("failed") == 1
    assert {record.attempts[-1].next_due_at is not None for record in records if record.state == "pending"} == {True}


def test_nobody_resends_to_a_disabled_endpoint(post: Post) -> None:
    """It says what to do first; an unknown delivery is not found."""
    endpoint = post.add()
    announce(post, endpoint)
    (record,) = post.records()
    post.endpoints.set_enabled(endpoint.id, reason="by hand")
    with pytest.raises(Conflict, match="by hand"):
        post.endpoints.resend(record.id)
    with pytest.raises(Conflict, match="by hand"):
        post.endpoints.add_test(endpoint.id)
    with pytest.raises(NotFound):
        post.endpoints.resend("dlv_nothing")


def test_five_days_of_failures_disable(post: Post) -> None:
    """F14: nothing but failures for five days: disabled, the owner told, the log kept."""
    endpoint, other = post.add(), post.add("https://other.example/", "webhook_endpoint.disabled")
    post.receivers.answers[endpoint.url] = DOWN
    for _ in range(6):
        announce(post, endpoint)
        post.go_on_for(DAY)
    stored = post.endpoints.get(endpoint.id)
    assert stored.disabled_reason == "failing"
    assert stored.failing_since is not None
    assert stored.disabled_at is not None
    assert stored.disabled_at - stored.failing_since >= 5 * DAY
    assert [json.loads(s.body)["type"] for s in post.receivers.received if s.url == other.url] == [
        "webhook_endpoint.disabled"
    ]
    assert all(record.attempts for record in post.records(endpoint))


def test_one_success_resets_the_five_days(post: Post) -> None:
    """F14: an endpoint that answers now and then is not disabled."""
    endpoint = post.add()
    for day in range(8):
        post.receivers.answers[endpoint.url] = OK if day == 4 else DOWN
        announce(post, endpoint)
        post.go_on_for(DAY)
    assert post.endpoints.get(endpoint.id).disabled_at is None


def test_days_in_which_nothing_was_tried_disable_nobody(post: Post) -> None:
    """F14: a quiet endpoint that failed last week: the next event has its whole schedule, and may still arrive."""
    endpoint = post.add()
    post.receivers.answers[endpoint.url] = DOWN
    announce(post, endpoint)
    post.go_on_for(6 * DAY)
    announce(post, endpoint)
    post.go_on_for(3 * DAY)
    newest, oldest = post.records()
    assert (newest.state, oldest.state) == ("pending", "failed")
    assert newest.attempt_count > 1
    assert post.endpoints.get(endpoint.id).disabled_at is None
    post.receivers.answers[endpoint.url] = OK
    post.go_on_for(2 * DAY)
    assert post.records()[0].state == "delivered"


def test_endpoints_that_are_slow_share_half_of_the_places_too(driver: Driver) -> None:
    """F2: receivers that take every event after ten seconds leave the other half to those that answer at once."""
    post = Post(driver, deliver_window=4, deliver_failing=2)
    slow = [post.add(f"https://slow.example/{number}") for number in range(6)]
    for endpoint in slow:
        post.receivers.answers[endpoint.url] = SLOW
        announce(post, endpoint)
    post.take_turns()
    post.clock.advance(SECOND)
    for endpoint in slow:
        announce(post, endpoint)
    well = post.add("https://well.example/")
    announce(post, well)
    works = post.claim()
    assert len(works) == 3
    assert well.id in {work.turn.endpoint.id for work in works}
    assert post.lane.claim(works) == []  # the two that are held have the whole share from their beginning on
    post.clock.advance(timedelta(seconds=10))
    assert post.lane.claim(works) == []
    for endpoint in slow:
        post.receivers.answers[endpoint.url] = OK
    post.perform(works)
    post.lane.apply(works)
    post.take_turns()
    for endpoint in slow:
        announce(post, endpoint)
    assert len(post.claim()) == 4


def test_a_turn_that_is_slow_takes_of_that_share_at_once(driver: Driver) -> None:
    """F2: what a new process has not yet seen end counts as soon as it has lasted two seconds."""
    post = Post(driver, deliver_window=4, deliver_failing=2)
    dead = post.add("https://dead.example/")
    post.receivers.answers[dead.url] = DOWN
    announce(post, dead, 2)
    post.take_turns()
    for number in range(2):
        announce(post, post.add(f"https://new.example/{number}"))
    held = post.claim()
    post.clock.advance(timedelta(seconds=6))
    well = post.add("https://well.example/")
    announce(post, well)
    assert [work.turn.endpoint.id for work in post.lane.claim(held)] == [well.id]


def test_ten_thousand_endpoints_take_turns(driver: Driver) -> None:
    """F17: each is served once before any is served again, whoever waited longest first.

    Statistics that were taken while the rows were being written must not matter: a claim once took minutes with them.
    """
    post = Post(driver, deliver_window=500)
    pattern = post.add()
    endpoints = [replace(pattern, id=make_id("we"), url=f"https://many.example/{n}") for n in range(10_000)]
    now = post.clock.now()

    def fill(connection: object) -> None:
        insert_many(connection, ENDPOINTS, [make_endpoint_row(endpoint) for endpoint in endpoints])  # type: ignore[arg-type]
        event = {
            "id": "evt_1", "type": TEST, "owner": "local", "job_id": None, "batch_id": None, "endpoint_id": None,
            "sequence": 0, "body": "{}", "created_at": now,
        }  # fmt: skip
        insert_many(connection, WEBHOOK_EVENTS, [event, {**event, "id": "evt_2"}])  # type: ignore[arg-type]
        rows = [
            {
                "id": make_id("dlv"), "event_id": event_id, "endpoint_id": endpoint.id, "state": "pending",
                "attempt_count": 0, "resent_count": 0, "due_at": now, "created_at": now, "finished_at": None,
            }
            for endpoint in endpoints
            for event_id in ("evt_1", "evt_2")
        ]  # fmt: skip
        insert_many(connection, DELIVERIES, rows)  # type: ignore[arg-type]
        if not driver.database.is_sqlite:
            with driver.database.engine.connect() as other:
                other.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))

    driver.database.write(fill)
    post.lane._tools = replace(post.lane._tools, limits=replace(post.lane._tools.limits, deliver_at_once=1))
    served: list[str] = []
    for _ in range(20):
        works = post.claim()
        served += [work.turn.endpoint.id for work in works]
        post.clock.advance(SECOND)
        post.perform(works)
        post.lane.apply(works)
    assert len(set(served)) == 10_000
