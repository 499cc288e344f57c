"""docs/operations.md and the unit file say what the code does."""

from __future__ import annotations

import ast
import configparser
import re

from orchestrator.services.lanes.context import LaneLimits
from orchestrator.zai.kinds import load_kinds
from tests.repo.sources import ROOT, dotted_name, place, walk

OF_THE_FLEET = {
    "broker_away",
    "broker_back",
    "broker_unreachable",
    "loop_stalled",
    "message_unreadable",
}  # logged by what Celery runs in
LEVELS = {"info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR", "critical": "CRITICAL"}
ROW = re.compile(r"^\| `(?P<event>[a-z_]+)` \| (?P<level>[A-Z]+) \|", re.MULTILINE)
UNIT = ROOT / "deploy/orchestrator-worker@.service"


def logged() -> dict[str, tuple[str, str]]:
    """Every event of our log calls with its level, and where it is logged."""
    found = {}
    for path, node in walk("orchestrator"):
        if "sandbox" in path.parts or not isinstance(node, ast.Call) or not node.args:
            continue
        owner, _, method = dotted_name(node.func).rpartition(".")
        name = node.args[0]
        if owner == "log" and method in LEVELS and isinstance(name, ast.Constant):
            found[str(name.value)] = (LEVELS[method], place(path, node))
    return found


def described() -> dict[str, str]:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    return {match["event"]: match["level"] for match in ROW.finditer(text)}


def test_every_log_event_is_described_with_its_level() -> None:
    """Whoever is woken by a line finds it in the handbook."""
    missing = {name: where for name, (level, where) in logged().items() if described().get(name) != level}
    assert missing == {}


def test_no_event_is_described_that_is_not_logged() -> None:
    assert set(described()) - set(logged()) - OF_THE_FLEET == set()


def test_the_walk_sees_the_events() -> None:
    """Or the two tests above would hold of nothing."""
    assert logged()["submission_unknown"][0] == "WARNING"
    assert len(logged()) > 15


def read_unit() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    unit.read_string(UNIT.read_text("utf-8"))
    return unit


def test_the_unit_gives_a_worker_the_time_of_its_longest_call() -> None:
    """As compose's stop_grace_period."""
    service = read_unit()["Service"]
    longest = max(kind.call_deadline for kind in load_kinds().values())
    assert int(service["TimeoutStopSec"]) > (longest + LaneLimits().submit_margin).total_seconds()
    assert (service["KillSignal"], service["User"], service["Restart"]) == ("SIGTERM", "orchestrator", "always")


def test_the_units_data_directory_is_kept() -> None:
    """Journals lie below systemd's StateDirectory; the service may write nowhere else."""
    service = read_unit()["Service"]
    (data_dir,) = re.findall(r"ORCHESTRATOR_DATA_DIR=(\S+)", service["Environment"])
    assert data_dir == f"/var/lib/{service['StateDirectory']}/data"
    assert service["ProtectSystem"] == "strict"
