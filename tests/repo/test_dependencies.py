"""Everything that the package imports is declared, so that an install without test tools runs."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repo.sources import ROOT, dotted_name, parse, python_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Which extras a room may count on; every other room has the base dependencies alone.
EXTRAS_OF_ROOMS = {
    "orchestrator/sandbox": ("sandbox", "speech"),
    "orchestrator/api": ("api",),
    "orchestrator/console": ("api",),
    "orchestrator/cli/serving.py": ("api",),
    "orchestrator/db": ("postgres",),
    "orchestrator/thumbnails": ("media",),
    "orchestrator/celery_app.py": ("fleet",),
    "orchestrator/tasks.py": ("fleet",),
    "tests": ("api", "sandbox", "postgres", "fleet", "speech", "test", "dev"),
    "bench": ("api", "sandbox", "postgres", "fleet", "test", "dev"),
    "examples": ("sandbox",),
}


def declared(extras: tuple[str, ...]) -> set[str]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imported_packages(path: Path) -> set[str]:
    """Return the top-level names that a file imports when it runs; what only the type checker reads is left out."""
    tree = parse(path)
    type_checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and dotted_name(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in type_checking:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"orchestrator", "tests", "migrations", "bench", "deploy", "scripts"}


def extras_of(path: Path) -> tuple[str, ...]:
    place = path.relative_to(ROOT).as_posix()
    return next(
        (extras for room, extras in EXTRAS_OF_ROOMS.items() if place == room or place.startswith(f"{room}/")), ()
    )


@pytest.mark.parametrize("folder", ["orchestrator", "migrations", "tests", "examples", "bench"])
def test_imports_are_declared(folder: str) -> None:
    """No file leans on a package that only happens to be there."""
    distributions = packages_distributions()
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files(folder)
        for name in sorted(imported_packages(path))
        if not declared(extras_of(path)) & {canonicalize_name(each) for each in distributions.get(name, [])}
    ]
    assert missing == []
