"""One sample of every object, made by the code that makes the real ones: the examples of OpenAPI and of docs/api.md."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from orchestrator.config import Settings
from orchestrator.domain.access import ApiKey, AuditEntry, Role
from orchestrator.domain.advice import Source
from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Batch, Job, JobEvent, Output, Price, StoredFile
from orchestrator.domain.job import Role as OutputRole
from orchestrator.domain.kind import InputFacts
from orchestrator.domain.models import DEFAULT_CREDENTIAL, ModelState
from orchestrator.domain.ports import Costs, JobCounts, Upload
from orchestrator.domain.states import State, Trigger
from orchestrator.domain.thumbnails import Thumbnail
from orchestrator.domain.usage import GroupBy, UsageRow
from orchestrator.domain.webhooks import (
    ALL_OF_JOBS,
    AttemptRecord,
    DeliveryRecord,
    DeliveryState,
    Endpoint,
    SealedSecrets,
)
from orchestrator.services import models as steering
from orchestrator.services.access_views import audit_object, check_object, file_object, key_object, model_object
from orchestrator.services.batch_views import batch_object
from orchestrator.services.jobfile.tally import PriceSum
from orchestrator.services.usage import usage_object
from orchestrator.services.views import Object, error_object, event_object, job_object, output_object
from orchestrator.services.webhook_views import delivery_object, endpoint_object
from orchestrator.wiring import error_catalogue, kinds_by_name

NOW = datetime(2026, 11, 24, 9, 30, 0, tzinfo=UTC)
PRICE = Price(200_000, "USD", "2026-11")
JOB_ID = "job_019ab3f0c1d27aa08c5d7e1f2a3b4c5d"
BATCH_ID = "batch_019ab3f0c1d07bb18c5d7e1f2a3b4c5d"
OUTPUT_ID = "out_019ab3f1a2b37cc28c5d7e1f2a3b4c5d"
ENDPOINT_ID = "we_019ab3ee01037ee38c5d7e1f2a3b4c5d"
FILE_ID = "file_019ab3ee01027dd38c5d7e1f2a3b4c5d"
MODEL = kinds_by_name()["video"].default_model
ENVIRONMENT = str(Settings.model_fields["zai_base_url"].default)
KEY_ID = "1f2e3d4c5b6a7988"
SMALL_SHA256 = "5d0e41d0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c"
SHA256 = "9f2c41d0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c"
REQUEST: Object = {
    "kind": "video",
    "body": {"model": MODEL, "prompt": "A red kite over the sea", "size": "1920x1080", "duration": 5},
    "custom_id": "scene-014",
    "tags": {"campaign": "spring"},
}


@cache
def _output() -> Output:
    stored = StoredFile(
        key=f"2026/11/24/{JOB_ID}/0-video-{SHA256[:12]}.mp4",
        byte_count=8_123_456,
        sha256=SHA256,
        content_type="video/mp4",
        width=1920,
        height=1080,
        duration_seconds=5.0,
        thumbnail=Thumbnail(41_213, SMALL_SHA256, 512, 288),
    )
    return Output(
        id=OUTPUT_ID,
        job_id=JOB_ID,
        index=0,
        role=OutputRole.VIDEO,
        source_expires_at=NOW + timedelta(days=1),
        archived_at=NOW - timedelta(minutes=1),
        stored=stored,
    )


def _job() -> Job:
    return Job(
        id=JOB_ID,
        kind="video",
        model=MODEL,
        state=State.SUCCEEDED,
        body={"model": MODEL},
        body_sha256=SHA256,
        credential="default",
        archive_url="s3://bucket/media",
        created_at=NOW - timedelta(minutes=4),
        batch_id=BATCH_ID,
        custom_id="scene-014",
        tags={"campaign": "spring"},
        input={"prompt": "A red kite over the sea", "size": "1920x1080", "duration": 5},
        price=PRICE,
        provider_task_id="8868902201637896192-4117",
        submitted_at=NOW - timedelta(minutes=3),
        finished_at=NOW - timedelta(minutes=1),
        submission_count=1,
        poll_count=4,
        outputs=(_output(),),
        cost_final_micros=PRICE.micros,
    )


def _sign(output: Output) -> tuple[str, datetime]:
    return f"https://media.example.com/v1/outputs/{output.id}/content", NOW + timedelta(minutes=15)


def _sign_small(output: Output) -> tuple[str, datetime]:
    return f"https://media.example.com/v1/outputs/{output.id}/thumbnail", NOW + timedelta(minutes=15)


def job() -> Object:
    """A job that succeeded."""
    return job_object(_job(), now=NOW, kinds=kinds_by_name(), sign=_sign, sign_small=_sign_small)


def output() -> Object:
    """An archived output."""
    return output_object(_output(), sign=_sign, sign_small=_sign_small)


def event() -> Object:
    """A row of a job's history."""
    sample = JobEvent(
        id="evt_019ab3f0c1d37ee48c5d7e1f2a3b4c5d",
        job_id=JOB_ID,
        sequence=1,
        type=Trigger.ACCEPTED,
        from_state=None,
        to_state=State.QUEUED,
        at=NOW - timedelta(minutes=4),
        actor=f"key:{KEY_ID}",
        reason="accepted",
    )
    return event_object(sample)


