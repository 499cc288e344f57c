"""Every rule that `orchestrator doctor` checks, with its words and what mends it. docs/operations.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

EVENTS = "orchestrator jobs events {subject}"
SHOW = "orchestrator jobs show {subject} --raw"
FIX = "orchestrator doctor --fix"
START = "start a worker, or orchestrator run FILE again"
RETRY = "orchestrator jobs retry {job}"
VERIFY = "orchestrator archive verify"
REPLACE = "orchestrator archive verify --replace"
REPORT = "no command mends it: keep the data as it is and report it"


class Severity(StrEnum):
    """Broken: what must hold does not. Attention: nothing is broken, and somebody has to act."""

    BROKEN = "broken"
    ATTENTION = "attention"


@dataclass(frozen=True)
class Rule:
    """`words` and `mend` are templates over the facts of a violation; `{subject}` is whom it is about."""

    code: str
    severity: Severity
    words: str
    mend: str


_BROKEN, _ATTENTION = Severity.BROKEN, Severity.ATTENTION

_JOBS = (
    Rule("state_unknown", _BROKEN, "{subject} is in a state that does not exist: {state}", REPORT),
    Rule("final_unfinished", _BROKEN, "{subject} is {state}, and finished_at is {finished_at}", EVENTS),
    Rule("resting_is_due", _BROKEN, "{subject} is {state} and still due or leased", EVENTS),
    Rule("active_not_due", _BROKEN, "{subject} is {state} and never due: nobody will take it up", EVENTS),
    Rule("queued_never_due", _BROKEN, "{subject} is queued and not due before {due_at}", EVENTS),
    Rule("failed_without_code", _BROKEN, "{subject} is {state}, and its failure_code is {failure_code}", EVENTS),
    Rule("processing_without_task", _BROKEN, "{subject} is processing and has no task id", SHOW),
    Rule(
        "task_of_no_submission",
        _BROKEN,
        "{subject} asks about task {provider_task_id}, which none of its submissions holds",
        SHOW,
    ),
    Rule(
        "history_gap",
        _BROKEN,
        "{subject} has {event_count} events, numbered up to {last_event}; its row says {sequence}",
        EVENTS,
    ),
    Rule("history_disagrees", _BROKEN, "{subject} is {state}, and its newest event does not say so", EVENTS),
    Rule(
        "submission_count_wrong",
        _BROKEN,
        "{subject} says {submission_count} submissions and has {submissions}",
        SHOW,
    ),
    Rule("calls_at_once", _BROKEN, "{subject} has {open_calls} paid calls without an end at once", SHOW),
    Rule("call_outside_submitting", _BROKEN, "{subject} is {state} and has a paid call without an end", SHOW),
    Rule("unknown_not_held", _BROKEN, "{subject} is {state} although nobody knows the end of a paid call of it", SHOW),
    Rule("paid_and_idle", _BROKEN, "{subject} is {state} although a paid task of it has no final answer", RETRY),
    Rule("extra_paid_task", _ATTENTION, "{subject} was paid for {extra_tasks} task(s) that it cannot use", SHOW),
    Rule("succeeded_without_output", _BROKEN, "{subject} succeeded and has nothing in the archive", REPORT),
    Rule("succeeded_unarchived", _BROKEN, "{subject} succeeded, and a mandatory output is not archived", REPORT),
    Rule("member_missing", _BROKEN, "{subject} says it is line {line_number} of {batch_id}, which does not", REPORT),
    Rule("submitting_lapsed", _BROKEN, "{subject} was being sent until {due_at}, and nobody has looked since", FIX),
    Rule("work_waits", _ATTENTION, "{subject} is {state} and has been due since {due_at}; nobody takes it", START),
    Rule("waits_for_nothing", _BROKEN, "{subject} waits for other jobs although none of them keeps it any more", START),
    Rule("parent_unknown", _BROKEN, "{subject} waits for a job that nobody knows in {batch_id}", REPORT),
    Rule("needs_review", _ATTENTION, "{subject} wait for a person", "orchestrator jobs review"),
)

_SUBMISSIONS = (
    Rule("task_id_twice", _BROKEN, "task {subject} is held by {holders} submissions", SHOW.replace("subject", "job")),
    Rule("verdict_incomplete", _BROKEN, "{subject} of {job} says {verdict} without what belongs to it", REPORT),
    Rule("too_many_unknowns", _ATTENTION, "{count} paid calls of credential {subject} ended unknown within an hour; "
         "from {limit} on nothing more is submitted; it goes on at {until}",
         "wait until then: jobs review, write-off and resubmit do not lower the count; "
         "ORCHESTRATOR_MAX_UNKNOWN_PER_HOUR is the limit"),
)  # fmt: skip

_OUTPUTS = (
    Rule("output_incomplete", _BROKEN, "{subject} of {job} is archived without key, length or SHA-256", REPORT),
    Rule("output_keeps_link", _BROKEN, "{subject} of {job} is archived and still has its link", REPORT),
    Rule("output_at_risk", _ATTENTION, "{subject} of {job} is not archived, and its link dies {expires_at}", START),
    Rule("output_expired", _ATTENTION, "{subject} of {job} was not archived before its link died {expires_at}", START),
)

_BATCHES = (
    Rule("batch_not_closed", _ATTENTION, "{subject} is running, and none of its jobs is active", FIX),
    Rule("batch_closed_early", _BROKEN, "{subject} is finished, and {job} of it is active", REPORT),
    Rule("batch_intake_open", _ATTENTION, "{subject} ({name}) was never taken in whole", "orchestrator run {name}"),
    Rule("batch_lines_missing", _BROKEN, "{subject} has {members} members of {line_count} lines", REPORT),
)

_LANES = (
    Rule("probe_dead", _BROKEN, "{subject} is paused for {lane} until an answer of {probe}, which nobody awaits",
         "report it, unless orchestrator doctor --fix ends it"),
    Rule("sweeps_stopped", _ATTENTION, "no maintenance since {since}, and jobs are active", START),
    Rule("sweep_failing", _ATTENTION, "{subject} says: {result}", FIX),
    Rule("lease_of_the_dead", _ATTENTION, "{count} jobs are held by {subject}, a process of this host that is gone",
         FIX),
)  # fmt: skip

_WEBHOOKS = (
    Rule("event_unaddressed", _BROKEN, "{subject} ({type}) goes to no endpoint", REPORT),
    Rule("deliveries_wait", _ATTENTION, "{count} deliveries to {subject} have been due since {due_at}; nobody makes them",
         "start a worker, or any orchestrator run"),
    Rule("deliveries_unsigned", _ATTENTION,
         "{count} deliveries to {subject} wait: nothing could be signed, since its secret cannot be opened",
         "put the former ORCHESTRATOR_SECRET_KEY back, or: orchestrator webhooks rotate {subject}"),
    Rule("deliveries_stranded", _ATTENTION, "{count} deliveries to {subject}, which is disabled, are still queued",
         "start a worker: its next look cancels them"),
)  # fmt: skip

_HOST = (
    Rule("journal_exposed", _BROKEN, "{subject}: {problem}; an answer in it could be forged",
         "chmod 700 on the folder, 600 on its files, after a look at who changed them"),
    Rule("journal_unmatched", _BROKEN, "{subject} holds an answer to {submission}, which this database does not know",
         "is it the right database? After a restore: orchestrator db mark-restored"),
    Rule("journal_unlinked", _ATTENTION, "{subject} holds an answer to {submission} that is not in the database", FIX),
    Rule("journal_overdue", _ATTENTION,
         "{subject}, which runs, has had an answer to {submission} since {since}; it is not in the database",
         "look in its log for what the database said; once it is started anew, the next sweep tries again"),
    Rule("spool_stale", _ATTENTION, "{subject} has lain in the spool since {since}", FIX),
    Rule("disk_low", _ATTENTION, "{subject} has {free} free, less than {least}", "make room there"),
    Rule("clock_differs", _ATTENTION, "this host and the database server differ by {seconds} s", "let NTP set both"),
)  # fmt: skip

_ARCHIVE = (
    Rule("object_missing", _BROKEN, "{subject} of {job} is not in the archive: {key}", VERIFY),
    Rule("object_length", _BROKEN, "{key} of {job} has {found} bytes and not {bytes}", REPLACE),
    Rule("object_differs", _BROKEN, "{key} of {job} is not what was stored: its SHA-256 is {found}", REPLACE),
    Rule("manifest_missing", _BROKEN, "{subject} has no manifest.json in the archive", VERIFY),
    Rule("manifest_differs", _BROKEN, "manifest.json of {subject} says otherwise than the job table: {what}", REPLACE),
    Rule("object_orphaned", _ATTENTION, "{subject} belongs to no output of {job}", "look at it, then delete it"),
    Rule("folder_orphaned", _ATTENTION, "the archive has {subject}, a job that this database does not know",
         "is it the right database? After a restore: orchestrator db mark-restored; orchestrator archive reindex --merge"),
    Rule("archive_unusable", _BROKEN, "{subject}: {problem}", "the archive's address, credentials and rights"),
)  # fmt: skip

_LEDGER = (
    Rule("charge_unexplained", _BROKEN, "the provider charged task {subject} for {request}, which is no submission",
         "is it the right database? Else report it"),
    Rule("charged_twice", _BROKEN, "{subject} was charged {charges} times; {allowed} were agreed to", SHOW),
    Rule("charge_refused", _BROKEN, "task {subject} was charged, and its submission {request} says {verdict}",
         SHOW.replace("subject", "job")),
    Rule("task_differs", _BROKEN, "{request} of {job} was charged as task {subject} and holds task {task_id}",
         SHOW.replace("subject", "job")),
    Rule("task_unknown_there", _BROKEN, "the provider has no task {subject}, which {job} holds",
         SHOW.replace("subject", "job")),
    Rule("unknown_was_charged", _ATTENTION, "the unknown call of {subject} was taken and charged as task {task}",
         "orchestrator jobs attach {subject} --task-id {task}"),
    Rule("unknown_answer_lost", _ATTENTION, "the unknown call of {subject} was taken and charged; its result was in the "
         "answer that was lost", "orchestrator jobs resubmit {subject}"),
    Rule("unknown_not_charged", _ATTENTION, "the unknown call of {subject} was never taken; nothing was charged",
         "orchestrator jobs resubmit {subject}"),
    Rule("ledger_unreadable", _ATTENTION, "{subject}: {problem}", "start the sandbox, or leave --ledger out"),
)  # fmt: skip

_PLACE = (
    Rule("schema_wrong", _BROKEN, "{problem}", "as it says; then orchestrator db check compares again"),
    Rule("database_unreachable", _BROKEN, "{problem}", "the database and ORCHESTRATOR_DATABASE_URL"),
    Rule("broker_unreachable", _BROKEN, "{problem}", "the broker and ORCHESTRATOR_BROKER_URL"),
)

RULES: Mapping[str, Rule] = {
    rule.code: rule
    for group in (_JOBS, _SUBMISSIONS, _OUTPUTS, _BATCHES, _LANES, _WEBHOOKS, _HOST, _ARCHIVE, _LEDGER, _PLACE)
    for rule in group
}
