"""Every kind of archive behind one fixture, fresh for each test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.domain.ports import Store
from orchestrator.storage import StoreOptions, StoreSet
from orchestrator.storage.s3 import S3Store
from tests.fixtures import swift
from tests.fixtures.fronts import Authority, OpenFront
from tests.fixtures.s3 import S3Server
from tests.fixtures.strict_s3 import running_strict_s3

collect_ignore = [] if swift.IS_ASKED_FOR else ["test_signed_links.py"]
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


def use_credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the server's credentials where an operator puts them: into the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)


def options_for(server: S3Server) -> StoreOptions:
    """Options that reach the server; parts are as small as S3 allows."""
    return StoreOptions(
        endpoint_url=server.endpoint_url, region=server.region, multipart_threshold=PART, part_bytes=PART
    )


@pytest.fixture
def s3_options(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    use_credentials(s3_server, monkeypatch)
    return options_for(s3_server)


@pytest.fixture
def s3_store(s3_options: StoreOptions, s3_bucket: str) -> S3Store:
    return open_s3(s3_options, s3_bucket)


@pytest.fixture
def s3_tls_store(s3_options: StoreOptions, s3_bucket: str, authority: Authority, open_front: OpenFront) -> S3Store:
    front = open_front(str(s3_options.endpoint_url), tls=True)
    return open_s3(replace(s3_options, endpoint_url=front.url, ca_bundle=authority.bundle), s3_bucket)


@pytest.fixture
def swift_options(swift_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    use_credentials(swift_server, monkeypatch)
    return options_for(swift_server)


@pytest.fixture
def swift_bucket(swift_server: S3Server) -> str:
    """Make a fresh bucket on the server that verifies, and give its name."""
    name = f"archive-{uuid4().hex}"
    swift_server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def swift_store(swift_options: StoreOptions, swift_bucket: str) -> S3Store:
    return open_s3(swift_options, swift_bucket)


@pytest.fixture
def swift_tls_store(
    swift_options: StoreOptions, swift_bucket: str, authority: Authority, open_front: OpenFront
) -> S3Store:
    front = open_front(str(swift_options.endpoint_url), tls=True)
    return open_s3(replace(swift_options, endpoint_url=front.url, ca_bundle=authority.bundle), swift_bucket)


def open_s3(options: StoreOptions, bucket: str) -> S3Store:
    store = StoreSet(options).open(f"s3://{bucket}/out puts/2026")
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def strict_store_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """A bucket on the server that checks all that it is sent."""
    with running_strict_s3() as server:
        use_credentials(server.address, monkeypatch)
        yield open_s3(options_for(server.address), "strict")
        assert server.uploads == {}


@pytest.fixture
def strict_store_old(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """The same of older make: it knows neither checksums nor conditions."""
    with running_strict_s3(old=True) as server:
        use_credentials(server.address, monkeypatch)
        yield open_s3(options_for(server.address), "strict")
        assert server.uploads == {}


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return StoreSet().open((tmp_path / "archive one").as_uri())


# Servers that verify signatures; the others of the tests take any.
VERIFYING = ["swift_store", "swift_tls_store"] if swift.IS_ASKED_FOR else []
BUCKETS = ["s3_store", "s3_tls_store", *(pytest.param(name, marks=pytest.mark.swift) for name in VERIFYING)]


STRICT = ["strict_store_new", "strict_store_old"]


@pytest.fixture(params=["local_store", *STRICT, *BUCKETS])
def store(request: pytest.FixtureRequest) -> Store:
    """One archive of each kind: what every implementation must do."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=BUCKETS)
def bucket_store(request: pytest.FixtureRequest) -> S3Store:
    """One bucket on each server, plain and over TLS."""
    found: S3Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.swift) for name in VERIFYING])
def verifying_store(request: pytest.FixtureRequest) -> S3Store:
    """A bucket on a server that verifies signatures and expiry, plain and over TLS."""
    found: S3Store = request.getfixturevalue(request.param)
    return found
