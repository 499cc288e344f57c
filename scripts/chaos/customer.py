"""Hands jobs in while everything breaks, and remembers which were accepted: those must never be lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.errors import StepError
from orchestrator.domain.query import Filter
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions, check_file, take_file
from orchestrator.wiring import App

LINES_A_FILE = 20
RETRY_SECONDS = 0.3


@dataclass
class Customer:
    """One who repeats a file until it is taken, as anybody would; the same file again is the same batch."""

    app: App
    folder: Path
    lines: Sequence[Mapping[str, object]]
    pause: float
    accepted: set[str] = field(default_factory=set)
    batches: list[str] = field(default_factory=list)
    refusals: int = 0
    is_done: threading.Event = field(default_factory=threading.Event)
    is_stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> threading.Thread:
        """Begin handing in on a thread of its own."""
        thread = threading.Thread(target=self._hand_in_all, name="customer")
        thread.start()
        return thread

    def adopt(self) -> None:
        """Take every job of the table for accepted: a run has taken its file in by itself."""
        for job in self.app.history.iter_jobs(Filter()):
            self.accepted.add(job.id)
            if job.batch_id is not None and job.batch_id not in self.batches:
                self.batches.append(job.batch_id)

    def _hand_in_all(self) -> None:
        for number, first in enumerate(range(0, len(self.lines), LINES_A_FILE)):
            path = self.folder / f"handed-{number:04}.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in self.lines[first : first + LINES_A_FILE]))
            if not self._hand_in(path):
                return
            self.is_stopped.wait(self.pause)
        self.is_done.set()

    def _hand_in(self, path: Path) -> bool:
        while not self.is_stopped.is_set():
            try:
                batch = self._take(path)
                self.accepted |= {job.id for job in self.app.history.iter_members(batch)}
            except StepError:  # the database is away; nothing was promised yet
                self.refusals += 1
                time.sleep(RETRY_SECONDS)
            else:
                self.batches.append(batch)
                return True
        return False

    def _take(self, path: Path) -> str:
        app = self.app
        checked = check_file(path, app.kinds, options=CheckOptions("chaos"))
        store = app.stores.open(app.settings.archive)
        taker = Taker(app.batches, store, app.clock, app.rng, app.settings.spool_dir)
        return take_file(checked, taker).batch.id
