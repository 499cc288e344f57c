"""The ledger of a sandbox as others read it: from the state that it keeps, running or not, or from a running one."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from orchestrator.sandbox.clock import Clock
from orchestrator.sandbox.fields import SandboxConfigError
from orchestrator.sandbox.options import Settings
from orchestrator.sandbox.store import Store
from orchestrator.sandbox.world import ledger_row

DATABASE = "sandbox.db"
API = "/api/paas/v4"
SECONDS = 5.0


def read_ledger(place: str) -> list[dict[str, Any]]:
    """The rows of `GET /_sandbox/ledger`. `place` is a state directory, or the address of a running sandbox with or
    without its API path. SandboxConfigError says why there is none.
    """
    if place.startswith(("http://", "https://")):
        return _ask(place.rstrip("/").removesuffix(API))
    return _read(Path(place) / DATABASE)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise SandboxConfigError(f"{path.parent} is no state directory of a sandbox")
    store = Store(path, only_reads=True)
    try:
        kept = store.named("settings")
        charge_failed = Settings.from_json(kept).behaviour.charge_failed if kept else True
        now = Clock(store.named("clock_offset", 0.0)).now()
        return [ledger_row(task, task.status(now), charge_failed=charge_failed) for task in store.tasks()]
    finally:
        store.close()


def _ask(base: str) -> list[dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base}/_sandbox/ledger", timeout=SECONDS) as answer:
            rows: list[dict[str, Any]] = json.load(answer)["data"]
            return rows
    except (urllib.error.URLError, OSError) as error:
        raise SandboxConfigError(f"{base} does not answer: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxConfigError(f"{base} is no sandbox") from error
