"""What any test may ask at its end: does the doctor find anything in what was written?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator.cli.ledgers import read_charge
from orchestrator.domain.audit import Finding
from orchestrator.services.doctor import examine
from orchestrator.wiring import App, Closeness, make_patient


def find_anything(
    app: App, *, ledger: Iterable[Mapping[str, Any]] | None = None, is_hashing: bool = True
) -> tuple[Finding, ...]:
    """Return what the doctor finds in job table, archive and journals; with `ledger`, rows of a sandbox's, in it too.

    Every archived object is read and hashed unless told otherwise. Time is the app's clock.
    """
    charges = None if ledger is None else [read_charge(row) for row in ledger]
    read = None if charges is None else lambda: charges
    closeness = Closeness(verified=1.0 if is_hashing else 0.0, is_whole=True)
    return examine(make_patient(app, ledger=read, closeness=closeness)).findings


def assert_healthy(
    app: App, *, ledger: Iterable[Mapping[str, Any]] | None = None, allow: Collection[str] = (), is_hashing: bool = True
) -> None:
    """Assert that the doctor finds nothing but codes of `allow` (`needs_review` and `unknown_...` after kills)."""
    found = find_anything(app, ledger=ledger, is_hashing=is_hashing)
    unexpected = [finding for finding in found if finding.code not in allow]
    assert unexpected == [], "\n".join(f"{each.code}: {each.words}" for each in unexpected)
