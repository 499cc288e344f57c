"""The archive read again: every object hashed and compared with its row, every manifest with its job.

Objects stream through the hash, rows come in keyset pages, a sample is chosen by id alone: nothing grows with the archive.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import islice

from orchestrator.domain.errors import ConfigError, Gone, Permanent, Transient
from orchestrator.domain.job import StoredFile
from orchestrator.domain.papers import Manifest, OutputPaper
from orchestrator.domain.ports import Store, Stores
from orchestrator.domain.ports.audit import ArchivedJob, Audit
from orchestrator.services.archive.manifest import DamagedManifest, manifest_beside, read_manifest
from orchestrator.services.archive.reindex import read_document

log = logging.getLogger(__name__)

JOBS_AT_ONCE = 64
READS_AT_ONCE = 8  # half of what the store's connections carry goes to the archive lane beside us
TELL_EVERY = timedelta(seconds=5)


class Problem(StrEnum):
    """What is wrong with an object, with a manifest, or with an archive as a whole."""

    MISSING = "missing"
    SHORT = "short"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    THUMBNAIL_MISSING = "thumbnail_missing"
    THUMBNAIL_CHANGED = "thumbnail_changed"
    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_DAMAGED = "manifest_damaged"
    MANIFEST_DIFFERS = "manifest_differs"
    ARCHIVE_UNUSABLE = "archive_unusable"


@dataclass(frozen=True)
class Drift:
    """One thing that is not as the row says. `output_id` and `file` are of the output, None for a manifest."""

    problem: Problem
    archive_url: str
    key: str
    message: str
    job_id: str | None = None
    output_id: str | None = None
    file: StoredFile | None = None
    is_mended: bool = False


@dataclass(frozen=True)
class Sample:
    """Which outputs are looked at: a share from 0 to 1. The same seed and id always give the same answer."""

    share: float = 1.0
    seed: str = ""

    def holds(self, output_id: str) -> bool:
        """Say whether this output is among them."""
        digest = hashlib.sha256(f"{self.seed}:{output_id}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64


@dataclass
class Checked:
    """What was looked at so far."""

    jobs: int = 0
    objects: int = 0
    bytes: int = 0
    drifts: int = 0

    def words(self) -> str:
        """Return it as a sentence for people."""
        return f"{self.objects} objects of {self.jobs} jobs read, {self.bytes / 1e6:.1f} MB; {self.drifts} are not as stored"


@dataclass(frozen=True)
class Reader:
    """Who reads. `monotonic` and `tell`: progress every few seconds."""

    audit: Audit
    stores: Stores
    sample: Sample
    monotonic: Callable[[], float]
    tell: Callable[[str], None]


@dataclass(frozen=True)
class JobDrift:
    """A job of which something is not as it must be."""

    job: ArchivedJob
    drifts: tuple[Drift, ...]


@dataclass(frozen=True)
class _Looked:
    """What a look at one job brought."""

    objects: int
    bytes: int
    drifts: tuple[Drift, ...]


def find_drift(reader: Reader, checked: Checked) -> Iterator[list[JobDrift]]:
    """Yield pages of jobs whose archive is not as the table says; `checked` counts on meanwhile.

    An archive that refuses us is told of once and not asked again. Raises Transient when the database is away.
    """
    jobs = (job for job in reader.audit.iter_archived() if any(map(reader.sample.holds, job.files)))
    unusable: set[str] = set()
    told_at = reader.monotonic()
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="verify") as pool:
        while some := list(islice(jobs, JOBS_AT_ONCE)):
            asked = [job for job in some if job.archive_url not in unusable]
            page = []
            for job, looked in zip(asked, pool.map(lambda job: _look(reader, job), asked), strict=True):
                _count(checked, looked)
                new = tuple(drift for drift in looked.drifts if drift.archive_url not in unusable)
                unusable |= {drift.archive_url for drift in new if drift.problem is Problem.ARCHIVE_UNUSABLE}
                if new:
                    page.append(JobDrift(job, new))
            checked.drifts += sum(len(each.drifts) for each in page)
            if page:
                yield page
            if reader.monotonic() - told_at >= TELL_EVERY.total_seconds():
                told_at = reader.monotonic()
                reader.tell(checked.words())


def _count(checked: Checked, looked: _Looked) -> None:
    checked.jobs += 1
    checked.objects += looked.objects
    checked.bytes += looked.bytes


def _look(reader: Reader, job: ArchivedJob) -> _Looked:
    """Read one job's chosen objects and its manifest. Runs in a thread."""
    chosen = {output_id: file for output_id, file in job.files.items() if reader.sample.holds(output_id)}
    byte_count, drifts = 0, []
    try:
        store = reader.stores.open(job.archive_url)
        for output_id, file in chosen.items():
            read, drift = _check_object(store, job, output_id, file)
            byte_count += read
            drifts += [drift] if drift else []
            read, drift = _check_thumbnail(store, job, output_id, file)
            byte_count += read
            drifts += [drift] if drift else []
        drifts += _check_manifest(store, job) if job.is_succeeded else []
    except (Permanent, ConfigError) as error:
        drifts = [Drift(Problem.ARCHIVE_UNUSABLE, job.archive_url, "", str(error))]
    for drift in drifts:
        log.warning("archive_drift", extra={"job_id": job.id, "key": drift.key, "problem": str(drift.problem)})
    return _Looked(len(chosen), byte_count, tuple(drifts))


