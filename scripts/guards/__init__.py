"""The guards that `make guards` removes one by one: each module of this folder has a table of one area."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from scripts.guards.guard import Guard

NO_TABLES = frozenset({"__init__", "guard", "runner", "warm_pytest"})


def load_guards() -> tuple[Guard, ...]:
    """Return every guard of every table, in the tables' order."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_TABLES)
    return tuple(guard for name in names for guard in import_module(f"{__name__}.{name}").GUARDS)
