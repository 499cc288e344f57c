"""One run of a lane: claim, perform outside any transaction, apply as outcomes arrive, refill, until nothing is due.

The same for every lane; what claiming, performing and applying mean is the lane's. Design section 5.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from orchestrator.domain.errors import NotFound, Permanent, StepError
from orchestrator.domain.ports import Clock, LaneName
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.renewals import Renewals

log = logging.getLogger(__name__)

IDLE_BUDGET_SECONDS = 30.0  # time with an empty window that one drain may spend waiting for work close at hand
NEAR_SECONDS = 1.0  # a next due_at within this is waited for; a later one is the next tick's
SHORTEST_LOOK_SECONDS = 0.1  # due, yet the claim took nothing: another took it, or its slot went; never spin
STORE_RETRY_SECONDS = 1.0  # between tries to write results while the database is away

W = TypeVar("W")
R = TypeVar("R")


class Lane(Protocol[W, R]):
    """What a drain needs of a lane. Only `perform` runs on the event loop; the rest may block."""

    name: LaneName
    renew_every_seconds: float | None
    looks_when_finished: bool
    """True: what has ended may have left a place or a slot, so look for work at once. False: places are plenty, and
    rows end all the time: look each second, and again as long as looking brings something."""

    finishes_when_stopped: bool
    """True: what is in flight when a stop is asked for ends by itself, within its own deadline; an abort cuts it.
    False: it is given back at once."""

    def claim(self, held: Collection[W]) -> Sequence[W]:
        """Take due work for the places that `held` leaves free."""

    async def perform(self, work: W) -> R:
        """Do the I/O and report; every expected failure is part of the report."""

    def apply(self, results: Sequence[R]) -> None:
        """Write what was reported. Raises StepError when the database is away: the drain keeps the results."""

    def renew(self, held: Collection[W]) -> Collection[W]:
        """Extend the leases; return what is no longer ours."""

    def release(self, held: Collection[W]) -> None:
        """Give back work that will not be finished."""

    def find_next_due(self) -> datetime | None:
        """Return when the lane next has something due."""


class Mailbox:
    """What a lane thread waits on: finished work and wake-ups, in one queue. Wake-ups coalesce.

    Signal handlers wake too: nothing here takes a lock that the interrupted thread could hold.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[int | None] = SimpleQueue()
        self._is_woken = False

    def wake(self) -> None:
        """Ask for another look; never blocks."""
        if not self._is_woken:
            self._is_woken = True
            self._queue.put(None)

    @property
    def is_woken(self) -> bool:
        """True while a wake-up lies here that nobody has read."""
        return self._is_woken

    def put_finished(self, key: int) -> None:
        """Say that a piece of work has ended."""
        self._queue.put(key)

    def wait(self, timeout: float) -> tuple[list[int], bool]:
        """Return the keys finished and whether somebody woke us, after at most `timeout` seconds."""
        finished: list[int] = []
        woken = False
        try:
            item = self._queue.get(timeout=max(timeout, 0.0))
            while True:
                if item is None:
                    self._is_woken = False
                    woken = True
                else:
                    finished.append(item)
                item = self._queue.get_nowait()
        except Empty:
            return finished, woken


class Stop:
    """The two signals of a stop: claim nothing more, and give up what is in flight. Takes no lock, as Mailbox."""

    def __init__(self) -> None:
        self._is_requested = False
        self._is_aborting = False
        self._mailboxes: list[Mailbox] = []

    def watch(self, mailbox: Mailbox) -> None:
        """Wake this mailbox when a stop is asked for."""
        self._mailboxes.append(mailbox)

    def request(self) -> None:
        """Claim nothing more; paid calls in flight finish."""
        self._is_requested = True
        self._wake_all()

    def abort(self) -> None:
        """Do not wait for what is in flight either."""
        self._is_aborting = True
        self._is_requested = True
        self._wake_all()

    @property
    def is_requested(self) -> bool:
        """True once anybody asked to stop."""
        return self._is_requested

    @property
    def is_aborting(self) -> bool:
        """True once the second signal came."""
        return self._is_aborting

    def _wake_all(self) -> None:
        for mailbox in self._mailboxes:
            mailbox.wake()


@dataclass
class _InFlight(Generic[W, R]):
    key: int
    work: W
    future: Future[R]


