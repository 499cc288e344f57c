"""What a checked file can be told of before anything is paid: how long it will take, and what was made already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Batches
from orchestrator.services.jobfile.check import CheckedFile, PreparedLine
from orchestrator.services.jobfile.tally import Estimate, ModelTotal

CHUNK = 500
MAX_LISTED = 1_000
"""More known lines than anybody reads one by one; the count goes on."""


@dataclass(frozen=True)
class Known:
    """Lines whose custom_id and body an earlier job has: taking the file makes no new job of them. The list is capped,
    the count exact.
    """

    count: int
    lines: tuple[tuple[int, str], ...]


def find_known(checked: CheckedFile, batches: Batches) -> Known:
    """Look up every good line among the jobs of the file's environment, as an intake would."""
    count, listed = 0, list[tuple[int, str]]()
    options = checked.options
    rest = iter(checked.read_again())
    while chunk := list(islice(rest, CHUNK)):
        found = batches.find_equal(options.environment, [_key(line) for line in chunk], owner=options.owner)
        known = [(line.request.line_number or 0, found[_key(line)]) for line in chunk if _key(line) in found]
        count += len(known)
        listed += known[: MAX_LISTED - len(listed)]
    return Known(count, tuple(listed))


def _key(line: PreparedLine) -> tuple[str, str]:
    return line.request.custom_id or "", line.body_sha256


def foresee_model(total: ModelTotal, kinds: Mapping[str, Kind], slots: Mapping[str, int]) -> timedelta:
    """Return how long the lines of one model take when its slots are always full and each request takes as long as its
    kind usually does.
    """
    rounds = -(-total.count // find_slots(total.model, slots))
    return rounds * kinds[total.kind].usual_duration


def foresee(
    estimate: Estimate, kinds: Mapping[str, Kind], slots: Mapping[str, int], *, longest_chain: timedelta
) -> timedelta:
    """Return how long a file takes: models run side by side, so its slowest decides, or its slowest chain of lines that
    wait for each other, which no number of slots makes shorter.
    """
    return max([longest_chain, *_each(estimate.totals, kinds, slots)])


def _each(totals: Iterable[ModelTotal], kinds: Mapping[str, Kind], slots: Mapping[str, int]) -> Iterable[timedelta]:
    return (foresee_model(total, kinds, slots) for total in totals)


def find_slots(model: str, slots: Mapping[str, int]) -> int:
    """Return the present limit of a model; `*` speaks for those that are not named."""
    return max(slots.get(model, slots.get("*", 1)), 1)
