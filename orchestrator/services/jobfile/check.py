"""Read a whole job file and say everything that is wrong with it, before anything is stored or paid.

A checked file holds no bodies: whoever takes it reads the lines again, and each must be the line that was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from orchestrator.domain.access import LOCAL
from orchestrator.domain.errors import BatchFileError, Fault, NotFound, RequestError
from orchestrator.domain.job import Json, Price
from orchestrator.domain.kind import Kind
from orchestrator.services.inputs import InputReader, LocatedInput
from orchestrator.services.jobfile.entries import Entry, Form, digest_entry, form_of, read_entries
from orchestrator.services.jobfile.fields import Judge, judge_webhook
from orchestrator.services.jobfile.graph import Graph
from orchestrator.services.jobfile.lines import find_foreign, read_chunks
from orchestrator.services.jobfile.paths import Roots
from orchestrator.services.jobfile.request import ReadLine, Request, in_body
from orchestrator.services.jobfile.tally import Estimate, FaultLog, PriceSum, SeenIds

MAX_LINES = 50_000
"""Surfaces section 3."""
_FIRST_JOB = {
    Form.JSONL: "one JSON object on each line",
    Form.CSV: "one row for each job, below a row that names the columns: custom_id,kind,model,prompt,...",
    Form.YAML: "begin each job with a dash: - custom_id: ...",
}
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class PreparedLine:
    """A line that passed: its request, the body as it will be kept and sent, and the files to copy."""

    request: Request
    body: Json
    body_sha256: str
    shown: Json
    price: Price | None
    inputs: tuple[LocatedInput, ...]


@dataclass(frozen=True)
class CheckOptions:
    """What changes the meaning of a file, and so belongs to its identity."""

    environment: str
    allow_unknown_model: bool = False
    judge: Judge | None = field(default=None, compare=False, repr=False)
    """Looks at the URLs of webhooks; no part of the identity."""
    owner: str = LOCAL
    """Two owners' equal files are two batches."""


@dataclass(frozen=True)
class CheckedFile:
    """The result of a check. `faults` and `warnings` are capped, their counts exact; `estimate` covers good lines.

    `refused` are the places, in the file's order, of the lines that did not pass; `is_whole` is False when something
    is wrong with the file itself, so that it cannot be taken in part either.
    """

    path: Path
    name: str
    sha256: str
    byte_count: int
    line_count: int
    faults: tuple[Fault, ...]
    fault_count: int
    warnings: tuple[Fault, ...]
    warning_count: int
    estimate: Estimate
    identity_sha256: str
    options: CheckOptions
    form: Form
    is_whole: bool
    refused: frozenset[int] = field(repr=False)
    orphan_count: int
    """Lines that are refused for nothing but what they depend on; each is a warning."""
    has_inputs: bool
    kinds: Mapping[str, Kind] = field(repr=False)
    reader: InputReader = field(repr=False)
    line_digests: array[int] = field(repr=False)
    identities: Mapping[int, str] = field(default_factory=dict, repr=False)
    """What stands for body_sha256 of lines that use what others make, by index (docs/decisions/0012)."""
    longest_chain: timedelta = timedelta(0)
    """How long the slowest chain of lines that wait for each other usually takes."""

    @property
    def good_count(self) -> int:
        """Lines that passed."""
        return self.line_count - len(self.refused)

    def require_good(self, *, is_partial: bool = False) -> None:
        """Raise BatchFileError unless every line passed, or, in part, unless the file can be read and one line did."""
        if self.fault_count and not (is_partial and self.is_whole and self.good_count):
            raise BatchFileError(self.faults, fault_count=self.fault_count)

    def read_again(self) -> Iterator[PreparedLine]:
        """Yield the lines that passed in order, read anew. Raises BatchFileError (`file_changed`) at the first line,
        refused ones included, that differs.
        """
        index = 0
        with open_job_file(self.path) as stream:
            for entry in read_entries(read_chunks(stream), self.form, self.kinds):
                if isinstance(entry, Fault):
                    raise file_changed(entry.line)
                if index >= len(self.line_digests) or digest_entry(entry) != self.line_digests[index]:
                    raise file_changed(entry.number)
                if index not in self.refused:
                    yield self._prepare_again(entry, self.identities.get(index))
                index += 1
        if index != len(self.line_digests):
            raise file_changed(None)

    def _prepare_again(self, entry: Entry, identity: str | None) -> PreparedLine:
        line = entry.read(self.kinds, allow_unknown_model=self.options.allow_unknown_model)
        prepared, faults = prepare(line, self.reader)
        if prepared is None:
            raise BatchFileError(faults)
        return prepared if identity is None else replace(prepared, body_sha256=identity)


