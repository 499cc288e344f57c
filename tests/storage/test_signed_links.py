"""What only a server that verifies signatures can prove: what presigned links open, and which bodies it refuses."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore import auth

from orchestrator.domain.errors import Transient
from orchestrator.storage import StoreOptions
from orchestrator.storage.s3 import S3Store
from tests.fixtures.fronts import Authority, OpenFront
from tests.storage.conftest import PART, MadeFile, open_s3

pytestmark = pytest.mark.swift  # conftest collects this file only when that server is asked for
MakeFile = Callable[[bytes], MadeFile]
KEY = "2026/11/22/job_1/0-video-abc.mp4"
OTHER = "2026/11/22/job_2/0-video-def.mp4"
HOUR = timedelta(hours=1)


def ask(url: str, authority: Authority, *, method: str = "GET") -> httpx.Response:
    """Follow a link as a browser would, trusting the tests' own authority."""
    context = ssl.create_default_context(cafile=str(authority.bundle))
    return httpx.request(method, url, verify=context, trust_env=False)


def test_a_valid_link_serves_the_bytes_as_a_download(
    verifying_store: S3Store, make_file: MakeFile, authority: Authority
) -> None:
    """I9: as an attachment under a safe name, with the type that was stored."""
    make_file(b"hello").put_into(verifying_store, KEY)
    answer = ask(verifying_store.sign_url(KEY, expires=HOUR, file_name='ki"te\r\nX: y.mp4'), authority)
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ki_te__X_ y.mp4"'
    assert answer.headers["Content-Type"] == "video/mp4"


def test_an_expired_link_is_refused(
    verifying_store: S3Store, make_file: MakeFile, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed two hours ago for one: the same link signed now is good."""
    make_file(b"hello").put_into(verifying_store, KEY)
    past = datetime.now(UTC).replace(tzinfo=None) - 2 * HOUR
    monkeypatch.setattr(auth, "get_current_datetime", lambda: past)
    expired = verifying_store.sign_url(KEY, expires=HOUR)
    monkeypatch.undo()
    assert past.strftime("%Y%m%dT%H%M") in expired
    assert ask(expired, authority).status_code == 403


@pytest.mark.parametrize("field", ["X-Amz-Signature", "X-Amz-Expires", "X-Amz-Date", "response-content-disposition"])
def test_a_changed_link_is_refused(
    verifying_store: S3Store, make_file: MakeFile, authority: Authority, field: str
) -> None:
    """Nobody lengthens a link, or makes a browser show what was to be saved."""
    make_file(b"hello").put_into(verifying_store, KEY)
    url = verifying_store.sign_url(KEY, expires=HOUR)
    (value,) = parse_qs(urlsplit(url).query)[field]
    changed = {
        "X-Amz-Signature": value[:-1] + ("0" if value[-1] != "0" else "1"),
        "X-Amz-Expires": "86400",
        "X-Amz-Date": datetime.now(UTC).strftime("%Y%m%dT000000Z"),
        "response-content-disposition": "inline",
    }[field]
    query = httpx.QueryParams(urlsplit(url).query).set(field, changed)
    assert ask(str(httpx.URL(url).copy_with(params=query)), authority).status_code == 403


def test_a_link_opens_one_key_only(verifying_store: S3Store, make_file: MakeFile, authority: Authority) -> None:
    make_file(b"hello").put_into(verifying_store, KEY)
    make_file(b"other").put_into(verifying_store, OTHER)
    url = verifying_store.sign_url(KEY, expires=HOUR)
    assert ask(url.replace("job_1", "job_2").replace("abc", "def"), authority).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_link_only_reads(verifying_store: S3Store, make_file: MakeFile, authority: Authority, method: str) -> None:
    make_file(b"hello").put_into(verifying_store, KEY)
    url = verifying_store.sign_url(KEY, expires=HOUR)
    assert ask(url, authority, method=method).status_code == 403
    assert b"".join(verifying_store.read_chunks(KEY)) == b"hello"


def test_a_link_of_another_account_is_refused(
    verifying_store: S3Store, make_file: MakeFile, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed with a secret that is not the account's."""
    make_file(b"hello").put_into(verifying_store, KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    stranger = open_s3(verifying_store.bucket.options, verifying_store.bucket.name)
    assert ask(stranger.sign_url(KEY, expires=HOUR), authority).status_code == 403


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_a_link_for_the_public_address_works_there(
    swift_options: StoreOptions,
    swift_bucket: str,
    make_file: MakeFile,
    authority: Authority,
    open_front: OpenFront,
    is_tls: bool,
) -> None:
    """S3_PUBLIC_ENDPOINT_URL: we store by one name, people read by another; the signature holds for theirs alone."""
    port = open_front(str(swift_options.endpoint_url), tls=is_tls).port
    public = f"{'https' if is_tls else 'http'}://localhost:{port}"
    store = open_s3(replace(swift_options, public_endpoint_url=public, ca_bundle=authority.bundle), swift_bucket)
    make_file(b"hello").put_into(store, KEY)
    url = store.sign_url(KEY, expires=HOUR)
    assert url.startswith(f"{public}/{swift_bucket}/")
    answer = ask(url, authority)
    assert (answer.status_code, answer.content) == (200, b"hello")
    elsewhere = url.replace(public, str(swift_options.endpoint_url))
    assert ask(elsewhere, authority).status_code == 403


@pytest.mark.parametrize("size", [5, PART + 1], ids=["whole", "parts"])
def test_a_store_that_verifies_refuses_a_body_that_was_not_hashed(
    verifying_store: S3Store, make_file: MakeFile, size: int
) -> None:
    """E16: the spool changed after it was hashed. One PUT is refused by its signature; parts are hashed once more as
    they leave, so there it is the read-back that finds it.
    """
    store = verifying_store
    file = make_file(b"x" * size)
    file.path.write_bytes(b"y" * size)
    if size < PART:
        with pytest.raises(Transient) as caught:
            file.put_into(store, KEY)
        assert caught.value.code == "store_checksum_mismatch"
        assert store.find(KEY) is None
    else:
        file.put_into(store, KEY)
        assert store.read_back(KEY).sha256 != file.sha256
