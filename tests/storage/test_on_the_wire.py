"""What a custom endpoint really gets, byte for byte: no trailing checksum, no aws-chunked body, nothing unsigned (E18)."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import boto3
import pytest

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.storage import StoreOptions, StoreSet
from orchestrator.storage.s3 import S3Store
from orchestrator.storage.s3_probe import Capabilities
from tests.fixtures import swift
from tests.fixtures.fronts import Authority, Front, OpenFront
from tests.storage.conftest import PART, MadeFile, open_s3
from tests.storage.faulty import note_order

MakeFile = Callable[[bytes], MadeFile]
KEY = "2026/11/22/job_1/0-video-abc.mp4"
FORBIDDEN = [
    b"aws-chunked", b"x-amz-trailer", b"x-amz-decoded-content-length", b"transfer-encoding",
    b"x-amz-checksum-crc", b"content-md5", b"streaming-unsigned",
]  # fmt: skip
SERVERS = ["s3", *(pytest.param(name, marks=pytest.mark.swift) for name in ["swift"] if swift.IS_ASKED_FOR)]
Recorded = tuple[S3Store, Front]


@pytest.fixture(params=SERVERS)
def server_options(request: pytest.FixtureRequest) -> tuple[StoreOptions, str]:
    """Options for one of the servers, and a bucket on it."""
    options: StoreOptions = request.getfixturevalue(f"{request.param}_options")
    return options, request.getfixturevalue(f"{request.param}_bucket")


@pytest.fixture(params=[False, True], ids=["http", "https"])
def recorded(
    request: pytest.FixtureRequest,
    server_options: tuple[StoreOptions, str],
    authority: Authority,
    open_front: OpenFront,
) -> Recorded:
    """A store whose every byte is written down on its way; under TLS after it was taken off."""
    options, bucket = server_options
    front = open_front(str(options.endpoint_url), tls=request.param)
    return open_s3(replace(options, endpoint_url=front.url, ca_bundle=authority.bundle), bucket), front


def use_everything(store: S3Store, file: MadeFile, parts: MadeFile) -> None:
    """One of each call that carries a body or could ask for a checksum."""
    store.capabilities()
    file.put_into(store, KEY)
    parts.put_into(store, f"{KEY}.parts")
    store.put_bytes("manifest.json", b"{}", content_type="application/json")
    store.read_back(KEY)
    store.find(KEY)
    list(store.list_keys(""))
    store.delete(KEY)


def test_custom_endpoints_get_plain_bodies(recorded: Recorded, make_file: MakeFile) -> None:
    """boto3's own default sends CRC trailers over https, which older stores answer with 411."""
    store, front = recorded
    big = MadeFile(make_file(b"").path.with_name("big.part"), b"x" * (PART + 1))
    use_everything(store, make_file(b"x" * 100), big)
    received = bytes(front.received).lower()
    assert [word for word in FORBIDDEN if word in received] == []
    assert b"put /" in received


def test_boto3s_own_defaults_would_be_seen(
    s3_options: StoreOptions, s3_bucket: str, authority: Authority, open_front: OpenFront, make_file: MakeFile
) -> None:
    """The recording shows what the test above looks for."""
    front = open_front(str(s3_options.endpoint_url), tls=True)
    client = boto3.client("s3", endpoint_url=front.url, verify=str(authority.bundle), region_name="us-east-1")
    with closing(client), make_file(b"hello").path.open("rb") as body:
        client.put_object(Bucket=s3_bucket, Key="k", Body=body)
    received = bytes(front.received).lower()
    assert {b"aws-chunked", b"x-amz-trailer", b"x-amz-checksum-crc"} <= {word for word in FORBIDDEN if word in received}


def test_every_fact_of_an_object_is_signed(recorded: Recorded, make_file: MakeFile) -> None:
    """Length, type, metadata and the body's own SHA-256: changed on the way, the signature breaks."""
    store, front = recorded
    file = make_file(b"hello")
    file.put_into(store, KEY)
    (head,) = re.findall(rb"PUT /[^ ]*job_1[^ ]* HTTP/1.1\r\n.*?\r\n\r\n", bytes(front.received), re.DOTALL)
    lines = head.decode().lower().split("\r\n")
    (signed,) = re.findall(r"signedheaders=([^,]+)", head.decode().lower())
    wanted = {"content-length", "content-type", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-job-id"}
    assert wanted <= set(signed.split(";"))
    assert {"content-length: 5", "content-type: video/mp4", "x-amz-meta-job-id: job_1"} <= set(lines)
    assert f"x-amz-content-sha256: {file.sha256}" in lines


def test_facts_arrive(bucket_store: S3Store, make_file: MakeFile) -> None:
    """Content type and metadata, in one request and in parts; some servers capitalise the names of metadata."""
    for data in (b"small", bytes(PART + 1)):
        make_file(data).put_into(bucket_store, KEY)
        found = bucket_store.find(KEY)
        assert found is not None
        assert (found.byte_count, found.content_type) == (len(data), "video/mp4")
        assert found.metadata == {"job-id": "job_1"}


def test_a_wrong_secret_is_the_operators_to_mend(
    bucket_store: S3Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """E19, on a server that verifies; the other one takes any secret."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    stranger = open_s3(bucket_store.bucket.options, bucket_store.bucket.name)
    if "swift" not in request.node.callspec.id:
        stranger.put_bytes("k", b"x", content_type="text/plain")
        return
    with pytest.raises(Permanent) as caught:
        stranger.put_bytes("k", b"x", content_type="text/plain")
    assert caught.value.code == "store_credentials"


@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_stores_certificate_must_be_known(
    s3_options: StoreOptions, s3_bucket: str, authority: Authority, open_front: OpenFront, is_trusted: bool
) -> None:
    """CA_BUNDLE names whom to trust; without it, neither bytes nor control go to a stranger."""
    url = open_front(str(s3_options.endpoint_url), tls=True).url
    bundle = authority.bundle if is_trusted else None
    store = open_s3(replace(s3_options, endpoint_url=url, ca_bundle=bundle), s3_bucket)
    for use in (lambda: store.put_bytes("k", b"x", content_type="text/plain"), lambda: list(store.list_keys(""))):
        if is_trusted:
            use()
            continue
        with pytest.raises(Transient) as caught:
            use()
        assert caught.value.code == "store_tls"


# The probe


def test_a_bucket_is_probed_once(server_options: tuple[StoreOptions, str], make_file: MakeFile) -> None:
    """Archives in one bucket, whatever their prefix, share what was found; another bucket is asked for itself."""
    options, bucket = server_options
    stores = StoreSet(options)
    first, second = stores.open(f"s3://{bucket}/one"), stores.open(f"s3://{bucket}/two")
    assert isinstance(first, S3Store)
    assert isinstance(second, S3Store)
    asked: list[str] = []
    note_order(first, asked)
    for store in (first, second, first):
        make_file(b"hello").put_into(store, KEY)
    probes = [name for name in asked if name == "DeleteObject"]  # each probe ends by taking its object away
    assert probes == ["DeleteObject"]


def test_what_is_known_of_the_servers_is_what_they_do(bucket_store: S3Store, request: pytest.FixtureRequest) -> None:
    """Neither is believed: one verifies no checksum, the other does but gives none back. Both are read back."""
    found = bucket_store.capabilities()
    assert found == Capabilities(verifies_sha256=False, honours_if_none_match=True)
    assert list(bucket_store.list_keys("")) == []
