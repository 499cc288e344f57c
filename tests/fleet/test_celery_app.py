"""Celery's part: what goes over the wire, how the configuration reads, when the ticker ticks (design section 5)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from celery.app.amqp import Queues
from celery.worker import state as worker_state
from kombu.utils import symbol_by_name

from orchestrator import celery_app, tasks
from orchestrator.celery_app import (
    RECONNECT_SECONDS,
    LaneWorker,
    SteadyConsumer,
    Ticker,
    ask_broker,
    make_celery,
    make_send,
)
from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import LaneHost
from orchestrator.services.lanes.wakeups import WakeupSender
from tests.fixtures.brokers import Valkey, free_port

pytestmark = pytest.mark.timeout(120)
FIVE = ("submit", "poll", "archive", "deliver", "sweep")


def test_five_queues_and_five_tasks_of_the_lanes_names() -> None:
    """Surfaces section 1: the names are a promise. No task takes an argument."""
    app = make_celery("redis://127.0.0.1:1/0")
    drained: list[LaneName] = []

    class Host:
        def drain(self, name: LaneName) -> None:
            drained.append(name)

    tasks.register(app, cast("LaneHost", Host()))
    assert tuple(cast("Queues", app.amqp.queues)) == FIVE
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == {f"orchestrator.{name}" for name in FIVE}
    for name in FIVE:
        app.tasks[f"orchestrator.{name}"]()
        with pytest.raises(TypeError):
            app.tasks[f"orchestrator.{name}"]("an argument")
    assert drained == list(LaneName)


@pytest.mark.parametrize(
    ("url", "arguments"),
    [("redis://127.0.0.1:1/0", None), ("amqp://127.0.0.1:1//", {"x-queue-type": "quorum"})],
)
def test_nothing_is_kept_repeated_or_waited_for(url: str, arguments: object) -> None:
    """Every setting that makes a message cheap and a loss harmless; RabbitMQ's queues are quorum queues."""
    conf = make_celery(url).conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.result_backend is None
    assert conf.task_ignore_result
    assert not conf.task_acks_late
    assert not conf.task_publish_retry
    assert not conf.worker_enable_remote_control
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_max_retries is None
    assert {queue.queue_arguments is arguments or queue.queue_arguments == arguments for queue in conf.task_queues} == {
        True
    }


def test_a_wake_up_is_one_small_message_that_expires(valkey: Valkey) -> None:
    """On its lane's queue, without arguments; a worker that finds it old drops it."""
    make_send(make_celery(valkey.url))(LaneName.POLL)
    raw = cast("bytes", valkey.client.rpop("poll"))
    message = json.loads(raw)
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[], {}]
    assert message["headers"]["task"] == "orchestrator.poll"
    assert message["headers"]["expires"] is not None
    assert message["headers"]["eta"] is None
    assert len(raw) < 1500
    assert valkey.client.keys("celery-task-meta-*") == []


def test_a_wake_up_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery repeats by default, for seconds, what the next tick makes up for anyhow."""
    app = make_celery("redis://127.0.0.1:1/0")
    sent: list[dict[str, object]] = []
    monkeypatch.setattr(app, "send_task", lambda name, **options: sent.append({"name": name, **options}))
    make_send(app)(LaneName.POLL)
    (message,) = sent
    assert (message["name"], message["queue"]) == ("orchestrator.poll", "poll")
    assert message["retry"] is False


def test_a_broker_that_is_away_is_transient() -> None:
    """No exception of Celery's or of a client library's leaves celery_app."""
    for scheme in ("redis", "amqp"):
        send = make_send(make_celery(f"{scheme}://127.0.0.1:{free_port()}/0"))
        with pytest.raises(Transient) as caught:
            send(LaneName.SUBMIT)
        assert caught.value.code == "broker_unavailable"


def test_a_frozen_broker_is_given_up_after_a_second(valkey: Valkey) -> None:
    """B3: by default publishing to one hangs for ever. The bound here is for a noisy machine."""
    send = make_send(make_celery(valkey.url))
    send(LaneName.SUBMIT)
    valkey.freeze()
    begun = time.monotonic()
    with pytest.raises(Transient):
        send(LaneName.SUBMIT)
    assert time.monotonic() - begun < 20
    valkey.thaw()


class Timer:
    """A consumer's timer that fires when it is told to."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        self.is_cancelled = False

    def call_after(self, seconds: float, call: Callable[..., None], arguments: tuple[Any, ...]) -> Timer:
        self.entries.append((seconds, call, arguments))
        return self

    def cancel(self) -> None:
        self.is_cancelled = True

    def fire(self) -> float:
        seconds, call, arguments = self.entries.pop(0)
        call(*arguments)
        return seconds


