"""The provider in memory, at the provider port: a ledger of what was taken and charged, and every way to lie about it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from orchestrator.domain.errors import Account, Gone, Permanent, Throttled, Transient, Uncertain
from orchestrator.domain.job import OutputDraft, Role
from orchestrator.domain.kind import Kind
from orchestrator.domain.outcomes import (
    AnswerComplete,
    CallEvidence,
    FailedAtSubmit,
    Moment,
    NothingUsable,
    OutputsReady,
    ProviderFailed,
    StillRunning,
    TaskAccepted,
)
from orchestrator.domain.ports import PaidRequest, PollAnswer, PollQuestion, SubmitAnswer
from tests.fixtures.clock import FakeClock

HOST = "https://links.invalid"
LINK_LIFE = timedelta(days=1)
LONGEST_TASK_SECONDS = 300  # far below the kind's assumed life, as the slots' rule expects

PATIENCE_SECONDS = 180  # with a request that has begun and does not come whole

WAYS = {
    "taken": 60,
    "taken_answer_lost": 6,
    "taken_500": 3,
    "lost": 4,
    "refused_500": 2,
    "throttled": 6,
    "account": 1,
    "rejected": 2,
    "fail_inside": 1,
    "not_connected": 5,
    "unreadable": 2,
}
"""How a paid call goes, by weight. A calm provider only ever takes it."""

POLLS = {"answer": 80, "transient": 10, "throttled": 4, "gone": 3, "odd": 3}
"""What a poll is told, by weight."""


@dataclass
class Task:
    """One paid piece of work. `link` counts how often its link was signed anew."""

    id: str
    request_id: str
    model: str
    ends_at: datetime
    fails: bool
    is_sync: bool
    link: int = 0
    dead_links: int = 0

    @property
    def url(self) -> str:
        """The link of the moment."""
        return f"{HOST}/{self.id}/{self.link}.png"


@dataclass
class Gate:
    """Where a paid call stands still until the scheduler lets it go on: the request has reached the provider."""

    seen: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryProvider:
    """One account for all processes. `limit` is what it was promised per model; `worst` what it saw."""

    def __init__(self, kinds: Mapping[str, Kind], clock: FakeClock, rng: Random) -> None:
        self._kinds = kinds
        self.clock = clock
        self._began = clock.now() - timedelta(seconds=clock.monotonic())
        self._rng = rng
        self.is_calm = False
        self.next_way: str | None = None
        self.next_poll: str | None = None
        """What it does with paid calls and with polls; chance decides while they are None."""
        self.tasks: dict[str, Task] = {}
        self._taken = 0
        self.posts: Counter[str] = Counter()
        self.kept: set[str] = set()
        """Requests whose readable answer is in a journal: from then on nothing may forget it."""
        self.worst: Counter[str] = Counter()

    @property
    def kinds(self) -> Mapping[str, Kind]:
        return self._kinds

    def now(self) -> datetime:
        """Return the provider's own time, which nobody here can step back."""
        return self._began + timedelta(seconds=self.clock.monotonic())

    def charges(self) -> Counter[str]:
        """Return how often each request was charged."""
        return Counter(task.request_id for task in self.tasks.values())

    def ledger(self) -> list[dict[str, object]]:
        """Return the ledger as the sandbox shows it."""
        return [
            {"id": t.id, "request_id": t.request_id, "charged": True, "route": "sync" if t.is_sync else "async"}
            for t in self.tasks.values()
        ]

    def forget(self) -> None:
        """Forget tasks that have ended and were counted: a soak asks what the lanes keep, not what this keeps."""
        self.tasks.clear()
        self.posts.clear()
        self.kept.clear()

    def take(self, request: PaidRequest) -> Task:
        """Charge a request and begin its task."""
        rng, now = self._rng, self.now()
        is_sync = not self._kinds[request.kind].gives_task(request.model)
        ends_at = now if is_sync else now + timedelta(seconds=rng.uniform(1, LONGEST_TASK_SECONDS))
        fails = not self.is_calm and not is_sync and rng.random() < 0.05
        self._taken += 1
        task = Task(f"task-{self._taken:04}", request.request_id, request.model, ends_at, fails, is_sync)
        if not self.is_calm and rng.random() < 0.15:
            task.dead_links = rng.randint(1, 6)
        self.tasks[task.id] = task
        self.worst[request.model] = max(self.worst[request.model], self.count_running(request.model))
        return task

    def count_running(self, model: str) -> int:
        """Return how many tasks of a model run now, calls that are answered at once not counted."""
        now = self.now()
        return sum(task.model == model and task.ends_at > now for task in self.tasks.values())

    def answer(self, request: PaidRequest) -> CallEvidence | Uncertain:
        """Do what the provider does with a request that has reached it; Uncertain when no answer comes back."""
        self.posts[request.request_id] += 1
        way = "taken" if self.is_calm else self.next_way or self._rng.choices(list(WAYS), list(WAYS.values()))[0]
        if way.startswith("taken") or way == "unreadable":
            task = self.take(request)
            body = {"url": task.url} if task.is_sync else {"id": task.id}
            if way == "taken_answer_lost":
                return Uncertain("connection_cut", "cut after the request", evidence=self._evidence(Moment.SENT))
            answers: dict[str, Mapping[str, object]] = {"taken": body, "unreadable": {"what": 1}}
            return self._evidence(Moment.ANSWERED, answers.get(way, {"error": way}))
        if way == "lost":
            return Uncertain("connection_cut", "cut after the request", evidence=self._evidence(Moment.SENT))
        return self._evidence(Moment.ANSWERED, {"error": way})

    def _evidence(self, moment: Moment, body: Mapping[str, object] | None = None) -> CallEvidence:
        now = self.clock.now()
        text = None if body is None else json.dumps(body)
        return CallEvidence(moment, sent_at=now, answered_at=now if text else None, http_status=200, body=text)

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        body = json.loads(evidence.body or "{}")
        if "id" in body:
            return TaskAccepted(str(body["id"]))
        if "url" in body:
            return AnswerComplete((self._draft(str(body["url"])),))
        match body.get("error"):
            case "throttled":
                raise Throttled("1302", "too many requests")
            case "account":
                raise Account("1113", "no balance")
            case "rejected":
                raise Permanent("1301", "content policy")
            case "fail_inside":
                return FailedAtSubmit("1301", "failed at once")
        raise Uncertain("500", "explains nothing", evidence=evidence)

    async def poll(self, question: PollQuestion) -> PollAnswer:
        task, rng, now = self.tasks.get(question.task_id), self._rng, self.now()
        if task is None:
            raise Gone("1214", "no such task")
        if not self.is_calm:
            match self.next_poll or rng.choices(list(POLLS), list(POLLS.values()))[0]:
                case "transient":
                    raise Transient("http_502", "bad gateway")
                case "throttled":
                    raise Throttled("1302", "too many requests")
                case "gone":
                    raise Gone("1214", "not yet")
                case "odd" if now >= task.ends_at:
                    return NothingUsable("success without a link")
        if now < task.ends_at:
            return StillRunning("PROCESSING")
        if task.fails:
            return ProviderFailed("1301", "it failed")
        if rng.random() < 0.7:
            task.link += 1
        return OutputsReady((self._draft(task.url),))

    def _draft(self, url: str) -> OutputDraft:
        return OutputDraft(0, Role.IMAGE, url=url, expires_at=self.clock.now() + LINK_LIFE)

    def is_link_dead(self, url: str) -> bool:
        """Say whether a link is dead, and count: so many links of a task are, and then no more."""
        task = self.tasks[url.removeprefix(f"{HOST}/").split("/")[0]]
        if self.is_calm or task.dead_links <= 0:
            return False
        task.dead_links -= 1
        return True


