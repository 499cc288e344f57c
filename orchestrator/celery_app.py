"""Celery: its configuration with a reason for each setting, the ticker, and the worker process.

A message says "look": no arguments, no result, no retry. Losing every message costs at most a tick (design section 5).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Any

from celery import Celery, bootsteps
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from celery.worker.loops import asynloop
from kombu import Connection, Exchange, Queue
from kombu.exceptions import KombuError

from orchestrator import tasks
from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import Clock, LaneName
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import LaneHost, Mailboxes, make_lanes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.wakeups import FleetWakeup, WakeupSender
from orchestrator.services.lanes.watchdog import watch_loop

log = logging.getLogger(__name__)

EXCHANGE = "orchestrator"
TICK_SPREAD = 0.2  # +- share of the tick, so that workers do not look in step
RECONNECT_SECONDS = 2  # at most, between two tries: work resumes within 10 s of the broker's return
SOCKET_SECONDS = 1.0  # publishing to a frozen Redis would hang for ever; nobody's wake-up is worth more than this
MESSAGE_LIFE = timedelta(seconds=10)  # a wake-up that nobody took is stale: every worker has ticked since
SPARE_THREADS = 1  # takes wake-ups for lanes that drain already, so that they do not wait behind a drain


def make_celery(broker_url: str) -> Celery:
    """Return the application that sends and takes wake-ups. Opens no connection."""
    app = Celery("orchestrator", broker=broker_url, set_as_current=False)
    is_redis = broker_url.startswith("redis")
    app.conf.update(
        task_queues=[_queue(name, is_redis=is_redis) for name in LaneName],
        task_create_missing_queues=False,  # a mistyped queue is an error, not a place where messages pile up
        task_serializer="json",
        accept_content=["json"],  # pickle and YAML run code (faults B7, I14)
        task_ignore_result=True,  # what became of a job stands in the job table
        result_backend=None,
        task_acks_late=False,  # a message lost with its worker is made up for by the tick; one repeated for ever is not
        worker_prefetch_multiplier=1,  # messages wait in the broker, where any worker can take them
        task_publish_retry=False,  # nobody waits for the broker
        task_store_errors_even_if_ignored=False,
        task_send_sent_event=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # one connection less, and no message that can command a worker
        worker_enable_prefetch_count_reduction=False,  # threads in use are drains: they are not what a reconnect lost
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a drain needs no broker to finish
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_consumer=f"{__name__}:SteadyConsumer",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever: a worker goes on without its broker, and waits for it
        broker_connection_timeout=SOCKET_SECONDS * 2,
        broker_heartbeat=10,  # RabbitMQ: a peer that is gone without a word is noticed within 20 s
        broker_pool_limit=1,  # one thread publishes
        broker_transport_options=_redis_options() if is_redis else _amqp_options(),
    )
    return app


def _queue(name: LaneName, *, is_redis: bool) -> Queue:
    """RabbitMQ gets quorum queues: the kind that survives a node and that its newer versions ask for."""
    arguments = None if is_redis else {"x-queue-type": "quorum"}
    return Queue(name.value, Exchange(EXCHANGE, type="direct"), routing_key=name.value, queue_arguments=arguments)


def _redis_options() -> dict[str, object]:
    return {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 3,  # a consumer on a dead connection finds out within seconds, not 51
        "retry_on_timeout": False,
    }


def _amqp_options() -> dict[str, object]:
    return {"connect_timeout": SOCKET_SECONDS, "write_timeout": SOCKET_SECONDS, "confirm_publish": False}


def ask_broker(broker_url: str) -> None:
    """Connect to the broker once. Raises Transient when it does not answer, or not to these credentials."""
    connection = make_celery(broker_url).connection_for_write()
    away = (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)
    try:
        connection.connect()
        connection.default_channel.close()
    except away as error:
        raise Transient("broker_unavailable", str(error)) from error
    finally:
        connection.release()


def make_send(app: Celery) -> Callable[[LaneName], None]:
    """Return the function that puts one wake-up into a lane's queue. It raises Transient when the broker is away."""
    connection = app.connection_for_write()
    away = (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)

    def send(lane: LaneName) -> None:
        try:
            app.send_task(
                tasks.name_of(lane),
                queue=lane.value,
                expires=MESSAGE_LIFE.total_seconds(),
                ignore_result=True,
                retry=False,
                delivery_mode="transient",
            )
        except away as error:
            raise Transient("broker_unavailable", f"{type(error).__name__}: {error}") from error

    return send


