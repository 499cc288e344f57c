"""The provider's account: what it remembers, the rules it goes by, and the acceptance of tasks. One per sandbox; used
on the event loop's thread only, so what happens between two awaits happens at once.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.sandbox.catalog import MODELS
from orchestrator.sandbox.clock import Clock, beijing_stamp, rfc3339
from orchestrator.sandbox.errors import Refusal
from orchestrator.sandbox.faults import FaultBook, Meeting, Rule
from orchestrator.sandbox.options import Script, Settings
from orchestrator.sandbox.store import Shot, Store, Task

DEFAULT_SLOTS = 5
SLOW_TASK_FACTOR = 10.0


@dataclass(frozen=True)
class Order:
    """A checked request: what the task is to be."""

    kind: str
    route: str
    model: str
    price: str
    prompt: str = ""
    request_id: str | None = None
    picture: Shot = field(default_factory=Shot)


class World:
    """State, clock, settings, faults and counters of one sandbox."""

    def __init__(self, store: Store, *, seed: int, speed: float, script: Script, script_digest: str) -> None:
        self.store = store
        self.seed = seed
        self.speed = speed
        self.clock = Clock(store.named("clock_offset", 0.0))
        self.requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.high_water: dict[str, int] = {}
        self._calls: Counter[str] = Counter()
        self._start = (script, script_digest)
        self._load()

    def _load(self) -> None:
        """Goes on with the kept settings and rules, unless the script has changed since they were kept."""
        script, digest = self._start
        kept = self.store.named("script_digest") == digest
        settings, faults = self.store.named("settings"), self.store.named("faults")
        self.settings = Settings.from_json(settings) if kept and settings else script.settings
        self.faults = (
            FaultBook([Rule(**rule) for rule in faults["rules"]], seed=self.seed, counts=faults["counts"])
            if kept and faults
            else FaultBook(script.rules, seed=self.seed)
        )
        self.store.keep(seed=self.seed, script_digest=digest, settings=self.settings.as_json())
        self._keep_faults()

    def forget(self) -> None:
        """Back to how the sandbox was started: no tasks, counters, moved clock, or settings made since."""
        self.store.forget()
        self.requests.clear()
        self.refused.clear()
        self.high_water.clear()
        self.clock.offset = 0.0
        self.clock.wake()
        self._load()

    def change_settings(self, settings: Settings) -> None:
        self.settings = settings
        self.store.keep(settings=settings.as_json())

    def change_faults(self, rules: Sequence[Rule]) -> None:
        self.faults = FaultBook(rules, seed=self.seed)
        self._keep_faults()

    def advance(self, seconds: float) -> None:
        """Moves the clock: tasks finish, links age."""
        self.store.keep(clock_offset=self.clock.offset + seconds)
        self.clock.advance(seconds)

    def meet(self, call: Meeting, **narrowing: Any) -> Rule | None:  # noqa: ANN401 - passed on to FaultBook.pick
        """The fault this call meets, if any; that it struck is kept."""
        rule = self.faults.pick(call, now=self.clock.now(), **narrowing)
        if rule is not None:
            self._keep_faults()
        return rule

    def spare(self, rule: Rule | None) -> None:
        """Gives an unused fault back."""
        if rule is not None:
            self.faults.give_back(rule)
            self._keep_faults()

    def _keep_faults(self) -> None:
        self.store.keep(faults=self.faults.as_json())

    def rng(self, *key: object) -> random.Random:
        """Chance that depends on the seed and the key only."""
        return random.Random(":".join(map(str, (self.seed, *key))))

    def secret(self) -> bytes:
        """What links are signed with: the same as long as the seed is."""
        return hashlib.sha256(f"links of sandbox {self.seed}".encode()).digest()

    def check_unused(self, request_id: str | None) -> None:
        """1231 for a request_id that an accepted task carries, unless switched off (sections 1.5, 12.5)."""
        if request_id and self.settings.behaviour.refuse_repeated_request_id and self.store.is_used(request_id):
            raise Refusal("1231")

    def slots(self, model: str) -> int:
        limits = self.settings.limits
        own = MODELS[model].slots if model in MODELS else DEFAULT_SLOTS
        return limits.get(model, limits.get("*", own))

    def all_limits(self) -> dict[str, int]:
        """The slots of every model, and of others under `*`."""
        return {**{name: self.slots(name) for name in MODELS}, "*": DEFAULT_SLOTS} | dict(self.settings.limits)

    @contextmanager
    def slot(self, model: str) -> Iterator[None]:
        """A place among the requests in flight, else 1302 (section 10.1). Under `until_final` an accepted task keeps
        its place until it is finished; under `during_call` the place is free again when the call ends.
        """
        if self.in_flight(model) >= self.slots(model):
            raise Refusal("1302")
        self._calls[model] += 1
        try:
            yield
        finally:
            self._calls[model] -= 1

    def in_flight(self, model: str) -> int:
        """What counts against the model's limit now."""
        if self.settings.slot_rule == "during_call":
            return self._calls[model]
        return self.store.in_flight(model, self.clock.now())

    def accept(self, order: Order, rule: Rule | None) -> Task:
        """Creates the task: from here on it is charged. Call it inside `slot`, with no await since."""
        number, now = self.store.next_number(), self.clock.now()
        rng = self.rng("task", number)
        task_id = beijing_stamp(now) + f"{rng.getrandbits(64):016x}"
        seconds, outcome, reason = self._course(order.model, rng, rule)
        task = Task(
            number=number,
            id=task_id,
            request_id=order.request_id or task_id,
            route=order.route,
            kind=order.kind,
            model=order.model,
            price=order.price,
            prompt=order.prompt,
            picture=order.picture,
            file_key=_uuid(rng),
            created_at=now,
            finish_at=now + seconds,
            outcome=outcome,
            reason=reason,
        )
        self.store.add(task)
        self.high_water[order.model] = max(self.high_water.get(order.model, 0), self.in_flight(order.model))
        return task

    def _course(self, model: str, rng: random.Random, rule: Rule | None) -> tuple[float, str, str | None]:
        latency = self.settings.latency_of(model)
        seconds = latency.mean_seconds * (1 + latency.jitter * rng.uniform(-1, 1)) / self.speed
        if rule is not None and rule.fault == "slow_task":
            return (seconds * SLOW_TASK_FACTOR if rule.seconds is None else rule.seconds), "SUCCESS", None
        if rule is not None and rule.fault == "fail":
            return (seconds if rule.seconds is None else rule.seconds), "FAIL", rule.reason
        return seconds, "SUCCESS", None

    def ledger(self) -> list[dict[str, Any]]:
        """The provider's own truth: every task it accepted, oldest first."""
        now, charge_failed = self.clock.now(), self.settings.behaviour.charge_failed
        return [ledger_row(task, task.status(now), charge_failed=charge_failed) for task in self.store.tasks()]


def ledger_row(task: Task, status: str, *, charge_failed: bool) -> dict[str, Any]:
    """A task as the ledger shows it."""
    return {
        "id": task.id,
        "request_id": task.request_id,
        "kind": task.kind,
        "route": task.route,
        "model": task.model,
        "charged": charge_failed or status != "FAIL",
        "price": task.price,
        "status": status,
        "created_at": rfc3339(task.created_at),
        "answered": task.answered,
        "prompt": task.prompt,
    }


def _uuid(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