class Line:
    """One process's connection to the provider: each paid call stops at a gate between request and answer."""

    def __init__(self, account: MemoryProvider, rng: Random) -> None:
        self._account = account
        self._rng = rng
        self._gates: dict[str, Gate] = {}
        self.kept = account.kept

    @property
    def kinds(self) -> Mapping[str, Kind]:
        return self._account.kinds

    def gate_of(self, request_id: str) -> Gate:
        """Return the gate of a call."""
        return self._gates.setdefault(request_id, Gate())

    def forget(self) -> None:
        """Forget the calls that are over."""
        self._gates.clear()

    async def call(self, request: PaidRequest, *, before_first_byte: Callable[[], None]) -> CallEvidence:
        account = self._account
        if not account.is_calm and self._rng.random() < 0.05:
            raise Transient("connection_refused", "refused", evidence=CallEvidence(Moment.NOT_SENT))
        before_first_byte()
        gate = self.gate_of(request.request_id)
        answers_first = self._rng.random() < 0.5  # whether the work is charged before or after the pause
        outcome = account.answer(request) if answers_first else None
        began = account.clock.monotonic()
        gate.seen.set()
        await gate.go_on.wait()
        if outcome is None and account.clock.monotonic() - began > PATIENCE_SECONDS:
            outcome = Uncertain("connection_cut", "the provider had given up waiting for the request")
        outcome = outcome or account.answer(request)
        if isinstance(outcome, Uncertain):
            raise outcome
        return outcome

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        return self._account.interpret(kind, evidence)

    async def poll(self, question: PollQuestion) -> PollAnswer:
        return await self._account.poll(question)

    async def close(self) -> None:
        """Nothing is open."""
