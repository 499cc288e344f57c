"""A bucket: parts, probes, links, credentials and sweeps, on a server that speaks S3."""

from __future__ import annotations

import io
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from orchestrator.domain.errors import Permanent, StepError, Transient
from orchestrator.storage import StoreOptions, open_store
from orchestrator.storage.s3 import S3Store
from orchestrator.storage.s3_bucket import Bucket
from orchestrator.storage.s3_client import make_client
from orchestrator.storage.s3_probe import Capabilities, decode_sha256
from tests.fixtures.s3 import S3Server
from tests.storage.conftest import PART, MadeFile, use_credentials
from tests.storage.faulty import note_order, replace_answer, say, say_error, verify_sha256

MakeFile = Callable[[bytes], MadeFile]
KEY = "2026/11/22/job_1/0-video-abc.mp4"
BIG = bytes(2 * PART + 5)
DAY = timedelta(days=1)


def open_uploads(store: S3Store) -> list[str]:
    found = store.client.list_multipart_uploads(Bucket=store.bucket.name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def test_type_and_metadata_are_kept(s3_store: S3Store, make_file: MakeFile) -> None:
    for data in (b"small", BIG):
        make_file(data).put_into(s3_store, KEY)
        found = s3_store.find(KEY)
        assert found is not None
        assert (found.content_type, found.metadata) == ("video/mp4", {"job-id": "job_1"})


def test_the_upload_is_remembered_before_its_first_part(s3_store: S3Store, make_file: MakeFile) -> None:
    """E14: what a kill leaves behind can be named."""
    notes: list[str] = []
    note_order(s3_store, notes)
    make_file(BIG).put_into(s3_store, KEY, remember=lambda upload_id: notes.append(f"remembered {bool(upload_id)}"))
    assert notes[:3] == ["CreateMultipartUpload", "remembered True", "UploadPart"]
    assert notes[-2:] == ["CompleteMultipartUpload", "HeadObject"]
    assert open_uploads(s3_store) == []


def test_a_small_file_opens_no_upload(s3_store: S3Store, make_file: MakeFile) -> None:
    remembered: list[str] = []
    make_file(b"small").put_into(s3_store, KEY, remember=remembered.append)
    assert remembered == []


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_a_failed_upload_is_aborted(s3_store: S3Store, make_file: MakeFile, operation: str) -> None:
    """E15: no key, no open upload, and later it may work."""
    replace_answer(s3_store, operation, say_error(403, "RequestTimeout"))
    with pytest.raises(Transient):
        make_file(BIG).put_into(s3_store, KEY)
    assert s3_store.find(KEY) is None
    assert open_uploads(s3_store) == []


def test_an_upload_that_cannot_be_remembered_is_aborted(s3_store: S3Store, make_file: MakeFile) -> None:
    """The database is away: its error comes out as it is, and no part was sent."""

    def refuse(upload_id: str) -> None:
        raise OSError("the database is away")

    with pytest.raises(OSError, match="the database is away"):
        make_file(BIG).put_into(s3_store, KEY, remember=refuse)
    assert open_uploads(s3_store) == []


def test_an_error_inside_a_successful_complete_is_an_error(s3_store: S3Store, make_file: MakeFile) -> None:
    """E15: 200 with an error in the body."""
    replace_answer(s3_store, "CompleteMultipartUpload", say_error(200, "InternalError"))
    with pytest.raises(Transient):
        make_file(BIG).put_into(s3_store, KEY)
    assert s3_store.find(KEY) is None


def test_a_complete_with_nothing_behind_it_is_found(s3_store: S3Store, make_file: MakeFile) -> None:
    """E15: Complete is verified by HEAD."""
    body = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
    replace_answer(s3_store, "CompleteMultipartUpload", say(200, body))
    with pytest.raises(Transient) as caught:
        make_file(BIG).put_into(s3_store, KEY)
    assert caught.value.code == "store_incomplete"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((503, "SlowDown"), "store_busy"),
        ((500, "InternalError"), "store_unavailable"),
        ((403, "AccessDenied"), "store_denied"),
    ],
)
def test_a_refused_put_says_what_happens_next(s3_store: S3Store, answer: tuple[int, str], code: str) -> None:
    """E15, E19."""
    replace_answer(s3_store, "PutObject", say_error(*answer))
    with pytest.raises(StepError) as caught:
        s3_store.put_bytes("manifest.json", b"{}", content_type="application/json")
    assert caught.value.code == code


