"""The doctor's rules: one check removed, and a broken table, archive, journal or ledger would be called healthy."""

from __future__ import annotations

from scripts.guards.guard import Guard

AUDIT = "orchestrator/db/audit/"
SERVICE = "orchestrator/services/doctor/"
BROKEN = ("tests/db/test_audit.py::test_a_broken_rule_is_found",)
EXAMINED = ("tests/services/test_doctor.py",)


def _rule(file: str, code: str, condition: str) -> Guard:
    """Return the guard that one rule over rows is."""
    return Guard(
        name=f"doctor: {code}",
        promise=f"What {code} says is found in the table.",
        file=f"{AUDIT}{file}.py",
        kept=f'RowRule("{code}", {condition})',
        removed=f'RowRule("{code}", JOBS.c.id.is_(None))',
        tests=BROKEN,
    )


def _look(file: str, code: str, kept: str, removed: str) -> Guard:
    """Return the guard that one look beyond the table is."""
    promise = f"What {code} says is found outside the table."
    return Guard(f"doctor: {code}", promise, f"{SERVICE}{file}.py", kept, removed, EXAMINED)


def _unsaid(file: str, code: str, said: str) -> Guard:
    """Return a look whose finding is not told."""
    return _look(file, code, f'yield Violation("{code}", {said})', "yield from ()")


GUARDS = (
    _rule("jobs", "state_unknown", "_state.not_in(sorted(State))"),
    _rule("jobs", "final_unfinished", "_is_final != JOBS.c.finished_at.is_not(None)"),
    _rule(
        "jobs",
        "resting_is_due",
        "and_(_is_resting, or_(JOBS.c.due_at.is_not(None), JOBS.c.lease_token.is_not(None)))",
    ),
    _rule("jobs", "active_not_due", "and_(_is_active, JOBS.c.due_at.is_(None), not_(is_waiting))"),
    _rule("jobs", "queued_never_due", "is_far"),
    _rule("jobs", "failed_without_code", "(_state == State.FAILED) != JOBS.c.failure_code.is_not(None)"),
    _rule("jobs", "processing_without_task", "and_(_state == State.PROCESSING, JOBS.c.provider_task_id.is_(None))"),
    _rule("jobs", "history_gap", "or_(total != JOBS.c.sequence, last != JOBS.c.sequence)"),
    _rule("jobs", "history_disagrees", "newest_state != _state"),
    _rule("jobs", "member_missing", "and_(JOBS.c.batch_id.is_not(None), around.member.c.job_id.is_(None))"),
    _rule("jobs", "task_of_no_submission", "and_(is_asking, not_(own_task))"),
    _rule("jobs", "submission_count_wrong", "JOBS.c.submission_count != _or_none(calls.total)"),
    _rule("jobs", "calls_at_once", "_or_none(calls.in_flight) > 1"),
    _rule("jobs", "call_outside_submitting", "and_(_state != State.SUBMITTING, _or_none(calls.in_flight) > 0)"),
    _rule("jobs", "unknown_not_held", "and_(must_hold, _or_none(calls.unknown) > 0)"),
    _rule("jobs", "paid_and_idle", "and_(is_idle, _or_none(calls.open_tasks) > 0, extra == 0)"),
    _rule("jobs", "extra_paid_task", "extra > 0"),
    _rule("jobs", "succeeded_without_output", "and_(succeeded, _or_none(around.outputs.c.archived) == 0)"),
    _rule("jobs", "succeeded_unarchived", "and_(succeeded, _or_none(around.outputs.c.missing) > 0)"),
    _rule("jobs", "submitting_lapsed", "and_(_state == State.SUBMITTING, JOBS.c.due_at < now - SWEEP_GRACE)"),
    _rule("jobs", "work_waits", "and_(is_standing, JOBS.c.due_at < now - LONG_DUE)"),
    _rule("batches", "batch_not_closed", "and_(is_running, not_(has_active), not_(is_fresh))"),
    _rule("batches", "batch_closed_early", "and_(row.finished_at.is_not(None), has_active)"),
    _rule("batches", "batch_intake_open", "and_(row.intake_done_at.is_(None), row.created_at < now - INTAKE_TIME)"),
    _rule("batches", "batch_lines_missing", "and_(is_whole, _count_members() != row.line_count)"),
    Guard(
        name="doctor: task_id_twice",
        promise="A task that two submissions hold is found.",
        file=f"{AUDIT}audit.py",
        kept='        yield from find_each(database, "task_id_twice", submissions.select_shared_tasks())\n',
        removed="",
        tests=BROKEN,
    ),
    Guard(
        name="doctor: probe_dead",
        promise="A pause that nobody will end is found.",
        file=f"{AUDIT}lanes.py",
        kept="until < now - SWEEP_GRACE, not_(is_awaited))",
        removed="until < now - SWEEP_GRACE, is_awaited)",
        tests=BROKEN,
    ),
    _unsaid("ledger", "charge_unexplained", 'charge.task_id, {"request": charge.request_id}'),
    _unsaid("ledger", "charged_twice", 'job_id, {"charges": per_job[job_id], "allowed": allowed}'),
    _unsaid("ledger", "unknown_was_charged", 'call.job_id, {"task": charge.task_id}'),
    _unsaid("ledger", "unknown_answer_lost", "call.job_id"),
    _unsaid("ledger", "charge_refused", "charge.task_id, facts"),
    _unsaid("ledger", "task_differs", 'charge.task_id, facts | {"task_id": call.task_id}'),
    _unsaid("ledger", "unknown_not_charged", "call.job_id"),
    _unsaid("ledger", "task_unknown_there", 'str(call.task_id), {"job": call.job_id}'),
    _unsaid("journals", "journal_exposed", 'subject, {"problem": problem}'),
    _look("journals", "journal_unmatched", '        return "journal_unmatched"\n', "        return None\n"),
    _look(
        "journals",
        "journal_unlinked",
        'return "journal_unlinked" if is_missing else None',
        "return None if is_missing else None",
    ),
    _look("journals", "journal_overdue", "since < now - OVERDUE_AFTER", "since < now - 999 * OVERDUE_AFTER"),
    _unsaid("archive", "object_missing", "output_id, facts"),
    _unsaid("archive", "object_length", 'output_id, facts | {"found": found.byte_count}'),
    _look(
        "archive",
        "a changed byte",
        "elif file.key in chosen and (sha256 := _hash(store, file.key)) != file.sha256:",
        "elif file.key in chosen and (sha256 := _hash(store, file.key)) is None:",
    ),
    _unsaid("archive", "manifest_missing", "job.id"),
    _look("archive", "manifest_differs", "    if named != job.id or differing:\n", "    if named is None:\n"),
    _unsaid("archive", "folder_orphaned", "job_id"),
    _unsaid("archive", "object_orphaned", 'key, {"job": _job_of(key)}'),
    _look(
        "archive",
        "what is being archived is no orphan",
        "        if archived is None or key in archived or",
        "        archived = archived or frozenset()\n        if key in archived or",
    ),
    _look("place", "an archive that lies", "    if (found.byte_count, found.sha256) != (", "    if () == ("),
    _unsaid("place", "disk_low", 'f"the {name} {folder}", facts'),
    _unsaid("place", "spool_stale", 'path.name, {"since": changed}'),
    _unsaid("place", "clock_differs", '"clock", {"seconds": f"{apart.total_seconds():+.1f}"}'),
    _unsaid("place", "broker_unreachable", '"broker", {"problem": str(error)}'),
)
