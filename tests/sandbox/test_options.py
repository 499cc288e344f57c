"""Wrong options, scripts and control values are refused by the name of their field and change nothing."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox import SandboxConfigError, SandboxOptions, start
from tests.sandbox.conftest import Caller


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"port": -1}, "port"),
        ({"port": 70_000}, "port"),
        ({"port": "80"}, "port"),
        ({"seed": "1"}, "seed"),
        ({"speed": 0}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"state_dir": Path(__file__)}, "state_dir"),
    ],
)
def test_options(options: dict[str, Any], field: str) -> None:
    with pytest.raises(SandboxConfigError, match=f"^{field}: "):
        SandboxOptions(**options)


@pytest.mark.parametrize(
    ("script", "field"),
    [
        ("{", "script"),
        ("[]", "script"),
        ({"fault": []}, "fault"),
        ({"faults": {}}, "faults"),
        ({"faults": [{"fault": "x"}]}, r"faults\[0\]\.fault"),
        ({"limits": {"cogvideox-3": -1}}, r"limits\.cogvideox-3"),
        ({"limits": []}, "limits"),
        ({"latency": {"*": {"mean_seconds": -1}}}, r"latency\.\*\.mean_seconds"),
        ({"latency": {"*": 2}}, r"latency\.\*"),
        ({"latency": {"*": {"jitter": 2}}}, r"latency\.\*\.jitter"),
        ({"slot_rule": "sometimes"}, "slot_rule"),
        ({"seed": 1.5}, "seed"),
        ({"options": {"result_variant": "odd"}}, r"options\.result_variant"),
        ({"options": {"colour": 1}}, r"options\.colour"),
        ({"options": {"charge_failed": 1}}, r"options\.charge_failed"),
        ({"options": {"retry_after_seconds": -1}}, r"options\.retry_after_seconds"),
        ({"options": {"link_life_seconds": {"image": None}}}, r"options\.link_life_seconds\.image"),
    ],
)
def test_scripts(tmp_path: Path, script: object, field: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(script if isinstance(script, str) else json.dumps(script))
    with pytest.raises(SandboxConfigError, match=f"^script: (.*)?{field}" if field != "script" else "^script: "):
        start(SandboxOptions(script=path))


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SandboxConfigError, match=r"^script: "):
        start(SandboxOptions(script=tmp_path / "none.json"))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        with pytest.raises(SandboxConfigError, match=r"^port: "):
            start(SandboxOptions(port=taker.getsockname()[1]))


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("PUT", "limits", {"cogvideox-3": "many"}),
        ("PUT", "limits", {"slot_rule": "odd"}),
        ("PUT", "latency", []),
        ("PUT", "options", {"unknown_id": "odd"}),
        ("PUT", "faults", {}),
        ("POST", "clock", {"advance_seconds": -1}),
        ("POST", "clock", {}),
    ],
)
def test_control_calls(api: Caller, method: str, name: str, body: object) -> None:
    before = [api.client.get(f"{api.sandbox.control_url}/{what}").json() for what in ("limits", "options", "faults")]
    answer = api.client.request(method, f"{api.sandbox.control_url}/{name}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith((name, "advance_seconds", "slot_rule"))
    after = [api.client.get(f"{api.sandbox.control_url}/{what}").json() for what in ("limits", "options", "faults")]
    assert before == after


def test_control_calls_that_do_not_exist_or_are_not_json(api: Caller) -> None:
    assert api.client.get(f"{api.sandbox.control_url}/weather").status_code == 404
    assert api.client.put(f"{api.sandbox.control_url}/faults", content=b"{").status_code == 400


def test_settings_can_be_read_back(api: Caller) -> None:
    assert api.put("limits", {"cogvideox-3": 3, "slot_rule": "during_call"})["cogvideox-3"] == 3
    assert api.put("latency", {"glm-image": {"mean_seconds": 2}})["glm-image"]["mean_seconds"] == 2
    assert api.put("options", {"charge_failed": False})["charge_failed"] is False
    for name in ("limits", "latency", "options"):
        url = f"{api.sandbox.control_url}/{name}"
        assert api.client.get(url).json() == api.put(name, {})