def batch() -> Object:
    """A batch that runs."""
    sample = Batch(
        id=BATCH_ID,
        owner="studio",
        name="scenes.jsonl",
        identity_sha256=SHA256,
        environment=ENVIRONMENT,
        archive_url="s3://bucket/media",
        line_count=20,
        is_intake_done=True,
        created_at=NOW - timedelta(minutes=4),
        max_cost_micros=5_000_000,
    )
    counts = JobCounts({State.SUCCEEDED: 12, State.PROCESSING: 5, State.QUEUED: 3})
    return batch_object(sample, counts, [Costs("USD", 4_000_000, 2_400_000, 0)])


def check() -> Object:
    """What a dry run, or the check of a file, answers."""
    warning = Fault("unknown_field", "body.colour", "the provider knows no field colour", is_warning=True)
    prices = PriceSum()
    prices.add("video", MODEL, PRICE)
    return check_object(prices.total(), line_count=1, faults=(), fault_count=0, warnings=(warning,))


def file() -> Object:
    """An uploaded input."""
    facts = InputFacts(245_760, "image/png", 1280, 720, None)
    return file_object(Upload(FILE_ID, "studio", "kite.png", SHA256, facts, "s3://bucket/media", NOW))


def model() -> Object:
    """A model with its limit and its price."""
    state = ModelState(DEFAULT_CREDENTIAL, MODEL, held_count=2, counts={State.QUEUED: 7, State.PROCESSING: 2})
    row = steering.model_object(state, "video", {MODEL: 3})
    return model_object(row, kinds_by_name(), account=None, has_figures=True)


def usage() -> Object:
    """What the jobs of one model came to."""
    row = UsageRow(MODEL, "USD", 20, 12, 1, 0, 0, 14, 4_000_000, 2_400_000, 1, 12, 97_481_472, 60.0)
    return usage_object(row, GroupBy.MODEL)


def _endpoint() -> Endpoint:
    secrets = SealedSecrets("sealed")
    return Endpoint(
        ENDPOINT_ID,
        "studio",
        "https://hooks.example.com/media",
        ALL_OF_JOBS,
        is_global=True,
        created_at=NOW - timedelta(days=3),
        secrets=secrets,
        last_success_at=NOW,
    )


def webhook_endpoint() -> Object:
    """An endpoint, without its secret."""
    return endpoint_object(_endpoint())


def new_webhook_endpoint() -> Object:
    """An endpoint as its maker sees it, once."""
    return {**webhook_endpoint(), "secret": "whsec_" + "x" * 43 + "="}


def webhook_delivery() -> Object:
    """A delivery whose second attempt reached its endpoint."""
    first = NOW - timedelta(seconds=6)
    attempts = (
        AttemptRecord(1, first, 15_000, None, "timeout", "no answer within 15 s", "", NOW),
        AttemptRecord(2, NOW, 84, 204, None, "delivered", "", None),
    )
    return delivery_object(
        DeliveryRecord(
            "dlv_019ab3f1a2c47dd48c5d7e1f2a3b4c5d",
            "evt_019ab3f1a2c37ee48c5d7e1f2a3b4c5d",
            "job.succeeded",
            ENDPOINT_ID,
            "https://hooks.example.com/media",
            JOB_ID,
            None,
            DeliveryState.DELIVERED,
            2,
            None,
            first,
            NOW,
            attempts,
        )
    )


def error_code() -> Object:
    """A row of the error catalogue."""
    return error_object(next(entry for entry in error_catalogue() if entry.source is Source.PROVIDER))


def _key() -> ApiKey:
    return ApiKey(KEY_ID, "studio", Role.OPERATOR, "studio", "", NOW, "local")


def key() -> Object:
    """A key, without its secret."""
    return key_object(_key())


def new_key() -> Object:
    """A key as its maker sees it, once."""
    return key_object(_key(), text=f"ok_{KEY_ID}_{'x' * 43}")


def audit_entry() -> Object:
    """A line of the audit log."""
    entry = AuditEntry(
        actor=f"key:{KEY_ID}",
        action="job.cancel",
        subject=JOB_ID,
        owner="studio",
        reason="the brief has changed",
        id="aud_019ab3f0c1d47ff58c5d7e1f2a3b4c5d",
        at=NOW,
    )
    return audit_object(entry)


def failure() -> Object:
    """The body of an error."""
    return {
        "error": {
            "code": "invalid_size",
            "message": "body.size is '1920'; WIDTHxHEIGHT is allowed",
            "param": "body.size",
            "type": "invalid_request_error",
            "request_id": "req_5f1c8a0b9d2e4c7f6a3b1d0e",
            "hint": "1920x1080",
        }
    }


def list_of(sample: Object) -> Object:
    """A list that holds one thing."""
    return {"object": "list", "data": [sample], "has_more": False, "first_id": sample["id"], "last_id": sample["id"]}
