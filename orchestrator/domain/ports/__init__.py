"""What the rules and services need from the world, one file a port. Adapters implement these; tests fake only these."""

from __future__ import annotations

from orchestrator.domain.ports.access import (
    AuditLog,
    Keys,
    RepeatKey,
    SingleIntake,
    SingleIntakes,
    Taken,
    Upload,
    Uploads,
)
from orchestrator.domain.ports.archive import Fetch, Fetched, ObjectFacts, Store, Stores
from orchestrator.domain.ports.batches import Batches, JobCounts, Member, UnpaidCost
from orchestrator.domain.ports.cancels import BatchCancels, CancelledGroup
from orchestrator.domain.ports.jobs import (
    Adopted,
    Adoption,
    Applied,
    Attachment,
    ClaimedSubmission,
    EvidenceReport,
    HeldPoll,
    HeldUnknown,
    Jobs,
    Renewed,
    SubmitWindow,
)
from orchestrator.domain.ports.journal import DeadJournal, Journal, JournalRecord
from orchestrator.domain.ports.post import Post, Posted
from orchestrator.domain.ports.provider import PaidRequest, PollAnswer, PollQuestion, Provider, SubmitAnswer
from orchestrator.domain.ports.reports import BatchReports, Costs, ErrorGroup, LineJob, Shared
from orchestrator.domain.ports.running import Clock, LaneName, Wakeup
from orchestrator.domain.ports.send import Send, Sending, Sent

__all__ = [
    "Adopted",
    "Adoption",
    "Applied",
    "Attachment",
    "AuditLog",
    "BatchCancels",
    "BatchReports",
    "Batches",
    "CancelledGroup",
    "ClaimedSubmission",
    "Clock",
    "Costs",
    "DeadJournal",
    "ErrorGroup",
    "EvidenceReport",
    "Fetch",
    "Fetched",
    "HeldPoll",
    "HeldUnknown",
    "JobCounts",
    "Jobs",
    "Journal",
    "JournalRecord",
    "Keys",
    "LaneName",
    "LineJob",
    "Member",
    "ObjectFacts",
    "PaidRequest",
    "PollAnswer",
    "PollQuestion",
    "Post",
    "Posted",
    "Provider",
    "Renewed",
    "RepeatKey",
    "Send",
    "Sending",
    "Sent",
    "Shared",
    "SingleIntake",
    "SingleIntakes",
    "Store",
    "Stores",
    "SubmitAnswer",
    "SubmitWindow",
    "Taken",
    "UnpaidCost",
    "Upload",
    "Uploads",
    "Wakeup",
]
