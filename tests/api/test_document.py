"""The OpenAPI document says what the API does, whole and with examples; answers are as it says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from schemathesis import Case

from orchestrator.api import samples, schemas
from tests.api.conftest import House

OBJECTS = {
    "job": schemas.Job,
    "output": schemas.Output,
    "event": schemas.Event,
    "batch": schemas.Batch,
    "check": schemas.Check,
    "file": schemas.File,
    "model": schemas.Model,
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
    model: type[BaseModel] = OBJECTS[name]
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


@pytest.fixture
def document(house: House) -> Any:  # noqa: ANN401
    headers = house.headers("admin", "tester")
    loaded = schemathesis.openapi.from_asgi("/openapi.json", house.api)
    loaded.config.update(headers=headers)
    return loaded.exclude(path="/docs")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_the_document_allows_is_answered_as_it_says(case: Case) -> None:
    """No 500, no undocumented status, no body that does not fit, whatever is asked."""
    case.call_and_validate()
