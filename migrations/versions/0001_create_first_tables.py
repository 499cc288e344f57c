"""The first tables: jobs and their history, submissions, outputs, batches, pauses, sweeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001_create_first_tables"
down_revision = None
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    _create_batches()
    _create_credentials()
    _create_model_limits()
    _create_sweeps()
    _create_jobs()
    _create_batch_members()
    _create_job_events()
    _create_outputs()
    _create_submissions()


def downgrade() -> None:
    for table in (
        "submissions",
        "outputs",
        "job_events",
        "batch_members",
        "jobs",
        "sweeps",
        "model_limits",
        "credentials",
        "batches",
    ):
        op.drop_table(table)


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False, comment="batch_ and a UUIDv7: sorts by creation"),
        sa.Column("owner", sa.Text(), nullable=False, comment="Who created it: an API key's name, or local"),
        sa.Column("name", sa.Text(), nullable=False, comment="What people call it: the file's name"),
        sa.Column("identity_sha256", sa.Text(), nullable=False, comment="What makes the same file the same batch"),
        sa.Column("environment", sa.Text(), nullable=False, comment="sandbox, or the base URL its jobs are sent to"),
        sa.Column("archive_url", sa.Text(), nullable=False, comment="Where its outputs go"),
        sa.Column("line_count", sa.Integer(), nullable=False, comment="Lines that become members"),
        sa.Column("created_at", UTC, nullable=False, comment="When intake began"),
        sa.Column("intake_done_at", UTC, nullable=True, comment="When the last line was in"),
        sa.Column("finished_at", UTC, nullable=True, comment="When no member was active any more; NULL: running"),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=False,
            comment="1, and one more each time the same file is paid for anew",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.CheckConstraint(
            "finished_at IS NULL OR intake_done_at IS NOT NULL", name=op.f("ck_batches_finished_after_intake")
        ),
        sa.UniqueConstraint(
            "identity_sha256", "environment", "generation", name="uq_batches_identity_sha256_environment_generation"
        ),
        comment="A job file as it was taken in",
    )
    op.create_index(
        "ix_batches_running",
        "batches",
        ["id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _create_credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("name", sa.Text(), nullable=False, comment="As named in the settings"),
        sa.Column("submit_paused_until", UTC, nullable=True, comment="No submit claim before; passed: one probe"),
        sa.Column("submit_pause_code", sa.Text(), nullable=True, comment="Provider code that set the submit pause"),
        sa.Column("submit_pause_message", sa.Text(), nullable=True, comment="Its words"),
        sa.Column(
            "submit_probe_id", sa.Text(), nullable=True, comment="Submission that probes whether the pause is over"
        ),
        sa.Column("poll_paused_until", UTC, nullable=True, comment="No poll claim before; passed: one probe"),
        sa.Column("poll_pause_code", sa.Text(), nullable=True, comment="Provider code that set the poll pause"),
        sa.Column("poll_pause_message", sa.Text(), nullable=True, comment="Its words"),
        sa.Column("poll_probe_id", sa.Text(), nullable=True, comment="Job whose poll probes whether the pause is over"),
        sa.PrimaryKeyConstraint("name", name="pk_credentials"),
        comment="Names of credentials and what they wait for; keys are settings, never rows",
    )


def _create_model_limits() -> None:
    op.create_table(
        "model_limits",
        sa.Column("credential", sa.Text(), nullable=False, comment="Whose requests"),
        sa.Column("model", sa.Text(), nullable=False, comment="The provider's model name"),
        sa.Column("submit_paused_until", UTC, nullable=True, comment="No submit claim before; passed: one probe"),
        sa.Column("submit_pause_code", sa.Text(), nullable=True, comment="Provider code that set the submit pause"),
        sa.Column("submit_pause_message", sa.Text(), nullable=True, comment="Its words"),
        sa.Column(
            "submit_probe_id", sa.Text(), nullable=True, comment="Submission that probes whether the pause is over"
        ),
        sa.Column("poll_paused_until", UTC, nullable=True, comment="No poll claim before; passed: one probe"),
        sa.Column("poll_pause_code", sa.Text(), nullable=True, comment="Provider code that set the poll pause"),
        sa.Column("poll_pause_message", sa.Text(), nullable=True, comment="Its words"),
        sa.Column("poll_probe_id", sa.Text(), nullable=True, comment="Job whose poll probes whether the pause is over"),
        sa.PrimaryKeyConstraint("credential", "model", name="pk_model_limits"),
        comment="One row per credential and model: the lock under which its slots are counted",
    )


def _create_sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("name", sa.Text(), nullable=False, comment="The task; per-host ones end with the host's name"),
        sa.Column("due_at", UTC, nullable=False, comment="May be claimed; while leased, the lease's end"),
        sa.Column("lease_token", sa.Text(), nullable=True, comment="Held by whoever runs it"),
        sa.Column("started_at", UTC, nullable=True, comment="Newest claim"),
        sa.Column("finished_at", UTC, nullable=True, comment="Newest end"),
        sa.Column("result", sa.Text(), nullable=True, comment="What the newest run said"),
        sa.PrimaryKeyConstraint("name", name="pk_sweeps"),
        comment="Maintenance tasks: who runs one, when it is due again, what it said",
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False, comment="job_ and a UUIDv7: sorts by creation"),
        sa.Column("kind", sa.Text(), nullable=False, comment="image, video, transcription or a later one"),
        sa.Column("model", sa.Text(), nullable=False, comment="The provider's model name; its slots are counted by it"),
        sa.Column("state", sa.Text(), nullable=False, comment="Design section 6; moved only by guarded writes"),
        sa.Column("owner", sa.Text(), nullable=False, comment="Who created it: an API key's name, or local"),
        sa.Column(
            "fair_key", sa.Text(), nullable=False, comment="Batch id or owner: submit slots go round robin over these"
        ),
        sa.Column("credential", sa.Text(), nullable=False, comment="Whose key the paid call is made with"),
        sa.Column(
            "batch_id", sa.Text(), nullable=True, comment="Batch that made it; membership of batches is batch_members"
        ),
        sa.Column("line_number", sa.Integer(), nullable=True, comment="Its line in that batch's file, from 1"),
        sa.Column("custom_id", sa.Text(), nullable=True, comment="The user's own name for it"),
        sa.Column("tags", JSON, nullable=False, comment="The user's labels, text to text"),
        sa.Column("priority", sa.SmallInteger(), nullable=False, comment="0 to 9; higher goes first"),
        sa.Column("input", JSON, nullable=False, comment="What the user asked for, as shown back"),
        sa.Column("body", JSON, nullable=False, comment="Frozen request body; files in it are named by SHA-256"),
        sa.Column("body_sha256", sa.Text(), nullable=False, comment="Of the frozen body"),
        sa.Column("archive_url", sa.Text(), nullable=False, comment="Where inputs are read and outputs are stored"),
        sa.Column("archive_class", sa.Text(), nullable=False, comment="video or other: two orders in the archive lane"),
        sa.Column("price_micros", sa.BigInteger(), nullable=True, comment="Table price, millionths of the currency"),
        sa.Column("price_currency", sa.Text(), nullable=True, comment="ISO 4217"),
        sa.Column("price_version", sa.Text(), nullable=True, comment="Which dated table"),
        sa.Column("cost_final_micros", sa.BigInteger(), nullable=True, comment="What it cost; NULL while not known"),
        sa.Column("created_at", UTC, nullable=False, comment="When it was accepted"),
        sa.Column("not_before", UTC, nullable=True, comment="The user's earliest time for submitting"),
        sa.Column("due_at", UTC, nullable=True, comment="Next step may be claimed; while leased, the lease's end"),
        sa.Column("lease_token", sa.Text(), nullable=True, comment="Held by whoever performs the present step"),
        sa.Column(
            "waiting_on_count",
            sa.Integer(),
            nullable=False,
            comment="Jobs this one depends on that have not succeeded yet",
        ),
        sa.Column("provider_task_id", sa.Text(), nullable=True, comment="The task being asked about"),
        sa.Column("submitted_at", UTC, nullable=True, comment="When the provider first took it"),
        sa.Column("finished_at", UTC, nullable=True, comment="When it reached a final state"),
        sa.Column("source_expires_at", UTC, nullable=True, comment="Earliest end of its unarchived outputs' links"),
        sa.Column("cancel_requested_at", UTC, nullable=True, comment="Asked for after the paid call had begun"),
        sa.Column("missing_since", UTC, nullable=True, comment="Since when the provider does not know the task"),
        sa.Column("submission_count", sa.Integer(), nullable=False, comment="Tries at the paid call so far"),
        sa.Column("poll_count", sa.Integer(), nullable=False, comment="Questions asked about its tasks"),
        sa.Column("attempt_count", sa.Integer(), nullable=False, comment="Failures in a row of the present step"),
        sa.Column(
            "ask_count", sa.Integer(), nullable=False, comment="SUCCESS answers in a row that held nothing usable"
        ),
        sa.Column(
            "death_count", sa.Integer(), nullable=False, comment="Leases in a row that lapsed in a worker's hands"
        ),
        sa.Column("sequence", sa.Integer(), nullable=False, comment="Number of its newest event"),
        sa.Column("failure_code", sa.Text(), nullable=True, comment="Why it failed: surfaces section 2"),
        sa.Column("failure_message", sa.Text(), nullable=True, comment="The same in words"),
        sa.Column("provider_code", sa.Text(), nullable=True, comment="The provider's code behind it"),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Newest trouble of the present step"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.CheckConstraint(
            "state IN ('queued', 'submitting', 'processing', 'archiving', 'succeeded', 'failed', 'cancelled', 'needs_review')",
            name=op.f("ck_jobs_state_known"),
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_final_is_finished"),
        ),
        sa.CheckConstraint(
            "NOT (state IN ('succeeded', 'failed', 'cancelled', 'needs_review')) OR (due_at IS NULL AND lease_token IS NULL)",
            name=op.f("ck_jobs_resting_is_not_due"),
        ),
        sa.CheckConstraint(
            "state IN ('succeeded', 'failed', 'cancelled', 'needs_review') OR due_at IS NOT NULL OR (state = 'queued' AND waiting_on_count > 0)",
            name=op.f("ck_jobs_active_is_due"),
        ),
        sa.CheckConstraint("(state = 'failed') = (failure_code IS NOT NULL)", name=op.f("ck_jobs_failed_has_code")),
        sa.CheckConstraint(
            "state <> 'processing' OR provider_task_id IS NOT NULL", name=op.f("ck_jobs_processing_has_task")
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_jobs_priority_range")),
        sa.CheckConstraint(
            "(price_micros IS NULL) = (price_currency IS NULL)", name=op.f("ck_jobs_price_has_currency")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_jobs_batch_id"),
        comment="One request of ours: where it stands, when it is due, what came of it",
    )
    op.create_index(
        "ix_jobs_archive_due",
        "jobs",
        ["state", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'archiving'"),
        postgresql_where=sa.text("state = 'archiving'"),
    )
    op.create_index(
        "ix_jobs_archive_lane",
        "jobs",
        ["state", "archive_class", "source_expires_at", "id", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'archiving'"),
        postgresql_where=sa.text("state = 'archiving'"),
    )
    op.create_index("ix_jobs_kind_state", "jobs", ["kind", "state", "id"], unique=False)
    op.create_index(
        "ix_jobs_lapse_lane",
        "jobs",
        ["state", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'submitting'"),
        postgresql_where=sa.text("state = 'submitting'"),
    )
    op.create_index(
        "ix_jobs_poll_lane",
        "jobs",
        ["state", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'processing'"),
        postgresql_where=sa.text("state = 'processing'"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "id"], unique=False)
    op.create_index(
        "ix_jobs_submit_lane",
        "jobs",
        ["credential", "model", "priority", "fair_key", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )


def _create_batch_members() -> None:
    op.create_table(
        "batch_members",
        sa.Column("batch_id", sa.Text(), nullable=False, comment="The batch"),
        sa.Column("line_number", sa.Integer(), nullable=False, comment="Line of its file, from 1"),
        sa.Column("custom_id", sa.Text(), nullable=True, comment="The line's custom_id"),
        sa.Column("job_id", sa.Text(), nullable=False, comment="The line's job"),
        sa.Column(
            "linked_from", sa.Text(), nullable=True, comment="Fair key of a job that another intake made; else NULL"
        ),
        sa.PrimaryKeyConstraint("batch_id", "line_number", name="pk_batch_members"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_batch_members_batch_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_batch_members_job_id"),
        comment="Lines of a batch and the job of each: its own, or one of an earlier batch",
    )
    op.create_index("ix_batch_members_custom_id", "batch_members", ["custom_id", "job_id"], unique=False)
    op.create_index("ix_batch_members_job_id", "batch_members", ["job_id", "batch_id"], unique=False)
    op.create_index("ix_batch_members_linked_from", "batch_members", ["batch_id", "linked_from"], unique=False)


def _create_job_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("id", sa.Text(), nullable=False, comment="evt_ and a UUIDv7"),
        sa.Column("job_id", sa.Text(), nullable=False, comment="Whose history"),
        sa.Column("sequence", sa.Integer(), nullable=False, comment="Rises by one per job"),
        sa.Column("type", sa.Text(), nullable=False, comment="The trigger: design section 6"),
        sa.Column("from_state", sa.Text(), nullable=True, comment="NULL: the job did not exist"),
        sa.Column("to_state", sa.Text(), nullable=True, comment="Equal to from_state for a note"),
        sa.Column("at", UTC, nullable=False, comment="The transaction's time"),
        sa.Column("actor", sa.Text(), nullable=False, comment="system, or who asked"),
        sa.Column("reason", sa.Text(), nullable=False, comment="In words"),
        sa.Column("data", JSON, nullable=False, comment="Facts for programs"),
        sa.PrimaryKeyConstraint("id", name="pk_job_events"),
        sa.UniqueConstraint("job_id", "sequence", name="uq_job_events_job_id_sequence"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id"),
        comment="Every change of state and every note, with time and actor; append-only",
    )


def _create_outputs() -> None:
    op.create_table(
        "outputs",
        sa.Column("id", sa.Text(), nullable=False, comment="out_ and a UUIDv7"),
        sa.Column("job_id", sa.Text(), nullable=False, comment="Whose output"),
        sa.Column("index", sa.Integer(), nullable=False, comment="Its place in the provider's answer, from 0"),
        sa.Column("role", sa.Text(), nullable=False, comment="image, video, cover, transcript, transcript_json"),
        sa.Column("source_url", sa.Text(), nullable=True, comment="The provider's link; cleared once archived"),
        sa.Column("text", sa.Text(), nullable=True, comment="Content that came inside the answer"),
        sa.Column("source_expires_at", UTC, nullable=True, comment="End of the link's life"),
        sa.Column("is_expiry_assumed", sa.Boolean(), nullable=False, comment="The link did not say; a setting did"),
        sa.Column("attempt_count", sa.Integer(), nullable=False, comment="Tries at fetching or storing that failed"),
        sa.Column("ask_count", sa.Integer(), nullable=False, comment="Fresh links asked for"),
        sa.Column("dead_links", JSON, nullable=False, comment="SHA-256 of links that answered 403, 404 or 410"),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Newest trouble"),
        sa.Column("upload_id", sa.Text(), nullable=True, comment="Multipart upload under way"),
        sa.Column("key", sa.Text(), nullable=True, comment="Archive key below the archive URL"),
        sa.Column("byte_count", sa.BigInteger(), nullable=True, comment="Length as read back"),
        sa.Column("sha256", sa.Text(), nullable=True, comment="As read back"),
        sa.Column("content_type", sa.Text(), nullable=True, comment="Sniffed from the bytes"),
        sa.Column("width", sa.Integer(), nullable=True, comment="Pixels"),
        sa.Column("height", sa.Integer(), nullable=True, comment="Pixels"),
        sa.Column("duration_seconds", sa.Float(), nullable=True, comment="Playing time"),
        sa.Column("codec", sa.Text(), nullable=True, comment="Of its main track"),
        sa.Column("notes", JSON, nullable=False, comment="Oddities seen while checking it"),
        sa.Column("created_at", UTC, nullable=False, comment="When the provider announced it"),
        sa.Column("archived_at", UTC, nullable=True, comment="Stored and read back"),
        sa.Column("lost_at", UTC, nullable=True, comment="Proven gone"),
        sa.PrimaryKeyConstraint("id", name="pk_outputs"),
        sa.UniqueConstraint("job_id", "index", name="uq_outputs_job_id_index"),
        sa.CheckConstraint(
            "archived_at IS NULL OR (key IS NOT NULL AND sha256 IS NOT NULL)", name=op.f("ck_outputs_archived_has_key")
        ),
        sa.CheckConstraint("archived_at IS NULL OR source_url IS NULL", name=op.f("ck_outputs_archived_has_no_link")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_outputs_job_id"),
        comment="One file of a job: where it can be fetched, then where it is archived",
    )


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.Text(), nullable=False, comment="sub_ and a UUIDv7; the request_id that is sent"),
        sa.Column("job_id", sa.Text(), nullable=False, comment="Whose try"),
        sa.Column("number", sa.Integer(), nullable=False, comment="1 for the job's first try"),
        sa.Column("origin", sa.Text(), nullable=False, comment="ours, or adopted: somebody else's task"),
        sa.Column("process", sa.Text(), nullable=False, comment="Journal name of the process that made it"),
        sa.Column("credential", sa.Text(), nullable=False, comment="Whose key"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Copied from the job"),
        sa.Column("model", sa.Text(), nullable=False, comment="Whose slot"),
        sa.Column("fair_key", sa.Text(), nullable=False, comment="Whose turn it was"),
        sa.Column("body_sha256", sa.Text(), nullable=False, comment="Of the body that was to be sent"),
        sa.Column("price_micros", sa.BigInteger(), nullable=True, comment="What it was agreed to cost; millionths"),
        sa.Column("price_currency", sa.Text(), nullable=True, comment="ISO 4217"),
        sa.Column("price_version", sa.Text(), nullable=True, comment="Which dated table"),
        sa.Column("intent_at", UTC, nullable=False, comment="The claim that committed to it"),
        sa.Column(
            "assumed_life_until", UTC, nullable=False, comment="Holds its slot no longer, unless it is being polled"
        ),
        sa.Column("slot_released_at", UTC, nullable=True, comment="Sure refusal, final answer or proven loss"),
        sa.Column("moment", sa.Text(), nullable=True, comment="How far the call came: not_sent, sent, answered"),
        sa.Column("sent_at", UTC, nullable=True, comment="First byte of the request"),
        sa.Column("answered_at", UTC, nullable=True, comment="Whole answer read"),
        sa.Column("http_status", sa.Integer(), nullable=True, comment="Of the answer"),
        sa.Column("raw_answer", sa.Text(), nullable=True, comment="The answer as text, first 64 KiB"),
        sa.Column("result", JSON, nullable=True, comment="Whole result of an immediate kind, as output drafts"),
        sa.Column("verdict", sa.Text(), nullable=True, comment="How the try ended; NULL while in flight"),
        sa.Column("verdict_at", UTC, nullable=True, comment="When that was stored"),
        sa.Column(
            "provider_code",
            sa.Text(),
            nullable=True,
            comment="Code behind the verdict: the provider's or a word of ours",
        ),
        sa.Column("message", sa.Text(), nullable=True, comment="Words behind the verdict"),
        sa.Column("task_id", sa.Text(), nullable=True, comment="The provider's task"),
        sa.Column("final_at", UTC, nullable=True, comment="When the provider's last word on it was stored"),
        sa.Column("final_answer", sa.Text(), nullable=True, comment="SUCCESS, FAIL or lost"),
        sa.Column("superseded_at", UTC, nullable=True, comment="When an unknown stopped holding its job"),
        sa.Column("decided_by", sa.Text(), nullable=True, comment="Who decided about it, if not its own answer"),
        sa.Column("decided_why", sa.Text(), nullable=True, comment="Their reason"),
        sa.PrimaryKeyConstraint("id", name="pk_submissions"),
        sa.UniqueConstraint("job_id", "number", name="uq_submissions_job_id_number"),
        sa.CheckConstraint("(verdict IS NULL) = (verdict_at IS NULL)", name=op.f("ck_submissions_verdict_has_time")),
        sa.CheckConstraint("(final_at IS NULL) = (final_answer IS NULL)", name=op.f("ck_submissions_final_has_answer")),
        sa.CheckConstraint(
            "verdict <> 'accepted' OR task_id IS NOT NULL", name=op.f("ck_submissions_accepted_has_task")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_submissions_job_id"),
        comment="One try at the paid call: the ledger of money and the holder of a slot",
    )
    op.create_index(
        "ix_submissions_in_flight",
        "submissions",
        ["process"],
        unique=False,
        sqlite_where=sa.text("verdict IS NULL"),
        postgresql_where=sa.text("verdict IS NULL"),
    )
    op.create_index(
        "ix_submissions_slots",
        "submissions",
        ["credential", "model", "assumed_life_until"],
        unique=False,
        sqlite_where=sa.text("slot_released_at IS NULL"),
        postgresql_where=sa.text("slot_released_at IS NULL"),
    )
    op.create_index(
        "ix_submissions_turns", "submissions", ["credential", "model", "fair_key", "intent_at"], unique=False
    )
    op.create_index(
        "ix_submissions_unknown",
        "submissions",
        ["credential", "verdict_at"],
        unique=False,
        sqlite_where=sa.text("verdict = 'unknown'"),
        postgresql_where=sa.text("verdict = 'unknown'"),
    )
    op.create_index(
        "uq_submissions_task_id",
        "submissions",
        ["credential", "task_id"],
        unique=True,
        sqlite_where=sa.text("task_id IS NOT NULL"),
        postgresql_where=sa.text("task_id IS NOT NULL"),
    )
