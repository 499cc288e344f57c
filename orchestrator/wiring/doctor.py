"""What the doctor examines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import SystemRandom

from orchestrator.clock import SystemClock
from orchestrator.config import Settings
from orchestrator.domain.audit import Violation
from orchestrator.domain.ports import Clock, Stores
from orchestrator.domain.ports.audit import Audit, Ledger
from orchestrator.journal import JournalFolder
from orchestrator.services.doctor import Look, Patient, Place
from orchestrator.services.doctor.archive import Archives
from orchestrator.wiring.app import App
from orchestrator.wiring.storing import describe_thumbnails, make_stores


@dataclass(frozen=True)
class Closeness:
    """How closely the doctor looks at archives: the share of objects that is hashed, 0 to 1, and whether all keys are
    looked up or only the newest.
    """

    verified: float = 0.0
    is_whole: bool = False


def make_patient(app: App, *, ledger: Ledger | None = None, closeness: Closeness | None = None) -> Patient:
    """Return what was written, to be examined: job table, archives, journals, ledger. Not this host."""
    return _make_patient(app.settings, app.audit, app.stores, app.clock, ledger, closeness or Closeness())


def make_patient_without_table(settings: Settings, problem: Violation | Look) -> Patient:
    """Return what can still be examined when the job table cannot be opened."""
    stores = make_stores(settings)
    patient = _make_patient(settings, None, stores, SystemClock(), None, Closeness())
    return replace(patient, problems=(problem,))


def _make_patient(
    settings: Settings,
    audit: Audit | None,
    stores: Stores,
    clock: Clock,
    ledger: Ledger | None,
    closeness: Closeness,
) -> Patient:
    plain = Archives(stores=stores, rng=SystemRandom(), now=clock.now, verified=closeness.verified)
    return Patient(
        audit=audit,
        archives=replace(plain, listed_keys=None) if closeness.is_whole else plain,
        journals=JournalFolder(settings.journal_dir),
        max_unknown_per_hour=settings.max_unknown_per_hour,
        ledger=ledger,
    )


def with_place(patient: Patient, settings: Settings, *, ask_broker: Callable[[], None] | None) -> Patient:
    """Return the patient with this host and its surroundings."""
    place = Place(
        clock=SystemClock(),
        archive_url=settings.archive,
        data_dir=settings.data_dir,
        spool=settings.spool_dir,
        thumbnails=describe_thumbnails(settings),
        ask_broker=ask_broker,
    )
    return replace(patient, place=place)
