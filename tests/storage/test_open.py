"""An archive's URL says all of where it is, and nothing that is secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.storage import StoreSet, open_store
from orchestrator.storage.local import LocalStore


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://host/x", "http://host/bucket", "s3://", "s3:///prefix", "s3://a/b", "s3://UP_per:9000/x",
        "s3://key:secret@bucket/x", "s3://bucket/x?region=y", "s3://bucket/x#y", "s3://bucket/../x", "s3://bucket/a//b",
        "file://host/x", "file://relative", "file:///x?y", "a\x00b", "file:///a%00b", "gs://bucket/x",
    ],
)  # fmt: skip
def test_what_is_no_archive_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert caught.value.setting == "ARCHIVE_URL"


def test_the_same_url_is_the_same_store(tmp_path: Path) -> None:
    """One client and one probe per archive and process; different URLs never share."""
    stores = StoreSet()
    assert stores.open(f"file://{tmp_path}") is stores.open(f"file://{tmp_path}")
    assert stores.open("s3://bucket/a") is not stores.open("s3://bucket/b")
    assert stores.open("s3://bucket/a").url == "s3://bucket/a"


def test_a_plain_path_is_a_directory(tmp_path: Path) -> None:
    for url in (str(tmp_path), f"file://{tmp_path}", f"file://localhost{tmp_path}", tmp_path.as_uri()):
        store = open_store(url)
        assert isinstance(store, LocalStore)
        store.put_bytes("a.txt", b"x", content_type="text/plain")
    assert (tmp_path / "a.txt").read_bytes() == b"x"