def file_changed(line: int | None) -> BatchFileError:
    """Return the error of a file that is not the one that was checked."""
    message = "the job file changed after it was checked"
    return BatchFileError([Fault("file_changed", None, message, "run the command again", line=line)])


def check_file(
    path: Path,
    kinds: Mapping[str, Kind],
    *,
    options: CheckOptions,
    folder: Path | None = None,
    file_roots: Sequence[Path] = (),
    name: str | None = None,
    form: Form | None = None,
    judge_link: Judge | None = None,
    reader: InputReader | None = None,
) -> CheckedFile:
    """Read the file to its end and return everything that can be said of it; nothing is stored.

    Local files are read by `reader`, or else below `folder` (default: the job file's) and `file_roots` only. Raises NotFound for no file
    and RequestError for what is no file at all. `form` is told by the file's name unless it is given.
    """
    reader = reader or InputReader(Roots.make(folder or path.parent, file_roots), judge_link)
    with open_job_file(path) as stream:
        check = _Check(kinds, reader, options, form or form_of(path.name))
        check.read(stream)
    return check.finish(path, name or _readable(path.name))


class _Check:
    """One pass over a file."""

    def __init__(
        self, kinds: Mapping[str, Kind], reader: InputReader, options: CheckOptions, form: Form = Form.JSONL
    ) -> None:
        self.log = FaultLog()
        self._kinds = kinds
        self._reader = reader
        self._options = options
        self._form = form
        self._digest = hashlib.sha256()
        self._byte_count = 0
        self._line_digests: array[int] = array("Q")
        self._refused: set[int] = set()
        self._is_whole = True
        self._last_number = 0
        self._ids = SeenIds()
        self._graph = Graph(self._ids)
        self._prices = PriceSum()
        self._priced_last: dict[
            int, tuple[str, str, Price | None]
        ] = {}  # the graph may yet refuse what depends on others
        self._has_inputs = False

    def read(self, stream: BinaryIO) -> None:
        """Read to the end, or to where nothing more can be understood."""
        foreign = find_foreign(stream.read(64))
        if foreign:
            what, hint = foreign
            self._refuse(Fault("invalid_encoding", None, what, hint, line=1, column=1))
            return
        stream.seek(0)
        for entry in read_entries(read_chunks(stream, on_bytes=self._count), self._form, self._kinds):
            if isinstance(entry, Fault):
                self._refuse(entry)
            elif too_much := self._find_excess(entry.number):
                self._refuse(too_much)
                return
            else:
                self._take(entry)
        if self._byte_count > self._form.max_bytes:  # with nothing but comments behind the last job
            self._refuse(self._too_large(None))
        if not self._line_digests and self._is_whole:
            self._refuse(Fault("empty_file", None, "the file holds no job", _FIRST_JOB[self._form], line=1))

    def _refuse(self, fault: Fault) -> None:
        """What is wrong with the file itself refuses it whole."""
        self._is_whole = False
        self.log.add([fault])

    def _find_excess(self, number: int) -> Fault | None:
        if self._byte_count > self._form.max_bytes:
            return self._too_large(number)
        if len(self._line_digests) == MAX_LINES:
            message = f"the file has more than {MAX_LINES:,} jobs"
            return Fault("too_many_lines", None, message, "split it", line=number)
        return None

    def _too_large(self, number: int | None) -> Fault:
        message = f"the file has more than {self._form.max_bytes // 1_000_000} MB"
        return Fault("file_too_large", None, message, "split it", line=number)

    def _count(self, chunk: bytes) -> None:
        self._byte_count += len(chunk)
        self._digest.update(chunk)

    def _take(self, entry: Entry) -> None:
        index = len(self._line_digests)
        self._line_digests.append(digest_entry(entry))
        line = entry.read(self._kinds, allow_unknown_model=self._options.allow_unknown_model)
        if line.custom_id and (double := self._ids.check(line.custom_id, line.number, index)):
            line = line.also(double)
        if entry.number == self._last_number:
            line = line.also([_share_line(entry.number)])
        self._last_number = entry.number
        prepared, faults = prepare(line, self._reader, self._options.judge)
        self.log.add(replace(fault, custom_id=line.custom_id) for fault in faults)
        self._graph.take(line, prepared.body_sha256 if prepared else None)
        if prepared is None:
            self._refused.add(index)
        else:
            self._price(index, prepared)
            self._has_inputs = self._has_inputs or bool(prepared.inputs)

    def _price(self, index: int, line: PreparedLine) -> None:
        item = (line.request.kind.name, line.request.model, line.price)
        if line.request.depends_on:
            self._priced_last[index] = item
        else:
            self._prices.add(*item)

    def finish(self, path: Path, name: str) -> CheckedFile:
        sha256 = self._digest.hexdigest()
        verdict = self._graph.judge(self._refused)
        self.log.add(fault for _, fault in verdict.faults)
        self._refused.update(verdict.orphans, (index for index, _ in verdict.faults))
        self.log.add(self._graph.warn(verdict.orphans, self._refused))
        for index, item in self._priced_last.items():
            if index not in self._refused:
                self._prices.add(*item)
        return CheckedFile(
            path=path,
            name=name,
            sha256=sha256,
            byte_count=self._byte_count,
            line_count=len(self._line_digests),
            faults=tuple(sorted(self.log.faults, key=lambda fault: fault.line or 0)),
            fault_count=self.log.fault_count,
            warnings=tuple(self.log.warnings),
            warning_count=self.log.warning_count,
            estimate=self._prices.total(),
            identity_sha256=_identify(sha256, self._reader, self._options, self._form),
            options=self._options,
            form=self._form,
            is_whole=self._is_whole,
            refused=frozenset(self._refused),
            orphan_count=len(verdict.orphans),
            has_inputs=self._has_inputs,
            kinds=self._kinds,
            reader=self._reader,
            line_digests=self._line_digests,
            identities=verdict.identities,
            longest_chain=verdict.longest_chain,
        )


