"""One simulated installation: a real job table and archive in a folder, a provider in memory, processes that come and go."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import cast

from sqlalchemy import event

from orchestrator.config import load_settings
from orchestrator.db.engine import Database
from orchestrator.db.migrate import upgrade
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Fetch, Provider
from orchestrator.journal import FileJournal
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions, check_file, take_file
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.wiring import App, make_app
from orchestrator.wiring.limits import make_limits
from tests.db.conftest import MovableEngine
from tests.fixtures.clock import FakeClock
from tests.simulation.links import MemoryFetch
from tests.simulation.process import Inline, Process
from tests.simulation.provider import Line, MemoryProvider

MEMORY = Path("/dev/shm")
MODELS = ("glm-image", "cogview-4-250304")  # a task to poll, and an answer at once
SLOTS = 2
POLL_HOLD = timedelta(
    0
)  # every answer is written: a row is not held from question to question, which takes a real loop


@cache
def template() -> Path:
    """Return a database file with the newest schema, made once."""
    path = Path(tempfile.mkdtemp(prefix="orchestrator-simulation-", dir=fast_folder())) / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


def fast_folder() -> Path | None:
    """Return a folder in memory where there is one: what is simulated is not the power cut."""
    return MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None


@cache
def engine() -> MovableEngine:
    """Return the one engine: each new one would compile every statement again.

    Its files are not synced: what dies here is a process, never the machine.
    """
    movable = MovableEngine(f"sqlite:///{template()}")
    event.listen(movable.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    return movable


@dataclass
class World:
    """Everything there is in one simulation."""

    seed: int
    rng: Random
    app: App
    clock: FakeClock
    account: MemoryProvider
    folder: Path
    storing: ThreadPoolExecutor
    resubmit_max: int
    slots: int
    processes: list[Process] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    agreed: dict[str, int] = field(default_factory=dict)
    """How often a person has agreed to another charge for a job."""
    born: int = 0
    charges_checked: int = 0
    """How many charges there were when they were last compared with the job table."""
    histories: dict[str, Job] = field(default_factory=dict)
    """The jobs whose histories have been checked, as they stood then."""

    def start_process(self) -> Process:
        """Start one more process, with a journal of its own."""
        self.born += 1
        settings, app = self.app.settings, self.app
        line = Line(self.account, self.rng)
        limits = replace(make_limits(app.kinds, settings, None), poll_hold=POLL_HOLD, resubmit_max=self.resubmit_max)
        context = LaneContext(
            jobs=app.jobs,
            batches=app.batches,
            reports=app.reports,
            retention=app.retention,
            papers=app.papers,
            provider=cast(Provider, line),
            stores=app.stores,
            fetch=cast(Fetch, MemoryFetch(self.account, self.rng)),
            journal=FileJournal(settings.journal_dir, f"process-{self.born:03}"),
            clock=self.clock,
            wakeup=Mailboxes(),
            rules=app.rules,
            rng=app.rng,
            storing=self.storing,
            spool=settings.spool_dir,
            archive_url=settings.archive,
            limits=limits,
            tool_version="simulated",
            delivering=app.delivering,
        )
        process = Process(context, line)
        self.processes.append(process)
        return process

    def replace_process(self, process: Process) -> None:
        """Let a process die, and another begin in its place."""
        process.die()
        self.processes.remove(process)
        self.start_process()

    def hand_in(self, count: int) -> None:
        """Write a file of so many jobs and take it in; whoever dies meanwhile leaves it among the `files`."""
        number = len(self.files)
        path = self.folder / f"batch-{number}.jsonl"
        lines = [
            {
                "custom_id": f"job-{n}",
                "kind": "image",
                "body": {"model": MODELS[n % 2], "prompt": f"kite {number}-{n}", "size": "1024x1024"},
            }
            for n in range(count)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.files.append(path)
        self.take_newest()

    def take_newest(self) -> None:
        """Take the newest file in: the same file again is the same batch."""
        app = self.app
        checked = check_file(self.files[-1], app.kinds, options=CheckOptions("simulation"))
        store = app.stores.open(app.settings.archive)
        taker = Taker(app.batches, store, app.clock, app.rng, app.settings.spool_dir)
        batch = take_file(checked, taker).batch.id
        if batch not in self.batches:
            self.batches.append(batch)
        self.jobs |= {job.id for job in app.history.iter_members(batch)}


@contextmanager
def made_world(seed: int, *, resubmit_max: int | None = None, slots: int = SLOTS) -> Iterator[World]:
    """Give a world without jobs or processes; everything random in it comes from the seed.

    `resubmit_max` says how often ON_UNKNOWN=resubmit may pay again for a job, 0 is `hold`; the seed says it otherwise.
    """
    rng, clock = Random(seed), FakeClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulation-", dir=fast_folder())))
        path = folder / "jobs.db"
        shutil.copyfile(template(), path)
        settings = load_settings(
            {
                "data_dir": folder / "data",
                "database_url": f"sqlite:///{path}",
                "zai_api_key": "id.secret",
                "limits": f"*={slots}",
                "max_unknown_per_hour": 8,
            }
        )
        for each in (settings.data_dir, settings.spool_dir):
            each.mkdir(parents=True)
        database = Database(engine().move(settings.database), clock, rng=rng)
        stack.callback(database.close)
        app = make_app(settings, clock, database, rng=rng)
        storing = stack.enter_context(Inline(1))
        account = MemoryProvider(app.kinds, clock, rng)
        drawn = rng.choice((0, 0, 2))
        world = World(
            seed, rng, app, clock, account, folder, storing, drawn if resubmit_max is None else resubmit_max, slots
        )
        try:
            yield world
        finally:
            for process in world.processes:
                process.die()
