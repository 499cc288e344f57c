"""Lanes run by hand on a clock that only moves when told: database, journal, archive, HTTP and provider are real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete

from orchestrator.clock import SystemClock
from orchestrator.config import load_settings
from orchestrator.db.engine import Database, open_database
from orchestrator.db.tables import Base
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import CallEvidence
from orchestrator.domain.ports import PaidRequest, PollAnswer, PollQuestion, SubmitAnswer
from orchestrator.domain.states import State
from orchestrator.sandbox import RunningSandbox
from orchestrator.services.lanes.archive import ArchiveLane, ArchiveWork
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Drain, Lane, Mailbox, Stop
from orchestrator.services.lanes.held import PollWork
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import SweepLane
from orchestrator.wiring import make_app
from tests.fixtures.clock import FakeClock
from tests.services.desk import HTTP, VIDEO, Desk, few_authorities

EXAMPLES = Path(__file__).parents[2] / "examples"
TALK = {"kind": "transcription", "body": {"model": "glm-asr-2512", "file": "kite.wav"}}
SYNC_VIDEO = "/videos/generations"


@dataclass
class Bench(Desk):
    """A desk whose time stands still; `mailbox` is what its drains wait on."""

    clock: FakeClock
    mailbox: Mailbox

    def advance(self, seconds: float) -> None:
        """Let time pass here and at the provider."""
        self.clock.advance(timedelta(seconds=seconds))
        self.control("clock", {"advance_seconds": seconds}, method="POST")

    def control(self, path: str, value: object, *, method: str = "PUT") -> None:
        """Set something of the provider."""
        HTTP.request(method, f"{self.sandbox.control_url}/{path}", json=value).raise_for_status()

    def faults(self, *rules: dict[str, object]) -> None:
        """Replace the provider's faults by these."""
        self.control("faults", list(rules))

    def drain(self, lane: Lane[Any, Any]) -> None:
        """Run one lane until nothing is due."""
        Drain(lane, loop=self.loop, clock=self.clock, mailbox=self.mailbox, stop=Stop()).run()

    def submit(self, context: LaneContext) -> None:
        self.drain(SubmitLane(context))

    def poll(self, context: LaneContext) -> None:
        """Ask once about each job that is due: no row is held until its next question."""
        self.drain(PollLane(asking_once(context)))

    def archive(self, context: LaneContext) -> None:
        self.drain(ArchiveLane(context))

    def sweep(self, context: LaneContext) -> None:
        self.drain(SweepLane(context))

    def only(self, batch_id: str) -> Job:
        """Return the one job of a batch."""
        (job,) = self.jobs(batch_id)
        return job

    def start_processing(self, context: LaneContext, line: dict[str, Any] = VIDEO) -> str:
        """Take one job in and submit it; return its batch."""
        batch = self.take(line)
        self.submit(context)
        return batch

    def start_archiving(self, context: LaneContext, line: dict[str, Any] = VIDEO) -> str:
        """Take one job in and lead it to `archiving`; return its batch."""
        batch = self.start_processing(context, line)
        self.let_due(batch)
        self.poll(context)
        return batch

    def claim_leased(self, context: LaneContext, state: State) -> list[Job]:
        """Take what is due in the lane of a state, and do nothing with it."""
        works: Sequence[PollWork | ArchiveWork]
        works = PollLane(context).claim([]) if state is State.PROCESSING else ArchiveLane(context).claim([])
        return [work.job for work in works]

    def let_due(self, batch_id: str) -> None:
        """Let so much time pass that every job of the batch is due."""
        due = max((job.due_at for job in self.jobs(batch_id) if job.due_at), default=self.clock.now())
        self.advance(max((due - self.clock.now()).total_seconds(), 0.0) + 0.001)

    def events(self, job: Job) -> list[str]:
        """Return the types of a job's events in order."""
        return [event.type for event in self.app.history.list_events(job.id)]

    def archived_file(self, key: str) -> Path:
        return self.app.settings.data_dir / "archive" / key

    def use_archive(self, url: str, **settings: object) -> None:
        """Archive elsewhere from now on."""
        changed = self.app.settings.model_copy(update={"archive_url": url, **settings})
        self.app = make_app(changed, self.clock, self.app.jobs._database)

    def posts(self) -> int:
        """Return how many paid requests reached the provider; none of them came twice."""
        stats = self.stats()
        assert stats["max_posts_per_request_id"] <= 1
        return sum(count for route, count in stats["requests"].items() if route.startswith("POST "))

    def asks(self) -> int:
        """Return how often the provider was asked about a task."""
        requests: dict[str, int] = self.stats()["requests"]
        return sum(count for route, count in requests.items() if route.startswith("GET /async-result"))


def asking_once(context: LaneContext) -> LaneContext:
    """Return the context for a poll lane that writes every answer, as one does whose next question is far away."""
    return replace(context, limits=replace(context.limits, poll_hold=timedelta(0)))


def empty(database_url: str) -> None:
    """Remove every row of a database."""
    with closing(open_database(database_url, clock=FakeClock())) as database, database.begin_write() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(delete(table))


@contextmanager
def open_bench(
    sandbox: RunningSandbox, folder: Path, database_url: str, *, move: Callable[[str], Engine]
) -> Iterator[Bench]:
    """Open everything on one empty database; the provider has forgotten what was before and is quick.

    `move` gives the engine: one for all tests, since each new one compiles every statement again.
    """
    clock = FakeClock(SystemClock().now())  # links that the provider signs live on the provider's clock
    settings = load_settings(
        {
            "data_dir": folder / "data",
            "database_url": database_url,
            "zai_base_url": sandbox.base_url,
            "zai_api_key": "id.secret",
            "egress_allow": sandbox.host_port,
            "ca_bundle": few_authorities(folder),
            "thumbnail_pixels": 0,  # as in open_desk
        }
    )
    settings.data_dir.mkdir()
    (folder / "kite.wav").write_bytes((EXAMPLES / "speech/kite.wav").read_bytes())
    with ExitStack() as stack:
        database = Database(move(settings.database), clock)
        stack.callback(database.close)
        loop = LoopThread()
        stack.callback(loop.close)
        bench = Bench(make_app(settings, clock, database), sandbox, loop, folder, clock, Mailbox())
        bench.control("reset", {}, method="POST")
        bench.control("latency", {"*": {"mean_seconds": 0, "jitter": 0}})
        yield bench


class ProviderAround:
    """The real provider, with something happening just before a paid call leaves and just after it was answered."""

    def __init__(
        self,
        context: LaneContext,
        *,
        before: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        self._real = context.provider
        self._before, self._after = before, after
        self.kinds = self._real.kinds

    async def call(self, request: PaidRequest, *, before_first_byte: Callable[[], None]) -> CallEvidence:
        if self._before is not None:
            self._before()
        evidence = await self._real.call(request, before_first_byte=before_first_byte)
        if self._after is not None:
            self._after()
        return evidence

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        return self._real.interpret(kind, evidence)

    async def poll(self, question: PollQuestion) -> PollAnswer:
        return await self._real.poll(question)

    async def close(self) -> None:
        """The real one is closed by whoever opened it."""


def with_provider(
    context: LaneContext, *, before: Callable[[], None] | None = None, after: Callable[[], None] | None = None
) -> LaneContext:
    """Return the context with something happening around its paid calls."""
    return replace(context, provider=ProviderAround(context, before=before, after=after))
