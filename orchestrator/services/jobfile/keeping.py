"""What a batch's folder in the archive holds from the start: the file as it was given, and what was left out of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from orchestrator.domain.errors import Fault
from orchestrator.domain.ports import Store
from orchestrator.services.jobfile.check import CheckedFile, file_changed, open_job_file
from orchestrator.services.jobfile.graph import DEPENDENCY_REFUSED
from orchestrator.services.jobfile.lines import read_chunks

CONTENT_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv", "yaml": "application/yaml"}


def input_key_of(batch_id: str, extension: str) -> str:
    """Return the archive key of a batch's job file."""
    return f"batches/{batch_id}/input{extension}"


def refused_key_of(batch_id: str) -> str:
    """Return the archive key of the faults of lines left out."""
    return f"batches/{batch_id}/refused.jsonl"


def keep_file(checked: CheckedFile, batch_id: str, store: Store) -> None:
    """Store the file byte for byte, and the faults of refused lines; safe to repeat.

    Raises BatchFileError when it is not the file that was checked, and StepErrors of the store.
    """
    if _hash_file(checked) != checked.sha256:
        raise file_changed(None)
    store.put_file(
        input_key_of(batch_id, checked.form.extension),
        checked.path,
        sha256=checked.sha256,
        content_type=CONTENT_TYPES[checked.form],
        metadata={},
        remember_upload=_forget,
    )
    if checked.refused:
        store.put_bytes(refused_key_of(batch_id), _as_lines(_refused_rows(checked)), content_type="application/jsonl")


def _hash_file(checked: CheckedFile) -> str:
    digest = hashlib.sha256()
    with open_job_file(checked.path) as stream:
        for chunk in read_chunks(stream):
            digest.update(chunk)
    return digest.hexdigest()


def _refused_rows(checked: CheckedFile) -> Iterator[Mapping[str, object]]:
    """Yield why each line was left out, with its name: its faults that were kept, or that it depends on a line with one.
    A last row says how many more there were.
    """
    told = [*checked.faults, *(fault for fault in checked.warnings if fault.code == DEPENDENCY_REFUSED)]
    for fault in sorted(told, key=lambda fault: fault.line or 0):
        yield {"custom_id": fault.custom_id, **fault.as_dict()}
    more = checked.fault_count + checked.orphan_count - len(told)
    if more:
        message = f"{more} more faults are not listed; {len(checked.refused)} lines are left out"
        hint = "check what is left of the file once these are mended"
        yield {"custom_id": None, **Fault("faults_not_listed", None, message, hint).as_dict()}


def _as_lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _forget(upload_id: str) -> None:
    """The sweep of stale uploads ends one that was cut off."""