def _share_line(number: int) -> Fault:
    """A job's line is what it is known by in its batch."""
    message = "another job begins on this line already"
    return Fault("shared_line", None, message, "begin each job on a line of its own", line=number)


def prepare(
    line: ReadLine, reader: InputReader, judge: Judge | None = None
) -> tuple[PreparedLine | None, tuple[Fault, ...]]:
    """Check the files of a line too; return it ready to keep, None when anything refuses it, and all its faults."""
    request = line.request
    if request is None:
        return None, line.faults
    frozen, found = reader.freeze(request.kind, request.body)
    found = [*(in_body(fault) for fault in found), *judge_webhook(request.webhook, judge)]
    if found:
        line = line.also(found)
    if line.is_refused:
        return None, line.faults
    price = request.kind.price(request.body)
    prepared = PreparedLine(request, frozen.body, hash_body(frozen.body), frozen.shown, price, frozen.inputs)
    return prepared, line.faults


def hash_body(body: Json) -> str:
    """Return the SHA-256 of the canonical JSON of a frozen body, its inputs by reference."""
    return hashlib.sha256(_CANONICAL.encode(body).encode()).hexdigest()


def _readable(name: str) -> str:
    """A name on disk is bytes; those that are no UTF-8 cannot be stored or shown as they are."""
    return os.fsencode(name).decode("utf-8", "replace")


def open_job_file(path: Path) -> BinaryIO:
    """Open the file that a person named. Raises NotFound, or RequestError for a folder, a pipe or a device."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RequestError(f"{path} is not a regular file", param="file", hint="for standard input write -")
        return path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", param="file", hint="check its name and its folder") from error
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read: {_reason(error)}", param="file") from error


def _reason(error: OSError | ValueError) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _identify(sha256: str, reader: InputReader, options: CheckOptions, form: Form) -> str:
    """What makes the same file the same batch (surfaces section 1, `run`)."""
    digest = hashlib.sha256()
    for part in ("file", options.environment, sha256, str(options.allow_unknown_model)):
        digest.update(f"{len(part)}:{part}".encode())
    if form is not Form.JSONL:
        digest.update(f"form:{form}".encode())
    if options.owner != LOCAL:  # what was taken before there were owners keeps its identity
        digest.update(f"owner:{len(options.owner)}:{options.owner}".encode())
    for path, path_sha256 in reader.path_hashes:
        digest.update(f"{len(path)}:{path}".encode() + path_sha256)
    return digest.hexdigest()
