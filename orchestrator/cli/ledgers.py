"""The ledger that a job table is compared with: of the sandbox beside it, of a running one, or none."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from urllib.parse import urlsplit

from orchestrator.cli.sandbox import load_sandbox
from orchestrator.config import Settings
from orchestrator.domain.audit import Charge
from orchestrator.domain.errors import ConfigError, Transient
from orchestrator.domain.ports.audit import Ledger
from orchestrator.services.doctor import Look

STATE = "sandbox"
KEPT = "sandbox.db"
IN_THE_CALL = "sync"


@dataclass(frozen=True)
class FoundLedger:
    """A ledger to read, or none and why."""

    read: Ledger | None
    notes: tuple[Look, ...] = ()


def find_ledger(settings: Settings, place: str | None) -> FoundLedger:
    """Return the ledger at `place`; without one, what `run --sandbox` keeps beside its job table, else what answers at
    a base URL on this host.
    """
    if place is not None:
        return FoundLedger(make_ledger(load_sandbox(), place))
    beside = settings.data_dir / STATE
    if settings.database_url is None and (beside / KEPT).is_file():
        return _try(str(beside))
    if not _is_here(settings.zai_base_url):
        return FoundLedger(None, (Look("ledger", "the provider's own is not to be had; only a sandbox's is"),))
    return _try(settings.zai_base_url)


def make_ledger(sandbox: ModuleType, place: str) -> Ledger:
    """Return the reader of a sandbox's ledger. It raises Transient when there is none."""

    def read() -> Sequence[Charge]:
        try:
            rows = sandbox.read_ledger(place)
        except sandbox.SandboxConfigError as error:
            raise Transient("ledger_unreadable", str(error)) from error
        return [read_charge(row) for row in rows]

    return read


def read_charge(row: Mapping[str, object]) -> Charge:
    """Return the charge in a row of the ledger."""
    return Charge(str(row["id"]), str(row["request_id"]), bool(row["charged"]), row.get("route") != IN_THE_CALL)


def _try(place: str) -> FoundLedger:
    """Nobody asked for this one: that it cannot be read is told, and is no finding."""
    try:
        read = make_ledger(load_sandbox(), place)
        read()
    except (ConfigError, Transient) as error:
        return FoundLedger(None, (Look("ledger", f"none: {error}"),))
    return FoundLedger(read)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
