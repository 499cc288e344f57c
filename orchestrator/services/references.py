"""When a job's turn comes: its references become links, or bytes of the archive, before anything is sent.

In this order: the provider's own link while it lives, a public signed link, the bytes themselves within the slot's cap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from orchestrator.domain.errors import InputLost
from orchestrator.domain.job import Job, Json, Output, StoredFile
from orchestrator.domain.kind import FrozenInput, InputFacts, InputSlot, Kind
from orchestrator.domain.ports import Stores
from orchestrator.domain.references import Reference, find_references
from orchestrator.services.inputs import put_values

LEAST_LIFE = timedelta(hours=1)  # the provider fetches when it begins, which may be a queue of theirs away
SIGNED_LIFE = timedelta(hours=12)


@dataclass(frozen=True)
class Resolved:
    """A body that can be sent, and what the history is to say of each reference: no link, for links are secrets."""

    body: Json
    used: Mapping[str, object] = field(default_factory=dict)


def has_references(job: Job, kind: Kind) -> bool:
    """Return True for a body that cannot be sent as it is."""
    return bool(find_references(kind, job.body))


def resolve(job: Job, kind: Kind, parents: Mapping[str, Job], stores: Stores, now: datetime) -> Resolved:
    """Return the body with its references resolved. Blocks while a link is signed.

    Raises InputLost (`input_missing`) for an output that is not there or cannot be handed in, StepErrors of the store.
    """
    values: dict[tuple[str | int, ...], object] = {}
    used: dict[str, object] = {}
    for slot, reference in find_references(kind, job.body):
        parent, output = _find(reference, parents)
        value, note = _resolve_one(job, kind, slot, (parent, output), stores, now)
        values[slot.path] = value
        used[".".join(map(str, slot.path))] = {"output_id": output.id, **note}
    return Resolved(put_values(job.body, values), {"references": used})


def _find(reference: Reference, parents: Mapping[str, Job]) -> tuple[Job, Output]:
    parent = parents.get(reference.name)
    outputs = parent.outputs if parent else ()
    found = next((output for output in outputs if output.index == reference.index and not output.is_lost), None)
    if parent is None or found is None:
        raise _missing(f"{reference.name} made no outputs[{reference.index}]")
    return parent, found


def _resolve_one(
    job: Job, kind: Kind, slot: InputSlot, made: tuple[Job, Output], stores: Stores, now: datetime
) -> tuple[object, dict[str, object]]:
    parent, output = made
    if slot.may_be_link and output.source_url is not None and _lives(output, now):
        return output.source_url, {"by": urlsplit(output.source_url).hostname}
    if output.erased_at is not None:
        raise _missing(f"{output.id} of {parent.id} was taken away by a retention rule on {output.erased_at:%Y-%m-%d}")
    if output.kept is None:
        raise _missing(f"{output.id} of {parent.id} is not archived, and its link is about to end")
    store = stores.open(parent.archive_url)
    if slot.may_be_link and store.has_public_links:
        link = store.sign_url(output.kept.key, expires=SIGNED_LIFE)
        return link, {"by": urlsplit(link).hostname, "sha256": output.kept.sha256}
    return _by_bytes(job, kind, slot, parent, output.kept), {"by": "base64", "sha256": output.kept.sha256}


def _by_bytes(job: Job, kind: Kind, slot: InputSlot, parent: Job, file: StoredFile) -> object:
    """The client reads them from the archive and checks their SHA-256 before it connects."""
    facts = InputFacts(file.byte_count, file.content_type, file.width, file.height, file.duration_seconds)
    faults = [fault for fault in kind.check_input(job.body, slot, facts) if not fault.is_warning]
    if faults:
        raise _missing(f"the output of {parent.id} cannot be handed in, and has no public link: {faults[0].message}")
    name = file.key.rpartition("/")[2]
    return FrozenInput(file.sha256, file.byte_count, file.content_type, name, (parent.archive_url, file.key)).as_json()


def _lives(output: Output, now: datetime) -> bool:
    return output.source_expires_at is not None and output.source_expires_at - now > LEAST_LIFE


def _missing(message: str) -> InputLost:
    return InputLost(code="input_missing", message=message)
