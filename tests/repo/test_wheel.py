"""The wheel holds what a user needs: the package, the migrations, the command."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.repo.sources import ROOT


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel and give the names of its files."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_the_migrations(wheel_names: set[str]) -> None:
    """`orchestrator db upgrade` works without a checkout."""
    migrations = {path.name for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert migrations
    assert {f"orchestrator/_migrations/versions/{name}" for name in migrations} <= wheel_names
    assert {"orchestrator/_migrations/env.py", "orchestrator/_migrations/script.py.mako"} <= wheel_names


def test_the_wheel_has_the_whole_package_and_nothing_else(wheel_names: set[str]) -> None:
    """Every module is inside; tests and examples are not."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "orchestrator").rglob("*.py")}
    assert modules <= wheel_names
    assert {Path(name).parts[0] for name in wheel_names if ".dist-info" not in name} == {"orchestrator"}


def test_the_installed_command_is_this_project() -> None:
    """The console script named in pyproject exists and answers."""
    command = [str(Path(sys.executable).with_name("orchestrator")), "version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