def test_a_body_that_ends_early_is_for_later(s3_store: S3Store, make_file: MakeFile) -> None:
    """E16: reading back fewer bytes than the store announced."""
    make_file(b"hello").put_into(s3_store, KEY)
    replace_answer(s3_store, "GetObject", say(200, b"hel", Content_Length="5"))
    with pytest.raises(Transient):
        s3_store.read_back(KEY)


def test_damage_at_rest_is_found(s3_store: S3Store, make_file: MakeFile) -> None:
    """E16: the ETag may say what it likes."""
    file = make_file(b"hello")
    file.put_into(s3_store, KEY)
    s3_store.client.put_object(Bucket=s3_store.bucket.name, Key=s3_store._name(KEY), Body=b"jello")
    assert s3_store.read_back(KEY).sha256 != file.sha256


def test_memory_does_not_grow_with_the_file(s3_store: S3Store, make_file: MakeFile) -> None:
    """E20: at most two parts in memory; here not even one."""
    file = make_file(bytes(8 * PART))
    file.data = b""
    s3_store.capabilities()
    tracemalloc.start()
    try:
        file.put_into(s3_store, KEY)
        s3_store.read_back(KEY)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * PART


# What the store can do


def test_a_store_that_verifies_nothing_is_read_back(s3_store: S3Store, make_file: MakeFile) -> None:
    """E18: the test server accepts a wrong SHA-256, so its own word is never taken."""
    assert s3_store.capabilities() == Capabilities(verifies_sha256=False, honours_if_none_match=True)
    make_file(b"hello").put_into(s3_store, KEY)
    reads = replace_answer(s3_store, "GetObject", lambda _: None)
    assert s3_store.read_back(KEY).byte_count == 5
    assert len(reads) == 1


def test_a_store_that_verifies_sha256_is_believed(s3_store: S3Store, make_file: MakeFile) -> None:
    """E18: it refused a wrong one, so its own stands for reading everything back."""
    verify_sha256(s3_store)
    file = make_file(b"hello")
    file.put_into(s3_store, KEY)
    reads = replace_answer(s3_store, "GetObject", lambda _: None)
    assert s3_store.read_back(KEY).sha256 == file.sha256
    assert reads == []


def test_parts_are_read_back_even_from_a_store_that_verifies(s3_store: S3Store, make_file: MakeFile) -> None:
    """A checksum of checksums is not the SHA-256 of the file."""
    verify_sha256(s3_store)
    file = make_file(BIG)
    file.put_into(s3_store, KEY)
    assert s3_store.read_back(KEY).sha256 == file.sha256


def test_a_changed_spool_file_is_refused_by_a_store_that_verifies(s3_store: S3Store, make_file: MakeFile) -> None:
    """E16: corrupted between hashing and storing."""
    verify_sha256(s3_store)
    file = make_file(b"hello")
    file.path.write_bytes(b"jello")
    with pytest.raises(Transient) as caught:
        file.put_into(s3_store, KEY)
    assert caught.value.code == "store_checksum_mismatch"
    assert s3_store.find(KEY) is None


def test_a_store_of_older_make_is_not_asked_for_more(s3_store: S3Store, make_file: MakeFile) -> None:
    """E18: it answers 501 to a checksum and to a condition; files are stored all the same."""
    refuse = say_error(501, "NotImplemented")
    replace_answer(
        s3_store,
        "PutObject",
        lambda request: refuse(request) if {"x-amz-checksum-sha256", "if-none-match"} & set(request.headers) else None,
    )
    assert s3_store.capabilities() == Capabilities(verifies_sha256=False, honours_if_none_match=False)
    file = make_file(b"hello")
    file.put_into(s3_store, KEY)
    assert s3_store.read_back(KEY).sha256 == file.sha256


