"""The OpenAPI document says what the API does, whole and with examples; answers are as it says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from orchestrator.api import samples, schemas
from tests.api.conftest import House

EXAMPLES = settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
"""Few, and always the same. What a body says is judged beyond its schema (sizes, models), so that may be refused."""
OBJECTS: dict[str, type[BaseModel]] = {
    "job": schemas.Job,
    "output": schemas.Output,
    "event": schemas.Event,
    "batch": schemas.Batch,
    "check": schemas.Check,
    "file": schemas.File,
    "model": schemas.Model,
    "usage": schemas.UsageRow,
    "webhook_endpoint": schemas.WebhookEndpoint,
    "new_webhook_endpoint": schemas.NewWebhookEndpoint,
    "webhook_delivery": schemas.WebhookDelivery,
    "error_code": schemas.ErrorCode,
    "key": schemas.Key,
    "new_key": schemas.NewKey,
    "audit_entry": schemas.AuditEntry,
    "failure": schemas.ErrorBody,
}


@pytest.mark.parametrize("name", list(OBJECTS))
def test_samples_are_what_the_document_says(name: str) -> None:
    """Made by the code that makes the real ones, they fit the schema, and no field of theirs is missing in it."""
    sample = getattr(samples, name)()
    model = OBJECTS[name]
    model.model_validate(sample)
    if name != "batch":  # its rarer fields are described in docs/batches.md
        assert set(sample) == set(model.model_fields), name


def test_every_operation_is_described(house: House) -> None:
    """A summary, a description, an example of the good answer, and the error body for whatever can go wrong."""
    document = house.api.openapi()
    assert document["info"]["title"] == "media-orchestrator"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert operation["description"], path
            wrong = [status for status in operation["responses"] if status >= "400"]
            if "security" in operation:
                assert {"401", "403", "503"} <= set(wrong), (method, path)
            for status in operation["responses"]:
                assert status != "422" or "HTTPValidationError" not in str(operation["responses"][status]), path
    named = document["components"]["schemas"]
    assert all("examples" in named[model.__name__] for model in OBJECTS.values())
    assert "examples" in named["JobRequest"]


def test_whatever_the_document_allows_is_answered_as_it_says(house: House) -> None:
    """No 500, no undocumented status, no body that does not fit, whatever is asked of which operation."""
    headers = house.headers("admin", "tester")
    found = list(schemathesis.openapi.from_asgi("/openapi.json", house.api).get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found)
    assert len(operations) > 25
    for operation in operations:

        @settings(EXAMPLES)
        @given(case=operation.as_strategy())
        def check(case: Case[Any]) -> None:
            case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

        check()
