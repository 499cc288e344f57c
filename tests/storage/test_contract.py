"""One contract for every archive: a directory, a bucket with whole PUTs, a bucket with multipart uploads."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions as boto
import pytest

from orchestrator.domain.errors import ConfigError, Gone, Permanent, StepError, Transient
from orchestrator.domain.ports import Store
from orchestrator.storage import StoreOptions, StoreSet, open_store
from orchestrator.storage.s3_errors import classify
from tests.fixtures.s3 import S3Server

MIB = 1 << 20
BIG = bytes(range(256)) * (11 * MIB // 256) + b"end"  # three parts of 5 MiB, the last one short
SMALL = b"a small file\n"
_numbers = itertools.count(1)

MakeOptions = Callable[..., StoreOptions]


@pytest.fixture
def make_options(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> MakeOptions:
    """Give a function that makes the options of the S3 server; credentials stand where AWS expects them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)

    def make(**changes: Any) -> StoreOptions:  # noqa: ANN401 - any option by name
        return StoreOptions(endpoint_url=s3_server.endpoint_url, region=s3_server.region, **changes)

    return make


@pytest.fixture(params=["file", "s3", "s3-multipart"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3_server: S3Server, make_options: MakeOptions) -> Store:
    """Give an empty archive of each sort."""
    if request.param == "file":
        return open_store((tmp_path / "archive").as_uri())
    bucket = f"contract-{next(_numbers)}"
    s3_server.client().create_bucket(Bucket=bucket)
    options = make_options() if request.param == "s3" else make_options(multipart_threshold=6 * MIB, part_bytes=5 * MIB)
    return open_store(f"s3://{bucket}/some/prefix", options)


def put(store: Store, folder: Path, key: str, data: bytes, sha256: str | None = None) -> list[str]:
    """Store bytes as a file; return the upload ids that were announced."""
    path = folder / "spool.part"
    path.write_bytes(data)
    announced: list[str] = []
    digest = sha256 or hashlib.sha256(data).hexdigest()
    store.put_file(
        key,
        path,
        sha256=digest,
        content_type="video/mp4",
        metadata={"job-id": "job_1"},
        remember_upload=announced.append,
    )
    return announced


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
def test_what_was_put_is_read_back(store: Store, tmp_path: Path, data: bytes) -> None:
    """Promise 6: length and SHA-256 come from the store, not from what was sent."""
    put(store, tmp_path, "2026/01/02/job_1/0-video.mp4", data)
    found = store.read_back("2026/01/02/job_1/0-video.mp4")
    assert found.byte_count == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join(store.read_chunks("2026/01/02/job_1/0-video.mp4")) == data
    facts = store.find("2026/01/02/job_1/0-video.mp4")
    assert facts is not None
    assert facts.byte_count == len(data)


def test_what_is_not_there_is_said(store: Store) -> None:
    """None or Gone, never an empty file."""
    assert store.find("no/such") is None
    with pytest.raises(Gone):
        store.read_back("no/such")
    with pytest.raises(Gone):
        list(store.read_chunks("no/such"))
    store.delete("no/such")
    assert list(store.list_keys("no/")) == []


def test_keys_are_listed_below_a_prefix_and_deleted(store: Store) -> None:
    """Relative to the archive's own prefix."""
    for key in ("a/1", "a/2", "b/1"):
        store.put_bytes(key, SMALL, content_type="text/plain")
    assert sorted(store.list_keys("a/")) == ["a/1", "a/2"]
    store.delete("a/1")
    assert list(store.list_keys("a/")) == ["a/2"]


def test_a_document_is_replaced_whole(store: Store) -> None:
    """manifest.json is written again when a cover comes later."""
    store.put_bytes("m.json", b"{}" * 100, content_type="application/json")
    store.put_bytes("m.json", b"{}", content_type="application/json")
    assert b"".join(store.read_chunks("m.json")) == b"{}"


def test_the_same_file_twice_is_fine(store: Store, tmp_path: Path) -> None:
    """Fault E22: a run that died between the store and the row does it again."""
    put(store, tmp_path, "k", SMALL)
    put(store, tmp_path, "k", SMALL)
    assert store.read_back("k").sha256 == hashlib.sha256(SMALL).hexdigest()


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", "a\x00b", "a//../..//b"])
def test_no_key_leaves_the_archive(store: Store, key: str) -> None:
    """Keys are ours; one that is not is a bug that must not reach the disk."""
    with pytest.raises(StepError):
        store.put_bytes(key, SMALL, content_type="text/plain")


def test_a_link_is_signed_on_demand(store: Store) -> None:
    """It names the file and, over HTTP, ends."""
    store.put_bytes("k.mp4", SMALL, content_type="video/mp4")
    url = store.sign_url("k.mp4", expires=timedelta(minutes=15), file_name='we"ird\r\n.mp4')
    if store.url.startswith("s3:"):
        assert "X-Amz-Signature" in url
        assert "X-Amz-Expires=900" in url
        assert "%0D%0A" not in url.upper()
    else:
        assert url.startswith("file:///")


def test_a_multipart_upload_is_announced_before_its_first_part(
    s3_server: S3Server, make_options: MakeOptions, tmp_path: Path
) -> None:
    """The id is kept first, so that what dies half-way can be found; a small file has none."""
    s3_server.client().create_bucket(Bucket="announced")
    store = open_store("s3://announced/p", make_options(multipart_threshold=6 * MIB, part_bytes=5 * MIB))
    assert put(store, tmp_path, "small", SMALL) == []
    assert len(put(store, tmp_path, "big", BIG)) == 1


def test_orphan_uploads_are_aborted_by_age(s3_server: S3Server, make_options: MakeOptions) -> None:
    """Fault E14: stores bill the parts of dead uploads until somebody aborts them."""
    client = s3_server.client()
    client.create_bucket(Bucket="orphans")
    client.create_multipart_upload(Bucket="orphans", Key="p/dead")
    client.create_multipart_upload(Bucket="orphans", Key="elsewhere/alive")
    store = open_store("s3://orphans/p", make_options())
    assert store.abort_stale_uploads(before=datetime(2000, 1, 1, tzinfo=UTC)) == 0
    assert store.abort_stale_uploads(before=datetime.now(UTC) + timedelta(days=1)) == 1
    left = client.list_multipart_uploads(Bucket="orphans").get("Uploads", [])
    assert [upload["Key"] for upload in left] == ["elsewhere/alive"]


def test_a_directory_refuses_a_file_that_is_not_what_was_hashed(tmp_path: Path) -> None:
    """The spool changed underneath: nothing is stored."""
    store = open_store((tmp_path / "archive").as_uri())
    with pytest.raises(Transient):
        put(store, tmp_path, "k", SMALL, sha256="0" * 64)
    assert store.find("k") is None


def test_trouble_with_the_bucket_is_permanent_and_named(make_options: MakeOptions) -> None:
    """Fault E19: a missing bucket is the operator's to mend; codes begin with store_."""
    store = open_store("s3://no-such-bucket/p", make_options())
    with pytest.raises(Permanent) as caught:
        store.put_bytes("k", SMALL, content_type="text/plain")
    assert caught.value.code.startswith("store_")


def test_a_store_that_is_away_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connection refused: later."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    store = open_store("s3://bucket/p", StoreOptions(endpoint_url="http://127.0.0.1:9", region="us-east-1"))
    with pytest.raises(Transient):
        store.put_bytes("k", SMALL, content_type="text/plain")


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "s3:///p", "file://host/x", "", "s3://UP_!/x"])
def test_what_is_no_archive_is_refused(url: str) -> None:
    """ConfigError names the setting."""
    with pytest.raises(ConfigError):
        StoreSet().open(url)


def boto_errors() -> list[type[Exception]]:
    """Return every exception class of the client library."""
    return sorted(
        (each for each in vars(boto).values() if isinstance(each, type) and issubclass(each, boto.BotoCoreError)),
        key=lambda each: each.__name__,
    )


@pytest.mark.parametrize("kind", boto_errors(), ids=lambda kind: kind.__name__)
def test_no_exception_of_the_client_library_leaves(kind: type[Exception]) -> None:
    """Design section 10: every class is mapped."""
    error = kind.__new__(kind)
    Exception.__init__(error, "words")
    assert isinstance(classify(error, "write", "s3://b/k"), StepError)
