"""What the database itself refuses: removed where databases are built, which is the migration."""

from __future__ import annotations

from scripts.guards.guard import Guard

MIGRATION = "migrations/versions/0001_create_first_tables.py"
CHECKED = ("tests/db/test_constraints.py",)


def _loosen(name: str, promise: str, rule: str, tests: tuple[str, ...] = CHECKED) -> Guard:
    """Return the guard that a CHECK is: without it the database takes anything."""
    return Guard(name, promise, MIGRATION, kept=f'"{rule}"', removed='"1 = 1"', tests=tests)


_FINAL = "state IN ('succeeded', 'failed', 'cancelled')"
_RESTING = "state IN ('succeeded', 'failed', 'cancelled', 'needs_review')"

GUARDS = (
    _loosen(
        "CHECK final is finished",
        "A job has an end exactly when it is final.",
        f"({_FINAL}) = (finished_at IS NOT NULL)",
    ),
    _loosen(
        "CHECK resting is not due",
        "Nothing takes up a job that rests.",
        f"NOT ({_RESTING}) OR (due_at IS NULL AND lease_token IS NULL)",
    ),
    _loosen(
        "CHECK active is due",
        "No active job is forgotten.",
        f"{_RESTING} OR due_at IS NOT NULL OR (state = 'queued' AND waiting_on_count > 0)",
    ),
    _loosen(
        "CHECK failed has a code",
        "A failure says why, and nothing else does.",
        "(state = 'failed') = (failure_code IS NOT NULL)",
    ),
    _loosen(
        "CHECK processing has a task",
        "A job that is polled has a task.",
        "state <> 'processing' OR provider_task_id IS NOT NULL",
    ),
    _loosen("CHECK priority range", "A priority is 0 to 9.", "priority BETWEEN 0 AND 9"),
    _loosen(
        "CHECK price has a currency",
        "No amount without its currency.",
        "(price_micros IS NULL) = (price_currency IS NULL)",
    ),
    _loosen(
        "CHECK verdict has a time", "A verdict and its time come together.", "(verdict IS NULL) = (verdict_at IS NULL)"
    ),
    _loosen(
        "CHECK final answer", "A last word and its time come together.", "(final_at IS NULL) = (final_answer IS NULL)"
    ),
    _loosen(
        "CHECK accepted has a task",
        "A call that was taken has its task id.",
        "verdict <> 'accepted' OR task_id IS NOT NULL",
    ),
    _loosen(
        "CHECK archived has a key",
        "What is called archived says where and what.",
        "archived_at IS NULL OR (key IS NOT NULL AND sha256 IS NOT NULL)",
    ),
    _loosen(
        "CHECK archived has no link",
        "A signed link does not outlive its use.",
        "archived_at IS NULL OR source_url IS NULL",
    ),
    _loosen(
        "CHECK finished after intake",
        "A half-read file is never called finished.",
        "finished_at IS NULL OR intake_done_at IS NOT NULL",
    ),
    Guard(
        name="unique task id",
        promise="No task is two submissions'.",
        file=MIGRATION,
        kept='        ["credential", "task_id"],\n        unique=True,\n',
        removed='        ["credential", "task_id"],\n        unique=False,\n',
        tests=("tests/db/test_evidence.py",),
    ),
    Guard(
        name="unique number of a submission",
        promise="A job has one submission of each number.",
        file=MIGRATION,
        kept='        sa.UniqueConstraint("job_id", "number", name="uq_submissions_job_id_number"),\n',
        removed="",
        tests=CHECKED,
    ),
    Guard(
        name="unique number of an event",
        promise="The history of a job has no two entries of one number.",
        file=MIGRATION,
        kept='        sa.UniqueConstraint("job_id", "sequence", name="uq_job_events_job_id_sequence"),\n',
        removed="",
        tests=CHECKED,
    ),
    Guard(
        name="unique output of a place",
        promise="An output that is announced twice is one.",
        file=MIGRATION,
        kept='        sa.UniqueConstraint("job_id", "index", name="uq_outputs_job_id_index"),\n',
        removed="",
        tests=("tests/db/test_outputs.py",),
    ),
    Guard(
        name="unique batch of a file",
        promise="Two processes that take one file at once make one batch.",
        file=MIGRATION,
        kept='            "identity_sha256", "environment", "generation", name=',
        removed='            "id", name=',
        tests=("tests/db/test_batches.py",),
    ),
    Guard(
        name="lines of a batch are taken once",
        promise="A file that is taken in twice makes each job once.",
        file="orchestrator/db/batches.py",
        kept="            new = [job for job in jobs if job.line_number not in present]\n",
        removed="            new = list(jobs)\n",
        tests=("tests/db/test_batches.py",),
    ),
    Guard(
        name="an older or newer schema is refused",
        promise="No process works on tables that it does not know.",
        file="orchestrator/db/migrate.py",
        kept="    if problem is not None:\n        raise ConfigError(",
        removed="    if problem is not None and not problem:\n        raise ConfigError(",
        tests=("tests/db/test_migrations.py::test_a_schema_that_does_not_fit_is_refused",),
    ),
    Guard(
        name="upgrades take turns",
        promise="Two who upgrade at once do not break the schema.",
        file="orchestrator/db/migrate.py",
        kept="""                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})\n""",
        removed="",
        tests=("tests/db/test_migrations.py::test_two_upgrades_at_once_take_turns",),
    ),
)
