"""What the commands of this folder share with the shell that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def describe_commit() -> str:
    """Return the commit that figures belong to; "unknown" in a checkout that git does not own, or an unpacked archive."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def end_by_signal() -> None:
    """Let SIGTERM end this process as Ctrl-C does: servers, workers and folders go with it."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