class Drain(Generic[W, R]):
    """One run of one lane on one thread."""

    def __init__(self, lane: Lane[W, R], *, loop: LoopThread, clock: Clock, mailbox: Mailbox, stop: Stop) -> None:
        self._lane = lane
        self._loop = loop
        self._clock = clock
        self._mailbox = mailbox
        self._stop = stop
        self._held: dict[int, _InFlight[W, R]] = {}
        self._unwritten: list[R] = []
        self._next_key = 0
        self._idle_left = IDLE_BUDGET_SECONDS
        self._renewals = Renewals(lane.renew_every_seconds)
        self._looked_at = clock.monotonic()

    def run(self) -> None:
        """Return when nothing is due, or when a stop was asked for and nothing paid is in flight.

        After an abort what could not be written is left: paid answers lie in the journal, the rest is asked again.
        """
        may_claim = True
        while True:
            self._looked_at = self._clock.monotonic() if may_claim else self._looked_at
            claimed = self._claim() if may_claim and not self._stop.is_requested and not self._unwritten else 0
            if self._stop.is_requested:
                self._let_go()
            if self._stop.is_aborting:
                self._finish_aborted()
                return
            if not self._held and not self._unwritten:
                if self._stop.is_requested or (not claimed and not self._wait_for_near_work()):
                    return
                may_claim = True
                continue
            is_more_likely = claimed > 0 and not self._lane.looks_when_finished
            finished, woken = self._mailbox.wait(0.0 if is_more_likely else self._patience())
            self._collect(finished)
            self._write()
            self._renew()
            may_claim = woken or is_more_likely or self._is_worth_a_claim(has_finished=bool(finished))

    def _claim(self) -> int:
        leased_from = self._clock.monotonic()
        try:
            works = self._lane.claim([flight.work for flight in self._held.values()])
        except StepError as error:
            log.warning("claim_failed", extra={"lane": self._lane.name, "error": str(error)})
            return 0
        for work in works:
            key = self._next_key
            self._next_key += 1
            future = self._loop.submit(self._lane.perform(work))
            self._held[key] = _InFlight(key, work, future)
            future.add_done_callback(lambda _, key=key: self._mailbox.put_finished(key))  # type: ignore[misc]
            self._renewals.add(key, leased_from)
        if works:
            self._idle_left = IDLE_BUDGET_SECONDS
        return len(works)

    def _is_worth_a_claim(self, *, has_finished: bool) -> bool:
        if self._lane.looks_when_finished:
            return has_finished or self._is_something_due()
        if self._seconds_until_look() > 0:
            return False
        self._looked_at = self._clock.monotonic()
        return self._is_something_due()

    def _seconds_until_look(self) -> float:
        return max(self._looked_at + NEAR_SECONDS - self._clock.monotonic(), 0.0)

    def _is_something_due(self) -> bool:
        try:
            due = self._lane.find_next_due()
        except StepError as error:
            log.warning("look_ahead_failed", extra={"lane": self._lane.name, "error": str(error)})
            return False
        return due is not None and due <= self._clock.now()

    def _wait_for_near_work(self) -> bool:
        """Wait for a next due_at close at hand, within the idle budget. True: look again."""
        due = self._lane.find_next_due()
        if due is None:
            return False
        wait = max((due - self._clock.now()).total_seconds(), SHORTEST_LOOK_SECONDS)
        if wait > NEAR_SECONDS or wait > self._idle_left:
            return False
        self._idle_left -= wait
        self._mailbox.wait(wait)
        return True

    def _patience(self) -> float:
        if self._unwritten:
            return STORE_RETRY_SECONDS
        until_look = NEAR_SECONDS if self._lane.looks_when_finished else self._seconds_until_look()
        until_renewal = self._renewals.seconds_left(self._clock.monotonic())
        return until_look if until_renewal is None else min(until_look, until_renewal)

    def _collect(self, finished: Sequence[int]) -> None:
        for key in finished:
            flight = self._held.pop(key, None)
            if flight is None or flight.future.cancelled():
                continue
            error = flight.future.exception()
            if error is None:
                self._unwritten.append(flight.future.result())
            else:  # a bug: perform reports what it expects. The lease lapses and the sweep says what is known.
                log.error("perform_crashed", extra={"lane": self._lane.name}, exc_info=error)

    def _write(self) -> None:
        """Write what ended. What the database cannot take now is kept; what it refuses for good goes alone."""
        results, self._unwritten = self._unwritten, []
        try:
            self._write_some(results)
        except (Permanent, NotFound) as error:
            log.warning("results_taken_apart", extra={"lane": self._lane.name, "error": str(error)})
            for result in results:
                self._write_alone(result)

    def _write_some(self, results: Sequence[R]) -> None:
        if not results:
            return
        try:
            self._lane.apply(results)
        except (Permanent, NotFound):
            raise
        except StepError as error:
            self._unwritten += results
            log.warning(
                "apply_postponed",
                extra={"lane": self._lane.name, "result_count": len(results), "error": str(error)},
            )

    def _write_alone(self, result: R) -> None:
        """One result that is refused must not hold up the lane: its lease lapses, a paid answer lies in the journal."""
        try:
            self._write_some([result])
        except (Permanent, NotFound) as error:
            log.error("result_refused", extra={"lane": self._lane.name, "error": str(error)})  # noqa: TRY400 - the text says it

    def _renew(self) -> None:
        """Renew what is due for it and still in flight, a statement's worth; the next turn takes what is left."""
        now = self._clock.monotonic()
        flights = [self._held[key] for key in self._renewals.take_due(now) if key in self._held]
        flights = [flight for flight in flights if not flight.future.done()]
        if not flights:
            return
        for flight in flights:
            self._renewals.add(flight.key, now)
        try:
            lost = self._lane.renew([flight.work for flight in flights])
        except StepError as error:
            log.warning("renewal_failed", extra={"lane": self._lane.name, "error": str(error)})
            return
        gone = {id(work) for work in lost}
        for flight in flights:
            if id(flight.work) in gone:
                flight.future.cancel()

    def _let_go(self) -> None:
        """After a stop: what may be done again is given back; what somebody else has taken note of (a paid call, a
        delivery) ends by itself, unless the stop is an abort.
        """
        is_paid = self._lane.renew_every_seconds is None
        if not self._held or (self._lane.finishes_when_stopped and not self._stop.is_aborting):
            return
        given_up = {key: flight.work for key, flight in self._held.items() if flight.future.cancel()}
        self._held = {key: flight for key, flight in self._held.items() if key not in given_up}
        if is_paid or not given_up:
            return
        try:
            self._lane.release(list(given_up.values()))
        except StepError as error:  # their leases will lapse
            log.warning("release_failed", extra={"lane": self._lane.name, "error": str(error)})

    def _finish_aborted(self) -> None:
        """Write what had ended before the abort, once."""
        self._let_go()
        self._collect(list(self._held))
        self._write()