def test_a_store_out_of_order_proves_nothing(s3_store: S3Store) -> None:
    """A 503 during the probe is trouble, not an answer: nothing is remembered."""
    is_ill = True
    trouble = say_error(503, "SlowDown")
    replace_answer(s3_store, "PutObject", lambda request: trouble(request) if is_ill else None)
    with pytest.raises(Transient):
        s3_store.capabilities()
    is_ill = False
    assert s3_store.capabilities().honours_if_none_match


def test_the_probe_leaves_nothing(s3_store: S3Store) -> None:
    s3_store.capabilities()
    assert list(s3_store.list_keys("")) == []


@pytest.mark.parametrize(
    "text", [None, "", "abc", "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=-3", "bm90IGEgaGFzaA=="]
)
def test_only_a_whole_sha256_is_one(text: str | None) -> None:
    assert decode_sha256(text) is None


# Listing, sweeping, signing


def test_listing_goes_on_over_pages(s3_store: S3Store) -> None:
    def two_at_a_time(params: dict[str, object], **_: object) -> dict[str, object]:
        return {**params, "MaxKeys": 2}

    keys = [f"a/{number}" for number in range(5)]
    for key in keys:
        s3_store.put_bytes(key, b"", content_type="text/plain")
    events: Any = s3_store.client.meta.events  # its stubs forget that a hook may answer
    events.register("provide-client-params.s3.ListObjectsV2", two_at_a_time)
    assert list(s3_store.list_keys("a/")) == keys


def test_only_old_uploads_below_the_prefix_are_swept(s3_store: S3Store) -> None:
    """E14: stores bill the parts of dead uploads until somebody aborts them; other people's are not ours."""
    client, bucket = s3_store.client, s3_store.bucket.name
    client.create_multipart_upload(Bucket=bucket, Key=s3_store._name("dead"))
    client.create_multipart_upload(Bucket=bucket, Key="elsewhere/alive")
    assert s3_store.abort_stale_uploads(before=datetime(2000, 1, 1, tzinfo=UTC)) == 0
    assert s3_store.abort_stale_uploads(before=datetime.now(UTC) + DAY) == 1
    assert open_uploads(s3_store) == ["elsewhere/alive"]


def test_an_upload_that_has_just_ended_is_not_counted(s3_store: S3Store) -> None:
    s3_store.client.create_multipart_upload(Bucket=s3_store.bucket.name, Key=s3_store._name("ended"))
    replace_answer(s3_store, "AbortMultipartUpload", say_error(404, "NoSuchUpload"))
    assert s3_store.abort_stale_uploads(before=datetime.now(UTC) + DAY) == 0


def test_a_signed_link_serves_a_download(s3_store: S3Store, make_file: MakeFile) -> None:
    """I9: as an attachment, whatever the file holds, under a name that cannot break the header."""
    make_file(b"hello").put_into(s3_store, KEY)
    url = s3_store.sign_url(KEY, expires=timedelta(minutes=15), file_name='we"ird\r\nX: y/../ä.mp4')
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["900"]
    answer = httpx.get(url, trust_env=False)
    assert answer.content == b"hello"
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="we_ird__X_ y_.._')
    assert disposition.endswith("%C3%A4.mp4")


def test_a_signed_link_names_the_public_address(s3_options: StoreOptions, s3_bucket: str) -> None:
    public = StoreOptions(**{**vars(s3_options), "public_endpoint_url": "https://media.example:8443"})
    url = urlsplit(open_store(f"s3://{s3_bucket}/p", public).sign_url("a.png", expires=30 * DAY))
    assert (url.scheme, url.netloc, url.path) == ("https", "media.example:8443", f"/{s3_bucket}/p/a.png")
    assert parse_qs(url.query)["X-Amz-Expires"] == ["604800"]
    assert "X-Amz-Signature" in parse_qs(url.query)


# Reaching it


