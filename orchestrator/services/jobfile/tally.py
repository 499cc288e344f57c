"""What a check adds up over a file: faults (kept up to a cap, counted exactly), ids seen, prices per model."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Price
from orchestrator.services.jobfile.fields import show

MAX_FAULTS = 1_000
"""More faults than anybody reads one by one; the count goes on (H11)."""


@dataclass
class FaultLog:
    """Faults in the order of the file: the first MAX_FAULTS of each sort, and how many there were."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    fault_count: int = 0
    warning_count: int = 0

    def add(self, faults: Iterable[Fault]) -> bool:
        """Take faults and warnings; return True when one of them refuses the line."""
        is_refused = False
        for fault in faults:
            kept = self.warnings if fault.is_warning else self.faults
            if len(kept) < MAX_FAULTS:
                kept.append(fault)
            self.warning_count += fault.is_warning
            self.fault_count += not fault.is_warning
            is_refused = is_refused or not fault.is_warning
        return is_refused


class SeenIds:
    """custom_ids of a file, kept as digests: exact bytes are identity, what only looks alike is told (H8)."""

    def __init__(self) -> None:
        self._firsts: dict[bytes, tuple[int, int]] = {}
        self._look_alikes: dict[bytes, int] = {}

    def check(self, custom_id: str, line: int, index: int) -> list[Fault]:
        """Remember an id; return a fault when it stood before, a warning when one before it looks the same. `index` is
        the entry's, counted from 0: in YAML several may stand on one line.
        """
        first, first_line = self._firsts.setdefault(_digest(custom_id), (index, line))
        if first != index:
            message = f"custom_id {show(custom_id)} stands on line {first_line} already"
            return [Fault("duplicate_custom_id", "custom_id", message, "ids are unique in a file")]
        alike = self._look_alikes.setdefault(_digest(unicodedata.normalize("NFC", custom_id).casefold()), line)
        if alike == line:
            return []
        message = f"custom_id {show(custom_id)} differs from line {alike} only by case or composed letters"
        return [Fault("similar_custom_id", "custom_id", message, is_warning=True)]

    def find_index(self, custom_id: str) -> int | None:
        """Return the entry that had an id first."""
        return self._firsts.get(_digest(custom_id), (None, 0))[0]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class ModelTotal:
    """The lines of one model and their table price in micro-units; `unpriced_count` of them have none."""

    kind: str
    model: str
    count: int
    micros: int
    currency: str | None
    unpriced_count: int


@dataclass(frozen=True)
class Estimate:
    """What lines will cost by the table."""

    totals: tuple[ModelTotal, ...] = ()

    @property
    def count(self) -> int:
        """Number of lines."""
        return sum(total.count for total in self.totals)

    @property
    def micros(self) -> int:
        """Sum of the table prices in micro-units; the table has one currency."""
        return sum(total.micros for total in self.totals)

    @property
    def unpriced_count(self) -> int:
        """Lines without a table price."""
        return sum(total.unpriced_count for total in self.totals)

    @property
    def currency(self) -> str:
        """The table's currency."""
        return next((total.currency for total in self.totals if total.currency), "USD")


class PriceSum:
    """Adds up prices per model."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], list[int]] = {}
        self._currencies: dict[tuple[str, str], str] = {}

    def add(self, kind: str, model: str, price: Price | None) -> None:
        """Count one line."""
        row = self._sums.setdefault((kind, model), [0, 0, 0])
        row[0] += 1
        if price is None:
            row[2] += 1
        else:
            row[1] += price.micros
            self._currencies[kind, model] = price.currency

    def total(self) -> Estimate:
        """Return what was added so far."""
        return Estimate(
            tuple(
                ModelTotal(kind, model, count, micros, self._currencies.get((kind, model)), unpriced)
                for (kind, model), (count, micros, unpriced) in sorted(self._sums.items())
            )
        )
