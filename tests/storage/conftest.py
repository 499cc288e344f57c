"""Both kinds of archive behind one fixture, fresh for each test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.ports import Store
from orchestrator.storage import StoreOptions, StoreSet
from orchestrator.storage.s3 import S3Store
from tests.fixtures.s3 import S3Server

PART = 5 << 20
"""S3 refuses smaller parts, but for the last one."""


class MadeFile:
    """A file to store, and what should be found afterwards."""

    def __init__(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self.path = path
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()

    def put_into(self, store: Store, key: str, *, remember: Callable[[str], None] = lambda _: None) -> None:
        store.put_file(
            key,
            self.path,
            sha256=self.sha256,
            content_type="video/mp4",
            metadata={"job-id": "job_1"},
            remember_upload=remember,
        )


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[bytes], MadeFile]:
    return lambda data: MadeFile(tmp_path / "spool.part", data)


@pytest.fixture
def s3_options(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    """Options for the test server; its credentials stand in the environment, as an operator's do."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    return StoreOptions(
        endpoint_url=s3_server.endpoint_url, region=s3_server.region, multipart_threshold=PART, part_bytes=PART
    )


@pytest.fixture
def s3_store(s3_options: StoreOptions, s3_bucket: str) -> S3Store:
    store = StoreSet(s3_options).open(f"s3://{s3_bucket}/out puts/2026")
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return StoreSet().open((tmp_path / "archive one").as_uri())


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    """One archive of each kind: what every implementation must do."""
    found: Store = request.getfixturevalue({"directory": "local_store", "s3": "s3_store"}[request.param])
    return found
