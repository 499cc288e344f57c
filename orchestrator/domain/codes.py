"""What the domain's own codes mean and what a person should do: jobs, submissions, commands, and the bytes of a link."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.advice import Entry, Source, Then
from orchestrator.domain.job import RESTORED_IN_DOUBT, RESTORED_QUEUED
from orchestrator.domain.media import suspects
from orchestrator.domain.models import BY_HAND

LOOK_AT_PROVIDER = (
    "Look in the provider's console: attach the task's id if it shows one, else resubmit or write the job off."
)
LOOK_AT_BILL = (
    "Look at the provider's bill: a model that answers at once leaves no task to attach; resubmit the job (a new charge)"
    " or write it off."
)
TAKE_UP = "Its answer is here and paid for: `orchestrator jobs retry ID` takes it up at no charge."
ASK_AGAIN = "Look at its events and raw answers; `orchestrator jobs retry ID` asks about its task again at no charge."
ASKED_AGAIN = "Nothing to do: the provider is asked again by itself; the job and its task are unharmed."
_FRESH = "Nothing to do: another link is asked for; if it goes on, look at the job's events."
_TELL_US = "Retry the job; report it with `orchestrator jobs events ID` if it happens again."

_FAILURES = (
    (
        "invalid_params",
        "the provider refused the request as it is",
        "Correct the named field and submit the job again; the refused try was not charged.",
    ),
    (
        "content_policy",
        "refused for what the request or the result shows or says",
        "Change the prompt or the input; the same request would be refused again.",
    ),
    (
        "provider_failed",
        "the provider took the task and then gave up on it",
        "Retry it as a new charge; if it fails again, change the prompt or the parameters.",
    ),
    (
        "result_lost",
        "the provider has not known the task for days",
        "Ask the provider's support about the task; a retry is a new charge.",
    ),
    (
        "output_expired",
        "a result's link died before it was archived, and no other is to be had",
        "A retry uses another paid task of the job where there is one, else it is a new charge; ask the provider's support.",
    ),
    (
        "written_off",
        "a person gave it up",
        "Nothing to do: a task id that turns up later, or is attached by hand, still brings it back.",
    ),
    ("dependency_failed", "a job that it needs did not succeed", "Retry the job that it needs first."),
    (
        "input_missing",
        "the archive no longer holds an input",
        "Run the file again with the input in place; this try was not sent.",
    ),
    (
        "input_changed",
        "the archive's copy of an input is not what was agreed to",
        "Submit it again with the right file; this try was not sent.",
    ),
    ("internal_error", "a fault of ours", _TELL_US),
)

_STATES = (
    ("needs_review", Then.HELD, "nobody here can know what happened", LOOK_AT_PROVIDER),
    (
        "cancelled",
        Then.ENDED,
        "a person stopped it",
        "Nothing to do: what a paid task made all the same is kept; `orchestrator jobs retry ID` takes it up again.",
    ),
)

_SUBMISSIONS = (
    (
        "lease_too_old",
        Then.AGAIN,
        "too much time passed between taking the job and calling",
        "Nothing to do: nothing was sent; if it goes on, the machine is overloaded or was suspended.",
    ),
    (
        "lease_lapsed",
        Then.HELD,
        "the worker that was sending it said nothing before its lease ended",
        LOOK_AT_PROVIDER,
    ),
    (
        "unreadable_answer",
        Then.HELD,
        "our reader broke on the answer, which is kept as it came",
        "`orchestrator jobs show ID --raw` shows it: attach the task's id if it names one, and report it.",
    ),
    ("process_died", Then.HELD, "the process that was sending it died before an answer came", LOOK_AT_PROVIDER),
    ("aborted", Then.HELD, "the call was given up on the second interrupt", LOOK_AT_PROVIDER),
    (
        "duplicate_task_id",
        Then.HELD,
        "the answer names a task that another job holds",
        "Compare the two jobs' raw answers and ask the provider's support; attach the right id or write the job off.",
    ),
    (
        RESTORED_QUEUED,
        Then.HELD,
        "queued in the backup that was restored; it may have been paid for since",
        "Look at the provider's console and bill, then `orchestrator db mark-restored --release`.",
    ),
    (
        RESTORED_IN_DOUBT,
        Then.HELD,
        "being submitted, or held, in the backup that was restored",
        LOOK_AT_PROVIDER,
    ),
    ("unknown", Then.HELD, "an earlier paid call is unexplained", LOOK_AT_PROVIDER),
    (
        "budget",
        Then.AGAIN,
        "the batch's budget has no room for its next job",
        "Give it more with `orchestrator batches budget ID AMOUNT`; calls that are refused give theirs back by themselves.",
    ),
    (
        "too_many_unknowns",
        Then.AGAIN,
        "too many paid calls ended unknown within an hour, so nothing more is submitted",
        "Find out why answers are lost; only time lowers the count, not writing off or resubmitting.",
    ),
    (
        "slots_held",
        Then.AGAIN,
        "every slot of the model is taken, some of them by unexplained calls",
        "Nothing to do: each lets go when its ORCHESTRATOR_ASSUMED_TASK_LIFE is over, or its answer is known.",
    ),
    (
        BY_HAND,
        Then.PAUSED,
        "a person paused the model",
        "Let it go on with `orchestrator models resume MODEL`.",
    ),
    (
        "not_sent",
        Then.AGAIN,
        "an earlier try was certainly not taken",
        "Nothing to do: it is sent again by itself.",
    ),
    (
        "rejected",
        Then.FAILED,
        "an earlier try was refused as it is",
        "Look at the refusal with `orchestrator jobs show ID --raw`, correct the request and submit it again.",
    ),
)

_COMMANDS = (
    (
        "configuration",
        "a setting is missing or wrong",
        "Correct the setting that is named: ORCHESTRATOR_* or the --config file; docs/settings.md lists them.",
    ),
    ("invalid_params", "one or more fields are wrong", "Correct the fields that are named; nothing was submitted."),
    ("bad_request", "what was asked for cannot be read", "Correct what is named and try again."),
    ("invalid_query", "the query cannot be read", "Correct it at the place shown: `orchestrator jobs list --help`."),
    (
        "too_many_jobs",
        "a query finds more jobs than are changed at once",
        "Narrow it by time or by batch, and repeat it.",
    ),
    ("query_too_slow", "the query took longer than anybody waits", "Narrow it by time, batch or a longer word."),
    ("unknown_kind", "no kind of job has this name", "Use image, video or transcription."),
    (
        "invalid_file",
        "a job file has faults",
        "Mend the lines that are named and run the file again; nothing of it was submitted.",
    ),
    (
        "not_found",
        "there is no such thing here",
        "Check the id and --data-dir: jobs of `run --sandbox` are in .orchestrator/sandbox.",
    ),
    (
        "invalid_key",
        "the HTTP API was asked without a key, or with one that is not good",
        "Send `Authorization: Bearer ok_...`; `orchestrator keys create NAME --role R` makes a key.",
    ),
    (
        "not_allowed",
        "the role of the key does not allow this",
        "Use a key of another role: docs/api.md says what each may do.",
    ),
    ("conflict", "the state of the thing forbids the action", "Look at it with `orchestrator jobs show ID` first."),
    ("budget", "it would cost more than was allowed", "Raise --max-cost, or split the file."),
    (
        "archive_differs",
        "a file in the archive is not what was stored",
        "Restore that object from a copy of the bucket or folder; what was downloaded has been thrown away.",
    ),
    (
        "ledger_unreadable",
        "the sandbox's ledger cannot be read, so the doctor cannot compare with it",
        "Start the sandbox, or give --ledger its address or its state directory.",
    ),
)

_LINKS = (
    (suspects.WRONG_CONTENT_TYPE, "the link gave a page or a document, not a file", _FRESH),
    (suspects.CONTENT_ENCODED, "the link answered in an encoding that was not asked for", _FRESH),
    (suspects.EMPTY_BODY, "the link gave no bytes", _FRESH),
    (
        suspects.TOO_LARGE,
        "the file is longer than allowed",
        "Raise ORCHESTRATOR_OUTPUT_MAX_BYTES if such files are expected; it is tried again by itself.",
    ),
    (suspects.REDIRECTED, "the link leads on too often, out of TLS, or nowhere", _FRESH),
    (suspects.UNEXPECTED_STATUS, "the link gave something other than the whole file", _FRESH),
    (
        suspects.EGRESS_REFUSED,
        "the link leads to an address that is not opened",
        "If the host is yours, name it in ORCHESTRATOR_EGRESS_ALLOW; otherwise nothing: another link is asked for.",
    ),
    (suspects.MEDIA_INCOMPLETE, "the file ends too early or is damaged", _FRESH),
    (suspects.MEDIA_UNRECOGNISED, "the bytes are no picture, film or sound that we know", _FRESH),
    ("no_link", "the link is not known any more", _FRESH),
)

_DATABASE = (
    (
        "database_unavailable",
        Then.AGAIN,
        "the database cannot be reached, or is overloaded",
        "Start the database or check ORCHESTRATOR_DATABASE_URL; jobs go on when it is back.",
    ),
    (
        "database_refused",
        Then.STOPPED,
        "the database refused what was asked of it",
        "Check its disk space and rights, then `orchestrator db check`; report the message if both are in order.",
    ),
    (
        "one_job_twice",
        Then.AGAIN,
        "two pieces of evidence about one job were to be settled in one write",
        "Nothing to do: they are settled one by one.",
    ),
)

_FLEET = (
    (
        "broker_unavailable",
        Then.AGAIN,
        "the broker cannot be reached",
        "Start the broker or check ORCHESTRATOR_BROKER_URL; nothing is lost, work only begins later.",
    ),
    (
        "worker_failed",
        Then.STOPPED,
        "Celery ended the worker",
        "Read the log lines above it, mend what they say, and start the worker again.",
    ),
)

_CLASSES = (
    ("Transient", Then.AGAIN, "it did not happen; later it may", "Nothing to do: it is tried again by itself."),
    (
        "Throttled",
        Then.PAUSED,
        "refused before work: rate, overload or a quota",
        "Nothing to do: it goes on when the pause ends.",
    ),
    (
        "Account",
        Then.PAUSED,
        "refused because of the account or the key",
        "Look at the account and the key; jobs wait meanwhile.",
    ),
    ("Uncertain", Then.HELD, "it may have happened; nobody here can know", LOOK_AT_PROVIDER),
    ("Permanent", Then.FAILED, "it did not happen and will not as it is", "Correct what the message names."),
    (
        "LeaseLost",
        Then.AGAIN,
        "another worker has the job by now",
        "Nothing to do: the other worker goes on with it.",
    ),
    (
        "LeaseTooOld",
        Then.AGAIN,
        "too much of the lease had passed to begin the paid call",
        "Nothing to do: nothing was sent, the job is taken again.",
    ),
    ("OrchestratorError", Then.STOPPED, "something went wrong that has no other name", _TELL_US),
)


def entries() -> Iterator[Entry]:
    """Yield a row for every code of the domain."""
    for code, meaning, advice in _FAILURES:
        yield Entry(code, Source.JOB, Then.FAILED, meaning, advice)
    for code, then, meaning, advice in _STATES:
        yield Entry(code, Source.JOB, then, meaning, advice)
    for code, then, meaning, advice in _SUBMISSIONS:
        yield Entry(code, Source.SUBMISSION, then, meaning, advice)
    for code, meaning, advice in _COMMANDS:
        then = Then.STOPPED if code == "archive_differs" else Then.REFUSED
        yield Entry(code, Source.COMMAND, then, meaning, advice)
    for code, meaning, advice in _LINKS:
        yield Entry(code, Source.LINK, Then.FRESH_LINK, meaning, advice)
    for source, rows in ((Source.DATABASE, _DATABASE), (Source.FLEET, _FLEET)):
        for code, then, meaning, advice in rows:
            yield Entry(code, source, then, meaning, advice)
    for name, then, meaning, advice in _CLASSES:
        yield Entry(name, Source.CLASS, then, meaning, advice)
