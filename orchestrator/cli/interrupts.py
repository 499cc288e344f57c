"""Ctrl-C and SIGTERM: the first stops cleanly, the second gives up what is in flight."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Protocol

import click

from orchestrator.cli.exits import Exit


class Stoppable(Protocol):
    """What can be stopped in two steps."""

    def request_stop(self) -> None:
        """Claim nothing more; let paid calls end."""

    def abort(self) -> None:
        """Give those up too."""


@dataclass(frozen=True)
class Notices:
    """What a person is told at the first signal and at the second."""

    stopping: str = "stopping: paid calls in flight are finished first; once more gives them up"
    aborting: str = "giving up the calls in flight: their jobs will be held for review"


class Interrupts:
    """What signals came so far."""

    def __init__(self, target: Stoppable, notices: Notices) -> None:
        self._target = target
        self._notices = notices
        self._wakened: SimpleQueue[None] = SimpleQueue()  # an Event deadlocks when its own waiter is interrupted in it
        self.signal: signal.Signals | None = None
        self.is_aborted = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take one signal."""
        if self.signal is None:
            self.signal = signal.Signals(number)
            click.echo(self._notices.stopping, err=True)
            self._target.request_stop()
        else:
            self.is_aborted = True
            click.echo(self._notices.aborting, err=True)
            self._target.abort()
        self._wakened.put(None)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until a signal comes."""
        with suppress(Empty):
            self._wakened.get(timeout=seconds)

    @property
    def exit_code(self) -> Exit | None:
        """130 or 143 once a signal came."""
        if self.signal is None:
            return None
        return Exit.TERMINATED if self.signal is signal.SIGTERM else Exit.INTERRUPTED


@contextmanager
def interrupts(target: Stoppable, notices: Notices | None = None) -> Iterator[Interrupts]:
    """Handle SIGINT and SIGTERM within the block."""
    taken = Interrupts(target, notices or Notices())
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, taken.handle) for number in numbers]
    try:
        yield taken
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
