"""The history: what is searched is entered with the job, nothing is paid that was not shown, and a hand on a model holds."""

from __future__ import annotations

from scripts.guards.guard import Guard

BULK = "orchestrator/services/bulk.py"
PAUSES = "orchestrator/db/pauses.py"
CLAIM = "orchestrator/db/submit_claim.py"
MODELS = ("tests/db/test_models.py",)

GUARDS = (
    Guard(
        name="a bulk retry pays only for what it showed",
        promise="What could go on for nothing when it was shown is not paid for.",
        file=BULK,
        kept="for job_ids, may_charge in ((plan.free, False), (plan.paid, True)):",
        removed="for job_ids, may_charge in ((plan.free, True), (plan.paid, True)):",
        tests=("tests/db/test_bulk.py",),
    ),
    Guard(
        name="a pause by hand outlasts answers",
        promise="Only a person ends what a person paused.",
        file=PAUSES,
        kept="    if current.until is not None and current.until >= UNTIL_RESUMED:\n        return current\n",
        removed="",
        tests=MODELS,
    ),
    Guard(
        name="a person's limit holds over the settings",
        promise="Every process holds to it from its next claim on.",
        file=CLAIM,
        kept="limits = {**window.slots, **load_limits(connection, window.credential)}",
        removed="limits = dict(window.slots)",
        tests=MODELS,
    ),
    Guard(
        name="an adopted job is searched too",
        promise="Every job is found by its words and tags, wherever it came from.",
        file="orchestrator/db/attaching.py",
        kept="    insert_searched(connection, [values])\n",
        removed="",
        tests=("tests/db/test_history.py",),
    ),
    Guard(
        name="no cell is a formula",
        promise="What people call jobs and ask for is text in a spreadsheet (fault I8).",
        file="orchestrator/services/export.py",
        kept="""return f"'{cell}" if is_formula else cell""",
        removed="return cell",
        tests=("tests/db/test_bulk.py",),
    ),
    Guard(
        name="a read of the history is stopped",
        promise="A query that nobody would wait for ends with a word.",
        file="orchestrator/db/timed.py",
        kept="for setting in (limit, *settings)",
        removed="for setting in settings",
        tests=("tests/db/test_history.py",),
    ),
)