def test_a_missing_bucket_is_the_operators_to_mend(s3_options: StoreOptions, make_file: MakeFile) -> None:
    """E19."""
    store = open_store("s3://no-such-bucket/p", s3_options)
    for data in (b"small", BIG):
        with pytest.raises(Permanent) as caught:
            make_file(data).put_into(store, KEY)
        assert caught.value.code == "store_bucket_missing"


def test_a_store_that_is_away_is_for_later(s3_options: StoreOptions) -> None:
    """E19: a port that was just closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store = open_store(
        "s3://bucket/p", StoreOptions(**{**vars(s3_options), "endpoint_url": f"http://127.0.0.1:{port}"})
    )
    with pytest.raises(Transient) as caught:
        store.put_bytes("k", b"x", content_type="text/plain")
    assert caught.value.code == "store_unreachable"


class Metadata(ThreadingHTTPServer):
    """Stands where an instance's metadata would be; knows nothing and counts who asks."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), MetadataHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class MetadataHandler(BaseHTTPRequestHandler):
    """Notes the path and has nothing."""

    def answer(self) -> None:
        assert isinstance(self.server, Metadata)
        self.server.asked.append(self.path)
        self.send_error(404)

    do_GET = do_PUT = do_CONNECT = answer  # noqa: N815 - names that the base class looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("variable", "use_instance_role"),
    [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", False),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", False),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", True),
    ],
)
def test_the_instance_is_asked_only_when_the_operator_says_so(
    metadata: Metadata,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    use_instance_role: bool,
) -> None:
    """Promise 12: no call to a metadata address that nobody listed; without credentials, E19."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv(variable, metadata.url)
    options = StoreOptions(endpoint_url=s3_server.endpoint_url, use_instance_role=use_instance_role)
    with pytest.raises(Permanent) as caught:
        open_store("s3://bucket/p", options).put_bytes("k", b"x", content_type="text/plain")
    assert caught.value.code == "store_credentials"
    assert bool(metadata.asked) is use_instance_role


def test_proxies_and_addresses_of_the_environment_are_ignored(
    s3_options: StoreOptions, s3_bucket: str, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: HTTP_PROXY and AWS_ENDPOINT_URL name somebody else."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, metadata.url)
    store = open_store(f"s3://{s3_bucket}/p", s3_options)
    store.put_bytes("k", b"x", content_type="text/plain")
    assert store.read_back("k").byte_count == 1
    assert make_client(StoreOptions(), endpoint_url=None).meta.endpoint_url == "https://s3.amazonaws.com"
    assert metadata.asked == []


def test_custom_endpoints_get_the_plain_protocol(s3_options: StoreOptions) -> None:
    """E18: path style and no checksums unasked; AWS itself gets its own defaults."""
    custom: Any = make_client(s3_options, endpoint_url=s3_options.endpoint_url).meta.config
    aws: Any = make_client(s3_options, endpoint_url=None).meta.config
    assert (custom.request_checksum_calculation, custom.s3["addressing_style"]) == ("when_required", "path")
    assert (aws.request_checksum_calculation, aws.s3["addressing_style"]) == ("when_supported", "auto")
    assert custom.signature_version == aws.signature_version == "s3v4"


def test_the_wire_goes_where_the_bucket_is(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """On AWS a bucket names its own region; signatures and addresses are made for that one, as boto3's are."""
    use_credentials(s3_server, monkeypatch)
    bucket = Bucket("films", StoreOptions(region="us-east-1"))

    def redirect(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        is_right = "eu-central-1" in str(request.url)
        headers = {"x-amz-bucket-region": "eu-central-1"}
        raw = HTTPResponse(io.BytesIO(), headers=headers, status=200 if is_right else 301, preload_content=False)
        return AWSResponse(str(request.url), raw.status, HTTPHeaders.from_dict(headers), raw)

    events: Any = bucket.client.meta.events  # its stubs forget that a hook may answer
    events.register_first("before-send.s3", redirect)
    wire: Any = bucket.wire
    assert (wire._base_url, wire._region) == ("https://films.s3.eu-central-1.amazonaws.com", "eu-central-1")
