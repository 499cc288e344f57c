"""SIGTERM ends a command of chaos as Ctrl-C does: nothing that it made stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = """
import sys
import tempfile
from scripts.chaos.shell import end_by_signal
end_by_signal()
with tempfile.TemporaryDirectory() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_terminated_command_clears_up() -> None:
    """Without it the folder stays, and with it the servers and workers of a round."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not folder.exists()