class Host:
    """Serves two lanes; one of them drains."""

    served = (LaneName.SUBMIT, LaneName.POLL)
    crash: BaseException | None = None

    def is_draining(self, name: LaneName) -> bool:
        return name is LaneName.POLL


class Sender:
    """Keeps what it was to send."""

    def __init__(self) -> None:
        self.woken: list[LaneName] = []

    def wake(self, lane: LaneName) -> None:
        self.woken.append(lane)


def test_the_ticker_names_the_lanes_that_stand_still_and_goes_on() -> None:
    """B6, B11: at once after connecting, then every tick with its spread; cancelled when the consumer stops."""
    sender, timer = Sender(), Timer()
    app = make_celery("redis://127.0.0.1:1/0")
    LaneWorker(app, cast("LaneHost", Host()), cast("WakeupSender", sender), Stop(), tick_seconds=10.0)
    assert Ticker in app.steps["consumer"]

    class Consumer:
        pass

    consumer: Any = Consumer()
    consumer.app, consumer.timer = app, timer
    ticker = Ticker(consumer)
    ticker.start(consumer)
    assert timer.fire() == 0.0
    waits = [timer.fire() for _ in range(20)]
    assert sender.woken == [LaneName.SUBMIT] * 21
    assert all(8.0 <= wait <= 12.0 for wait in waits)
    assert len(set(waits)) > 1, "workers must not look in step"
    ticker.stop(consumer)
    assert timer.is_cancelled


def test_a_worker_stops_after_a_bug_in_a_lane() -> None:
    """Its supervisor starts a fresh one, which reads its journal; going on would leave what the drain held to nobody."""
    host, stop = Host(), Stop()
    app = make_celery("redis://127.0.0.1:1/0")
    worker = LaneWorker(app, cast("LaneHost", host), cast("WakeupSender", Sender()), stop, tick_seconds=1.0)
    worker.tick()
    was_asked_before = stop.is_requested
    host.crash = ValueError("a bug")
    try:
        worker.tick()
        assert (was_asked_before, stop.is_requested) == (False, True)
        assert worker_state.should_stop == 0
    finally:
        worker_state.should_stop = None


def test_a_broker_is_asked_whether_it_is_there(valkey: Valkey) -> None:
    """The doctor's question: silent when it answers, Transient when nobody does or when it hangs."""
    ask_broker(valkey.url)
    valkey.freeze()
    with pytest.raises(Transient, match="broker_unavailable"):
        ask_broker(valkey.url)
    valkey.thaw()
    with pytest.raises(Transient, match="broker_unavailable"):
        ask_broker(f"redis://127.0.0.1:{free_port()}/0")


class Broker:
    """A connection that remembers how it was asked to be made."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}

    def ensure_connection(self, *_: object, **options: object) -> Broker:
        self.asked = options
        return self


def make_consumer() -> SteadyConsumer:
    """Return a consumer that has not been started: Celery's constructor wants a whole worker."""
    consumer = SteadyConsumer.__new__(SteadyConsumer)
    consumer.connection_errors, consumer.channel_errors = (BrokenPipeError,), (KeyError,)
    return consumer


def test_workers_use_our_consumer() -> None:
    """Celery finds it by its name in the configuration."""
    assert symbol_by_name(make_celery("redis://127.0.0.1:1/0").conf.worker_consumer) is SteadyConsumer


def test_a_message_that_cannot_be_read_ends_the_connection_and_not_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """B7: Celery takes a reset for an outage and connects again; any other error would end the worker."""

    def read_garbage(*_: object) -> None:
        raise ValueError("garbage")

    monkeypatch.setattr(celery_app, "asynloop", read_garbage)
    with pytest.raises(ConnectionResetError) as caught:
        make_consumer().loop()
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [BrokenPipeError(), KeyError()])
def test_a_broker_that_goes_away_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """An outage is not called a message that could not be read."""

    def lose_broker(*_: object) -> None:
        raise error

    monkeypatch.setattr(celery_app, "asynloop", lose_broker)
    with pytest.raises(type(error)) as caught:
        make_consumer().loop()
    assert caught.value is error


def test_a_lost_broker_is_tried_every_two_seconds_until_a_stop() -> None:
    """Promise 11: work resumes within 10 s of its return; Celery alone waits up to 30 s."""
    broker = Broker()
    assert make_consumer().ensure_connected(cast("Any", broker)) is broker
    assert broker.asked["interval_max"] == RECONNECT_SECONDS <= 2
    assert broker.asked["callback"] is worker_state.maybe_shutdown
