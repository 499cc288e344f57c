"""Told while others are watched at work: that nobody seems to work at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import click

from orchestrator.cli.leaving import run_command
from orchestrator.cli.prefix import command
from orchestrator.cli.sandbox import ENVIRONMENT
from orchestrator.domain.job import Batch
from orchestrator.wiring import App

ABSENCE = timedelta(seconds=75)  # whoever works sweeps within seconds of its start, and then twice a minute
LOOK_SECONDS = 5.0


@dataclass
class Absence:
    """Looks for whoever works, now and then, and says once that there is nobody; again after somebody was there."""

    app: App
    batch: Batch
    _next_look: float = 0.0
    _is_told: bool = False

    def look(self) -> None:
        """Look, unless that was done just now."""
        if self.app.clock.monotonic() < self._next_look:
            return
        self._next_look = self.app.clock.monotonic() + LOOK_SECONDS
        last = self.app.progress.find_last_sweep()
        is_absent = last is None or self.app.clock.now() - last > ABSENCE
        if is_absent and not self._is_told:
            seen = (
                "nobody has worked here yet"
                if last is None
                else f"nobody has worked since {last:%Y-%m-%d %H:%M:%S} UTC"
            )
            click.echo(f"warning: {seen}; the jobs wait. {self._advise()}", err=True)
        self._is_told = is_absent

    def _advise(self) -> str:
        if self.app.settings.broker_url is not None and self.batch.environment != ENVIRONMENT:
            return f"Start a worker: {command('worker')}"
        return f"Run it with: {run_command(self.batch)}"
