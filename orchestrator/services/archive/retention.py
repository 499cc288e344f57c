"""Taking results away when their time is over: what would go, and the erasure itself (docs/decisions/0024)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.domain.access import AuditEntry
from orchestrator.domain.errors import StepError
from orchestrator.domain.ports import Clock, Store, Stores
from orchestrator.domain.ports.retention import Erasure, Retention
from orchestrator.domain.retention import Kept, Rule, Selector, choose_rule, is_due
from orchestrator.domain.thumbnails import thumbnail_key
from orchestrator.services.archive.manifest import manifest_key

log = logging.getLogger(__name__)

PAGE = 200
"""Jobs looked at in one read, and erased in one transaction: a few milliseconds each."""
SYSTEM = "retention"
EVERYONE = "*"


@dataclass(frozen=True)
class Keeper:
    """Who looks after the rules and carries them out."""

    retention: Retention
    stores: Stores
    clock: Clock


@dataclass
class Plan:
    """What the rules would take away now."""

    jobs: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    byte_counts: Counter[str] = field(default_factory=Counter)
    held_count: int = 0
    """Jobs that a hold keeps although another rule would let them go."""

    @property
    def job_count(self) -> int:
        """How many jobs would be erased."""
        return self.jobs.total()


@dataclass
class Done:
    """What an erasure came to."""

    job_count: int = 0
    deleted_count: int = 0
    """Jobs of which every object is gone."""
    failures: list[str] = field(default_factory=list)


def set_rule(keeper: Keeper, selector: Selector, keep: timedelta | None, *, actor: str, reason: str) -> Rule:
    """Store a rule; None keeps for ever. It deletes nothing before somebody has agreed to it (`expire`)."""
    rule = Rule(selector, keep, keeper.clock.now(), actor, reason)
    what = "retention.hold" if keep is None else "retention.keep"
    keeper.retention.set_rule(rule, AuditEntry(actor, what, str(selector), EVERYONE, reason or _words(keep)))
    return rule


def remove_rule(keeper: Keeper, selector: Selector, *, actor: str, reason: str) -> bool:
    """Remove a rule; False when there is none of this selector."""
    return keeper.retention.remove_rule(
        selector, AuditEntry(actor, "retention.remove", str(selector), EVERYONE, reason)
    )


def make_plan(keeper: Keeper, rules: Sequence[Rule]) -> Plan:
    """Return what `rules` would take away now, by rule; nothing is changed."""
    plan = Plan()
    lapsing = [rule for rule in rules if rule.keep is not None]
    for job, rule in _iter_judged(keeper, rules):
        if is_due(rule, job, keeper.clock.now()):
            name = str(rule.selector) if rule else ""
            plan.jobs[name] += 1
            plan.files[name] += len(job.files)
            plan.byte_counts[name] += sum(file.byte_count for file in job.files)
        elif rule is not None and rule.keep is None:
            plan.held_count += is_due(choose_rule(lapsing, job), job, keeper.clock.now())
    return plan


def expire(
    keeper: Keeper, rules: Sequence[Rule], *, actor: str, on_progress: Callable[[Done], None] | None = None
) -> Done:
    """Erase what `rules` take away now, then delete its objects; also those of an erasure that was interrupted."""
    done, waiting = Done(), list[Erasure]()
    for job, rule in _iter_judged(keeper, rules):
        if rule is not None and is_due(rule, job, keeper.clock.now()):
            waiting.append(Erasure(job.id, actor, f"the rule {rule.selector} keeps for {_words(rule.keep)}"))
        if len(waiting) == PAGE:
            done.job_count += keeper.retention.erase(waiting)
            waiting.clear()
    if waiting:
        done.job_count += keeper.retention.erase(waiting)
    _delete_objects(keeper, done, on_progress)
    if not done.failures:
        _delete_job_files(keeper, done)
    return done


def expire_agreed(keeper: Keeper) -> str:
    """Carry out the rules that somebody has agreed to; the maintenance task of the sweep lane."""
    rules = keeper.retention.list_rules()
    agreed = [rule for rule in rules if rule.agreed_at is not None or rule.keep is None]
    done = expire(keeper, agreed, actor=SYSTEM) if agreed else Done()
    if done.job_count:
        log.info("results_erased", extra={"jobs": done.job_count, "emptied": done.deleted_count})
    for failure in done.failures:
        log.warning("erasure_unfinished", extra={"error": failure})
    return f"{done.job_count} jobs erased"


def _iter_judged(keeper: Keeper, rules: Sequence[Rule]) -> Iterator[tuple[Kept, Rule | None]]:
    """Yield the final jobs that are old enough for the strictest rule, each with the rule that holds for it."""
    lapsing = [rule.keep for rule in rules if rule.keep is not None]
    if not lapsing:
        return
    before = keeper.clock.now() - min(lapsing)
    after: tuple[datetime, str] | None = None
    while page := keeper.retention.list_kept(finished_before=before, after=after, limit=PAGE):
        yield from ((job, choose_rule(rules, job)) for job in page)
        after = (page[-1].finished_at, page[-1].id)


def _delete_objects(keeper: Keeper, done: Done, on_progress: Callable[[Done], None] | None) -> None:
    """Stop at the first archive that refuses: what is left is found again by the next run."""
    while page := keeper.retention.list_erased(limit=PAGE):
        for job in page:
            try:
                _empty(keeper.stores.open(job.archive_url), job)
            except StepError as error:
                done.failures.append(f"{job.id}: {error}")
                return
            keeper.retention.mark_deleted(job.id)
            done.deleted_count += 1
        if on_progress is not None:
            on_progress(done)


def _empty(store: Store, job: Kept) -> None:
    for file in job.files:
        thumbnail = thumbnail_key(file.key)
        if thumbnail is not None:  # also one that a process stored and then died before it could say so
            store.delete(thumbnail)
        store.delete(file.key)
    store.delete(manifest_key(job))


def _delete_job_files(keeper: Keeper, done: Done) -> None:
    """Take away the job files of batches of which nothing is kept: they hold every prompt."""
    while page := keeper.retention.list_emptied_batches(limit=PAGE):
        for batch_id, archive_url in page:
            try:
                store = keeper.stores.open(archive_url)
                for name in ("input.", "refused."):
                    for key in list(store.list_keys(f"batches/{batch_id}/{name}")):
                        store.delete(key)
            except StepError as error:
                done.failures.append(f"{batch_id}: {error}")
                return
            keeper.retention.mark_emptied(batch_id)


def _words(keep: timedelta | None) -> str:
    if keep is None:
        return "ever"
    days = keep / timedelta(days=1)
    return f"{days:g} days"
