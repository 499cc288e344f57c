"""What a person sees while a batch runs: a live block on a terminal, nothing but the result lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.domain.progress import Spending
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.batches import show_micros
from orchestrator.services.watch import Look

STYLES = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.NEEDS_REVIEW: "magenta",
}


class Display(Protocol):
    """Where progress and result lines go."""

    def show(self, look: Look) -> None:
        """Show one look at the batch."""

    def emit(self, line: str) -> None:
        """Print one whole line of data."""

    def tell(self, line: str) -> None:
        """Print one line for people on stderr, above what is redrawn there."""


class _Plain:
    """No live block: the result lines tell the story."""

    def show(self, look: Look) -> None:
        """Nothing."""

    def emit(self, line: str) -> None:
        click.echo(line)

    def tell(self, line: str) -> None:
        click.echo(line, err=True)


class _Live(_Plain):
    """The block stays at the bottom of the terminal; lines meant for the same terminal go above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, look: Look) -> None:
        self._live.update(_block(look))

    def tell(self, line: str) -> None:
        self._live.console.print(Text(line), soft_wrap=True)

    def emit(self, line: str) -> None:
        if sys.stdout.isatty():
            self._live.console.print(Text.from_ansi(line), soft_wrap=True)
        else:
            click.echo(line)


@contextmanager
def progress_display() -> Iterator[Display]:
    """Show live progress on stderr when it is a terminal; result lines on stdout stay whole either way."""
    if not sys.stderr.isatty():
        yield _Plain()
        return
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=True, redirect_stdout=False) as live:
        yield _Live(live)


def _block(look: Look) -> Table:
    counts = look.counts.by_state
    done = look.counts.total - look.active_count
    grid = Table.grid(padding=(0, 2))
    grid.add_row(ProgressBar(total=max(look.counts.total, 1), completed=done, width=40), f"{done}/{look.counts.total}")
    states = Text("  ").join(
        Text(f"{state} {counts[state]}", style=STYLES.get(state, "cyan")) for state in State if counts.get(state)
    )
    grid.add_row(states, "")
    grid.add_row(Text(f"{rate_text(look)}   {spending_text(look.spending)}", style="dim"), "")
    return grid


def rate_text(look: Look) -> str:
    """Return throughput and the time left at that rate."""
    seconds = look.elapsed.total_seconds()
    ended = look.counts.total - look.active_count
    if not ended or seconds < 1:
        return f"{seconds:.0f} s"
    rate = ended / seconds
    return f"{seconds:.0f} s   {rate * 60:.1f} jobs/min   about {look.active_count / rate:.0f} s left"


def spending_text(spending: Sequence[Spending]) -> str:
    """Return what was spent; charges that nobody can know are named, never guessed."""
    parts = [f"{show_micros(item.spent_micros)} {item.currency}" for item in spending] or ["nothing spent"]
    unknown = sum(item.unknown_count for item in spending)
    return " + ".join(parts) + (f" and {unknown} unknown charge{'s' if unknown > 1 else ''}" if unknown else "")


def active_text(look: Look) -> str:
    """Return the active states with their counts, for a line on stderr."""
    counts = look.counts.by_state
    return ", ".join(f"{counts[state]} {state}" for state in State if state in ACTIVE and counts.get(state))
