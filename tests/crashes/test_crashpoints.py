"""The instrument itself: off by itself, armed by one variable, loud, and picky about names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config import load_settings
from orchestrator.crashpoints import KILLED, VARIABLE, CrashPoint, read_setting
from orchestrator.domain.errors import ConfigError
from tests.acceptance.runs import COMMAND

PASS_BY = """
import sys
from orchestrator.crashpoints import CrashPoint, arm, reach
for setting in sys.argv[1:]:
    arm(setting or None)
for _ in range(3):
    print("passed", flush=True)
    reach(CrashPoint.SENT)
    reach(CrashPoint.ANSWERED)
"""


def pass_by(*settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PASS_BY, *settings], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("setting", "code", "passed"),
    [("", 0, 3), ("submit.sent", KILLED, 1), ("submit.sent:3", KILLED, 3), ("submit.sent:4", 0, 3)],
)
def test_the_process_ends_at_the_passing_that_was_asked_for(setting: str, code: int, passed: int) -> None:
    """Unarmed nothing happens; armed it is the n-th passing of that very point, with nothing flushed or handled."""
    ended = pass_by(setting)
    assert (ended.returncode, ended.stdout.count("passed")) == (code, passed), ended.stderr
    assert ("died at submit.sent" in ended.stderr) is (code == KILLED)
    assert ("crash_armed" in ended.stderr) is bool(setting)


@pytest.mark.parametrize("setting", ["submit", "submit.sent ", "nowhere:1", "", ":1"])
def test_an_unknown_name_is_refused_with_the_list(setting: str) -> None:
    """Somebody who mistypes a name must not believe that the place was survived."""
    with pytest.raises(ConfigError) as refused:
        read_setting(setting)
    assert refused.value.setting == VARIABLE
    assert all(point.value in str(refused.value) for point in CrashPoint)


@pytest.mark.parametrize("count", ["", "0", "-1", "two", "1.5", "²"])
def test_a_passing_is_a_whole_number(count: str) -> None:
    """`NAME:0` would never be reached."""
    with pytest.raises(ConfigError, match="passings"):
        read_setting(f"submit.sent:{count}")


def test_arming_with_none_disarms() -> None:
    """A command that is started without the variable dies nowhere, whatever its process was told before."""
    assert pass_by("submit.sent", "").returncode == 0


def test_a_command_is_armed_by_the_variable_alone(tmp_path: Path) -> None:
    """It says so at its start, on stderr, whatever the log level; a settings file with that name is refused."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    known = {**around, "ORCHESTRATOR_LOG_LEVEL": "error", "ORCHESTRATOR_DATA_DIR": str(tmp_path)}
    looked = {}
    for setting in ("submit.sent:2", "submit.snet"):
        looked[setting] = subprocess.run(
            [*COMMAND, "db", "current"], env={**known, VARIABLE: setting}, cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert "CRITICAL event=crash_armed point=submit.sent passing=2" in looked["submit.sent:2"].stderr
    assert looked["submit.snet"].returncode == 2
    assert "submit.answer_kept" in looked["submit.snet"].stderr
    toml = tmp_path / "settings.toml"
    toml.write_text('crash_at = "submit.sent"\n')
    with pytest.raises(ConfigError, match="CRASH_AT"):
        load_settings({}, config_file=toml)
