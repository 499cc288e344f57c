"""What every archive must do: one suite; a directory, and buckets on each server, plain and over TLS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import Gone, Permanent, Transient
from orchestrator.domain.ports import Store
from tests.storage.conftest import PART, MadeFile

MakeFile = Callable[[bytes], MadeFile]
KEY = "2026/11/22/job_1/0-video-abc.mp4"
SIZES = [0, 1, PART, PART + 1, 2 * PART + 7]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_stored_is_read_back(store: Store, make_file: MakeFile, size: int) -> None:
    """Promise 6: length and SHA-256 as the store holds them, in one request or in parts."""
    file = make_file(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    file.put_into(store, KEY)
    found = store.read_back(KEY)
    assert (found.key, found.byte_count, found.sha256) == (KEY, size, file.sha256)
    assert b"".join(store.read_chunks(KEY)) == file.data


def test_what_is_there_is_found(store: Store, make_file: MakeFile) -> None:
    """E22: a run that died after storing finds its object by key; length without reading it."""
    make_file(b"hello").put_into(store, KEY)
    found = store.find(KEY)
    assert found is not None
    assert (found.key, found.byte_count) == (KEY, 5)


@pytest.mark.parametrize("key", ["2026/none.mp4", "none", KEY + "/below", "2026"])
def test_what_is_not_there_is_gone(store: Store, make_file: MakeFile, key: str) -> None:
    make_file(b"hello").put_into(store, KEY)
    assert store.find(key) is None
    store.delete(key)
    for read in (lambda: store.read_back(key), lambda: list(store.read_chunks(key))):
        with pytest.raises(Gone) as caught:
            read()
        assert caught.value.code == "store_key_missing"


def test_documents_are_replaced(store: Store) -> None:
    """A manifest is written again when a job ends again; storing twice is storing once (E17)."""
    for text in (b"one", b"another"):
        store.put_bytes("manifest.json", text, content_type="application/json")
    assert store.read_back("manifest.json").sha256 == hashlib.sha256(b"another").hexdigest()
    assert list(store.list_keys("")) == ["manifest.json"]


def test_deleting_twice_is_deleting_once(store: Store, make_file: MakeFile) -> None:
    make_file(b"hello").put_into(store, KEY)
    store.delete(KEY)
    store.delete(KEY)
    assert store.find(KEY) is None


def test_keys_are_listed_by_prefix(store: Store) -> None:
    """A prefix is the beginning of a key, not a folder."""
    keys = ["a/1.txt", "a/b/2.txt", "ab/3.txt", "b.txt", "inputs/0f", "inputs/f0"]
    for key in keys:
        store.put_bytes(key, b"x", content_type="text/plain")
    assert sorted(store.list_keys("")) == keys
    assert sorted(store.list_keys("a")) == keys[:3]
    assert sorted(store.list_keys("a/")) == keys[:2]
    assert sorted(store.list_keys("inputs/0")) == ["inputs/0f"]
    assert list(store.list_keys("none/")) == []


BAD_KEYS = [
    "", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "./a", "a/./b", "a//b", "a/", "a\x00b", "a\nb", "a\\b", "..\\x",
    "a" * 2000, "a/" + "b" * 250, "a\ud800", ".", "..",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
def test_no_key_leaves_the_archive(store: Store, make_file: MakeFile, key: str) -> None:
    """H14: neither climbing nor absolute nor unprintable."""
    file = make_file(b"hello")
    for use in (
        lambda: file.put_into(store, key),
        lambda: store.put_bytes(key, b"", content_type="text/plain"),
        lambda: store.find(key),
        lambda: list(store.read_chunks(key)),
        lambda: store.delete(key),
        lambda: store.sign_url(key, expires=timedelta(hours=1)),
    ):
        with pytest.raises(Permanent) as caught:
            use()
        assert caught.value.code == "store_bad_key"


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../"])
def test_no_prefix_leaves_the_archive(store: Store, prefix: str) -> None:
    with pytest.raises(Permanent):
        list(store.list_keys(prefix))


def test_odd_but_good_keys_work(store: Store, make_file: MakeFile) -> None:
    key = "a b/ä#?%41&=+~'()[]/…x.png"
    make_file(b"hello").put_into(store, key)
    assert store.read_back(key).byte_count == 5
    assert list(store.list_keys("")) == [key]


def test_a_missing_spool_file_is_for_later(store: Store, tmp_path: Path, make_file: MakeFile) -> None:
    """The lane fetches again; nothing is wrong with the store."""
    file = make_file(b"hello")
    file.path.unlink()
    with pytest.raises(Transient) as caught:
        file.put_into(store, KEY)
    assert caught.value.code == "spool_unreadable"
    assert store.find(KEY) is None


def test_reading_is_lazy(store: Store, make_file: MakeFile) -> None:
    """Errors come out of the iterator; nothing is asked before."""
    chunks = store.read_chunks("none")
    with pytest.raises(Gone):
        next(chunks)


def test_sweeping_leaves_what_is_young(store: Store, make_file: MakeFile) -> None:
    make_file(b"hello").put_into(store, KEY)
    assert store.abort_stale_uploads(before=datetime.now(UTC) + timedelta(days=1)) == 0
    assert store.find(KEY) is not None
