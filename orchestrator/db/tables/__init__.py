"""The tables. Every rule of design section 6 that a database can keep stands here as a named constraint."""

from orchestrator.db.tables.access import ApiKeyRow, AuditRow, FileRow, IdempotencyRow
from orchestrator.db.tables.accounts import CredentialRow, ModelLimitRow, PauseColumns, SweepRow
from orchestrator.db.tables.base import Base
from orchestrator.db.tables.batches import BatchMemberRow, BatchRow, JobDependencyRow
from orchestrator.db.tables.jobs import JobEventRow, JobRow, JobTagRow
from orchestrator.db.tables.outputs import OutputRow
from orchestrator.db.tables.retention import RetentionRuleRow
from orchestrator.db.tables.submissions import MAY_BE_CHARGED, SubmissionRow
from orchestrator.db.tables.webhooks import (
    WebhookAttemptRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookEventRow,
    WebhookLinkRow,
)

__all__ = [
    "MAY_BE_CHARGED",
    "ApiKeyRow",
    "AuditRow",
    "Base",
    "BatchMemberRow",
    "BatchRow",
    "CredentialRow",
    "FileRow",
    "IdempotencyRow",
    "JobDependencyRow",
    "JobEventRow",
    "JobRow",
    "JobTagRow",
    "ModelLimitRow",
    "OutputRow",
    "PauseColumns",
    "RetentionRuleRow",
    "SubmissionRow",
    "SweepRow",
    "WebhookAttemptRow",
    "WebhookDeliveryRow",
    "WebhookEndpointRow",
    "WebhookEventRow",
    "WebhookLinkRow",
]