def _check_object(store: Store, job: ArchivedJob, output_id: str, file: StoredFile) -> tuple[int, Drift | None]:
    """Hash an object here: a store's own word for what it holds is what is being doubted. One hiccup is forgiven."""

    def drift(problem: Problem, message: str) -> Drift:
        return Drift(problem, job.archive_url, file.key, message, job.id, output_id, file)

    try:
        count, sha256 = _hash_twice_if_needed(store, file.key)
    except Gone:
        return 0, drift(Problem.MISSING, "the archive does not hold it")
    except Transient as error:
        return 0, drift(Problem.UNREADABLE, str(error))
    if count < file.byte_count:
        return count, drift(Problem.SHORT, f"{count} bytes of {file.byte_count}")
    if sha256 != file.sha256:
        return count, drift(Problem.CHANGED, f"{count} bytes with SHA-256 {sha256}, and not {file.sha256}")
    return count, None


def _check_thumbnail(store: Store, job: ArchivedJob, output_id: str, file: StoredFile) -> tuple[int, Drift | None]:
    """It can be made again of its output, so that nothing about it is a loss."""
    small = file.small
    if small is None:
        return 0, None
    count, found = _check_object(store, job, output_id, small)
    if found is None or found.problem is Problem.UNREADABLE:
        return count, found
    is_gone = found.problem is Problem.MISSING
    problem = Problem.THUMBNAIL_MISSING if is_gone else Problem.THUMBNAIL_CHANGED
    return count, replace(found, problem=problem, file=file)


def _hash_twice_if_needed(store: Store, key: str) -> tuple[int, str]:
    try:
        return hash_object(store, key)
    except Gone:
        raise
    except Transient:
        return hash_object(store, key)


def hash_object(store: Store, key: str) -> tuple[int, str]:
    """Return length and SHA-256 of what the store gives, read here chunk by chunk."""
    digest, count = hashlib.sha256(), 0
    for chunk in store.read_chunks(key):
        digest.update(chunk)
        count += len(chunk)
    return count, digest.hexdigest()


def _check_manifest(store: Store, job: ArchivedJob) -> list[Drift]:
    key = manifest_beside(next(iter(job.files.values())).key)

    def drift(problem: Problem, message: str) -> list[Drift]:
        return [Drift(problem, job.archive_url, key, message, job.id)]

    try:
        manifest = read_manifest(read_document(store, key), key)
    except Gone:
        return drift(Problem.MANIFEST_MISSING, "the archive does not hold it")
    except DamagedManifest as error:
        return drift(Problem.MANIFEST_DAMAGED, str(error))
    except Transient as error:
        return drift(Problem.UNREADABLE, str(error))
    differing = _find_differing(manifest, job)
    return drift(Problem.MANIFEST_DIFFERS, f"it says otherwise of {', '.join(differing)}") if differing else []


def _find_differing(manifest: Manifest, job: ArchivedJob) -> list[str]:
    said = {output.id: output for output in manifest.outputs}
    return sorted(i for i, file in job.files.items() if not _is_said_of(file, said.get(i)))


def _is_said_of(file: StoredFile, paper: OutputPaper | None) -> bool:
    """A thumbnail that only the papers know was stored by a process that died before the row: nothing is wrong."""
    if paper is None or (paper.key, paper.bytes, paper.sha256) != (file.key, file.byte_count, file.sha256):
        return False
    if file.thumbnail is None:
        return True
    return paper.thumbnail is not None and paper.thumbnail.sha256 == file.thumbnail.sha256
