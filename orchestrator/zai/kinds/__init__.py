"""The kinds of jobs, one file each. A module of this package that defines KIND is one; nothing else names it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from orchestrator.zai.route import ZaiKind


@cache
def load_kinds() -> Mapping[str, ZaiKind]:
    """Return every kind by name, in the order of their names."""
    found: dict[str, ZaiKind] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "KIND", None)
        if isinstance(kind, ZaiKind):
            found[kind.name] = kind
    return MappingProxyType(found)
