"""Loads every module of tests/fixtures as a pytest plugin: a new fixture file needs no registration."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.fixtures")  # before any of them imports another

pytest_plugins = sorted(
    f"tests.fixtures.{path.stem}"
    for path in (Path(__file__).parent / "fixtures").glob("*.py")
    if path.stem != "__init__"
)


def pytest_configure() -> None:
    """What a script runs in the background ignores Ctrl-C, and its children inherit that: those of tests must not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