class SteadyConsumer(Consumer):
    """Celery's consumer with two changes: between two tries to reach the broker it waits 2 s, not up to 30; and what
    it cannot read ends the connection, not the worker.
    """

    def loop(self, *arguments: object) -> None:
        """Take messages until the connection ends. Raises ConnectionResetError after a message that is none."""
        try:
            asynloop(*arguments)
        except Exception as error:
            if isinstance(error, (*self.connection_errors, *self.channel_errors)):
                raise
            # Kombu takes a message off the queue before it reads it, so the next connection begins behind it (B7).
            log.exception("message_unreadable")
            raise ConnectionResetError("a message could not be read") from error

    def ensure_connected(self, conn: Connection) -> Connection:
        """Return the connection once it is there; a stop ends the waiting."""
        return conn.ensure_connection(
            self._note_broker_away,
            None,
            interval_start=0,
            interval_step=1,
            interval_max=RECONNECT_SECONDS,
            callback=worker_state.maybe_shutdown,
        )

    def _note_broker_away(self, error: Exception, interval: float) -> None:
        log.warning("broker_unreachable", extra={"error": str(error), "next_try_seconds": interval})


class Ticker(bootsteps.StartStopStep):
    """Once a tick, names the lanes that stand still here to the wake-up thread. No single scheduler to die.

    On the consumer's own timer: it stands still while the consumer reconnects.
    """

    requires = (Tasks,)

    def __init__(self, consumer: Consumer, **options: object) -> None:
        super().__init__(consumer, **options)
        self._entry: Any = None
        self._rng = Random()  # noqa: S311 - spreads ticks, guards nothing

    def start(self, consumer: Consumer) -> None:
        """Begin with a tick at once: what was due while this worker was away is due now."""
        self._schedule(consumer, 0.0)

    def stop(self, consumer: Consumer) -> None:
        """Tick no more."""
        if self._entry is not None:
            self._entry.cancel()

    def _schedule(self, consumer: Consumer, seconds: float) -> None:
        self._entry = consumer.timer.call_after(seconds, self._tick, (consumer,))

    def _tick(self, consumer: Consumer) -> None:
        worker: LaneWorker = consumer.app.lane_worker
        worker.tick()
        self._schedule(consumer, worker.tick_seconds * self._rng.uniform(1 - TICK_SPREAD, 1 + TICK_SPREAD))


class LaneWorker:
    """One worker process: the lanes it serves, and the Celery worker that takes their wake-ups."""

    def __init__(self, app: Celery, host: LaneHost, sender: WakeupSender, stop: Stop, *, tick_seconds: float) -> None:
        self.tick_seconds = tick_seconds
        self._app = app
        self._host = host
        self._sender = sender
        self._stop = stop
        tasks.register(app, host)
        app.lane_worker = self
        app.steps["consumer"].add(Ticker)

    def run(self, *, name: str, queues: Sequence[LaneName]) -> None:
        """Take wake-ups until a stop is asked for; return when the last drain has ended."""
        worker_state.should_stop = worker_state.should_terminate = None
        controller = self._app.WorkController(
            hostname=f"orchestrator@{name}",
            pool_cls="threads",
            concurrency=len(queues) + SPARE_THREADS,
            queues=[queue.value for queue in queues],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        controller.start()
        if self._host.crash is not None:
            raise self._host.crash
        if controller.exitcode:
            raise Transient("worker_failed", "Celery gave up; the lines above say why")

    def tick(self) -> None:
        """Name the lanes that stand still here; after a bug in one, stop: a supervisor starts a fresh process."""
        if self._host.crash is not None:
            self.request_stop()
        for lane in self._host.served:
            if not self._host.is_draining(lane):
                self._sender.wake(lane)

    def request_stop(self) -> None:
        """Claim nothing more and take no more messages; paid calls in flight finish."""
        self._stop.request()
        worker_state.should_stop = 0

    def abort(self) -> None:
        """Give up paid calls in flight too."""
        self._stop.abort()


@contextmanager
def fleet_wakeup(app: Celery, *, clock: Clock) -> Iterator[FleetWakeup]:
    """Give the wake-up port of this process; its messages go out from a thread of their own."""
    sender = WakeupSender(make_send(app), clock=clock)
    sender.start()
    try:
        yield FleetWakeup(sender)
    finally:
        sender.close()


@contextmanager
def lane_worker(
    app: Celery, context: LaneContext, wakeup: FleetWakeup, queues: Sequence[LaneName], *, tick_seconds: float
) -> Iterator[LaneWorker]:
    """Give a worker for the lanes of `queues`; afterwards stop in order: lanes first, the event loop last."""
    stop, loop = Stop(), LoopThread()
    lanes = make_lanes(context, queues)
    host = LaneHost(lanes, loop=loop, clock=context.clock, mailboxes=Mailboxes(), stop=stop)
    wakeup.host = host
    watchdog = watch_loop(loop)
    try:
        yield LaneWorker(app, host, wakeup.sender, stop, tick_seconds=tick_seconds)
    finally:
        stop.request()
        watchdog.close()
        loop.submit(context.close()).result()
        loop.close()
