"""The journals of this host against the job table: an answer to a paid call must not be forgotten on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from orchestrator.domain.audit import Violation
from orchestrator.domain.ports import DeadJournal, JournalReader, JournalRecord
from orchestrator.domain.ports.audit import Audit, Call, Journals
from orchestrator.services.doctor.look import Look, Seen

RECORDS_AT_ONCE = 500
OVERDUE_AFTER = timedelta(minutes=10)  # five leases: no commit takes that long


def compare_journals(journals: Journals, audit: Audit) -> Seen:
    """Look at the journals of dead processes."""
    for subject, problem in journals.find_problems():
        yield Violation("journal_exposed", subject, {"problem": problem})
    count = 0
    for journal in journals.dead():
        count += 1
        yield from _compare_records(journal, audit)
        held = audit.count_leases(journal.process)
        if held:
            yield Violation("lease_of_the_dead", journal.process, {"count": held})
    yield Look("journals", f"{count} of dead processes on this host")


def find_overdue(journals: Journals, audit: Audit, now: datetime) -> Iterator[Violation]:
    """Look at the journals of living processes: an answer is theirs to settle, but not for ever. The database may
    refuse one for good, and its process then lives on beside it.
    """
    for journal in journals.living():
        for record, _ in _iter_missing(journal, audit):
            since = record.evidence.answered_at
            if since is not None and since < now - OVERDUE_AFTER:
                facts = {"submission": record.submission_id, "since": since.isoformat(timespec="seconds")}
                yield Violation("journal_overdue", journal.process, facts)


def _compare_records(journal: DeadJournal, audit: Audit) -> Iterator[Violation]:
    for record, code in _iter_missing(journal, audit):
        yield Violation(code, journal.process, {"submission": record.submission_id})


def _iter_missing(journal: JournalReader, audit: Audit) -> Iterator[tuple[JournalRecord, str]]:
    """Yield the answers that the database has not got, each with the code of why."""
    answered = (record for record in journal.records() if record.evidence.body is not None)
    while chunk := list(islice(answered, RECORDS_AT_ONCE)):
        calls = audit.find_calls({record.submission_id for record in chunk})
        for record in chunk:
            code = _judge(record, calls.get(record.submission_id))
            if code is not None:
                yield record, code


def _judge(record: JournalRecord, call: Call | None) -> str | None:
    if call is None:
        return "journal_unmatched"
    is_missing = call.verdict is None or (call.is_unsettled and not call.has_answer)
    return "journal_unlinked" if is_missing else None
