"""A directory: files appear whole, leftovers are swept, the operating system's refusals say what happens next."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from orchestrator.domain.errors import Gone, Permanent, StepError, Transient
from orchestrator.storage import open_store
from orchestrator.storage.local import UPLOADS, LocalStore, _classify
from tests.storage.conftest import MadeFile

MakeFile = Callable[[bytes], MadeFile]
KEY = "2026/a.mp4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def directory(root: Path) -> LocalStore:
    return LocalStore(root.as_uri(), root)


def test_a_changed_spool_file_is_not_stored(directory: LocalStore, root: Path, make_file: MakeFile) -> None:
    """E16: what is copied is hashed again; other bytes than those that were checked get no key."""
    file = make_file(b"hello")
    file.path.write_bytes(b"jello")
    with pytest.raises(Transient) as caught:
        file.put_into(directory, KEY)
    assert caught.value.code == "store_checksum_mismatch"
    assert directory.find(KEY) is None
    assert list((root / UPLOADS).iterdir()) == []


def test_damage_at_rest_is_found(directory: LocalStore, root: Path, make_file: MakeFile) -> None:
    """E16: reading back hashes what is there, not what was written."""
    file = make_file(b"hello")
    file.put_into(directory, KEY)
    (root / KEY).write_bytes(b"jello")
    assert directory.read_back(KEY).sha256 != file.sha256


def test_a_full_disk_leaves_nothing(directory: LocalStore, root: Path, make_file: MakeFile) -> None:
    """C11, for the archive: refused by the system in the middle of the file; no key, no leftover."""
    file = make_file(bytes(3 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StepError) as caught:
            file.put_into(directory, KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "store_too_large"
    assert directory.find(KEY) is None
    assert list((root / UPLOADS).iterdir()) == []


def test_leftovers_of_a_killed_process_are_swept(directory: LocalStore, root: Path, make_file: MakeFile) -> None:
    """E14: what never got its name goes when it is old, and never shows as a key."""
    make_file(b"hello").put_into(directory, KEY)
    old, young = root / UPLOADS / "old.part", root / UPLOADS / "young.part"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert directory.abort_stale_uploads(before=datetime(2000, 1, 1, tzinfo=UTC)) == 1
    assert (old.exists(), young.exists()) == (False, True)
    assert list(directory.list_keys("")) == [KEY]
    with pytest.raises(Permanent):
        directory.find(f"{UPLOADS}/young.part")


def test_an_archive_not_yet_made_is_empty(directory: LocalStore, root: Path) -> None:
    """Opening makes nothing; reading an archive that is not there finds nothing."""
    assert list(directory.list_keys("")) == []
    assert directory.find(KEY) is None
    assert directory.abort_stale_uploads(before=datetime.now(UTC)) == 0
    assert not root.exists()


def test_a_link_out_of_the_archive_is_refused(directory: LocalStore, root: Path, tmp_path: Path) -> None:
    """H14: a planted folder link does not make the archive read or write elsewhere."""
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("x")
    (root / "2026").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Permanent):
        list(directory.read_chunks("2026/secret"))
    with pytest.raises(Permanent):
        directory.put_bytes("2026/new", b"", content_type="text/plain")


def test_a_link_to_the_archive_is_the_archive(tmp_path: Path) -> None:
    """The archive's own path may lead over links: that is the operator's business."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "archive").symlink_to(tmp_path / "disk")
    store = open_store(str(tmp_path / "archive"))
    store.put_bytes("a/b.txt", b"x", content_type="text/plain")
    assert (tmp_path / "disk" / "a" / "b.txt").read_bytes() == b"x"


def test_a_link_to_a_file_is_its_own_address(directory: LocalStore, root: Path) -> None:
    url = urlsplit(directory.sign_url("a b/ä.png", expires=timedelta(hours=1)))
    assert (url.scheme, unquote(url.path)) == ("file", str(root / "a b/ä.png"))


def test_a_file_where_a_folder_should_be_is_for_later(directory: LocalStore, root: Path, tmp_path: Path) -> None:
    root.write_text("not a directory")
    with pytest.raises(Transient) as caught:
        directory.put_bytes(KEY, b"x", content_type="text/plain")
    assert caught.value.code == "store_unavailable"


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, Transient, "store_full"),
        (errno.EDQUOT, Transient, "store_full"),
        (errno.EACCES, Permanent, "store_denied"),
        (errno.EPERM, Permanent, "store_denied"),
        (errno.EROFS, Permanent, "store_denied"),
        (errno.EFBIG, Permanent, "store_too_large"),
        (errno.EIO, Transient, "store_unavailable"),
        (errno.EMFILE, Transient, "store_unavailable"),
        (errno.ESTALE, Transient, "store_unavailable"),
        (errno.ENOENT, Gone, "store_key_missing"),
        (errno.EISDIR, Gone, "store_key_missing"),
    ],
)
def test_the_systems_refusals_are_ordered(number: int, kind: type[StepError], code: str) -> None:
    """C11, E19: what frees itself is for later, what an operator must mend is Permanent."""
    error = _classify(OSError(number, os.strerror(number)), KEY, Gone)
    assert (type(error), error.code) == (kind, code)
