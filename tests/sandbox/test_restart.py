"""A sandbox with a state directory goes on where it stopped, also after kill -9 (surfaces.md section 6)."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from orchestrator.sandbox import SandboxConfigError, SandboxOptions, start
from tests.sandbox.conftest import GOOD_KEY, Caller, StartSandbox

SERVE = """
import sys
from pathlib import Path
from orchestrator.sandbox import SandboxOptions, serve
serve(SandboxOptions(state_dir=Path(sys.argv[1]), seed=11))
"""
ROOT = Path(__file__).parents[2]


class Served:
    """A sandbox in a process of its own, as the command runs it."""

    def __init__(self, state_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(state_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        self.base_url = line.removeprefix("listening on ").strip()
        self.control_url = self.base_url.replace("/api/paas/v4", "/_sandbox")

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_kill_9_loses_nothing(client: httpx.Client, tmp_path: Path) -> None:
    """After a kill: same port, tasks, ids, used request_ids, counted POSTs, moved clock, faults and living links."""
    first = Served(tmp_path)
    client.put(f"{first.control_url}/limits", json={"cogvideox-3": 9, "cogview-4": 9})
    client.put(f"{first.control_url}/latency", json={"cogvideox-3": {"mean_seconds": 5000, "jitter": 0}})
    client.put(f"{first.control_url}/faults", json=[{"fault": "overload", "after": 2, "times": 2}])
    client.post(f"{first.control_url}/clock", json={"advance_seconds": 1000})
    body = {"model": "cogvideox-3", "prompt": "x", "request_id": "my-req-000001"}
    task = client.post(f"{first.base_url}/videos/generations", json=body, headers=GOOD_KEY).json()
    picture = {"model": "cogview-4", "prompt": "x", "size": "512x512"}
    link = client.post(f"{first.base_url}/images/generations", json=picture, headers=GOOD_KEY).json()["data"][0]["url"]
    drawn = client.get(link).content
    assert client.post(f"{first.base_url}/videos/generations", json=body, headers=GOOD_KEY).status_code == 429
    ledger = client.get(f"{first.control_url}/ledger").json()
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL

    second = Served(tmp_path)
    assert second.base_url == first.base_url
    assert client.get(f"{second.control_url}/ledger").json() == ledger
    again = [client.post(f"{second.base_url}/videos/generations", json=body, headers=GOOD_KEY) for _ in range(2)]
    assert [answer.json()["error"]["code"] for answer in again] == ["1305", "1231"]
    assert client.get(f"{second.control_url}/stats").json()["max_posts_per_request_id"] == 4
    assert client.get(link).content == drawn
    assert client.get(f"{second.control_url}/clock").json()["offset_seconds"] == 1000
    result = f"{second.base_url}/async-result/{task['id']}"
    assert client.get(result, headers=GOOD_KEY).json()["task_status"] == "PROCESSING"
    client.post(f"{second.control_url}/clock", json={"advance_seconds": 5000})
    assert client.get(result, headers=GOOD_KEY).json()["task_status"] == "SUCCESS"
    assert second.end(signal.SIGTERM) == (0, "", "")


def test_serve_stops_cleanly_and_says_one_line(client: httpx.Client, tmp_path: Path) -> None:
    """Also with callers hanging on, and with nothing on stderr whatever they did."""
    served = Served(tmp_path)
    client.put(f"{served.control_url}/faults", json=[{"fault": "hang"}])
    host, port = served.base_url.split("/")[2].split(":")
    body = b'{"model": "cogvideox-3", "prompt": "x"}'
    head = "POST /api/paas/v4/videos/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b\r\n"
    with socket.create_connection((host, int(port))) as hanging, socket.create_connection((host, int(port))) as rude:
        hanging.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        rude.sendall(b"\x00\x01 nonsense\r\n\r\n")
        while not client.get(f"{served.control_url}/ledger").json()["data"]:
            pass
        code, out, err = served.end(signal.SIGINT)
    assert (code, out, err) == (0, "", "")


def test_a_kept_port_that_is_taken_gives_way_and_old_tasks_live_on(
    started: StartSandbox, client: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with start(SandboxOptions(state_dir=tmp_path, speed=1000)) as first:
        task = Caller(first, client).video().json()["id"]
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", first.port))
        taker.listen()
        api = started(SandboxOptions(state_dir=tmp_path, speed=1000))
    assert api.sandbox.moved_from == first.port
    assert "sandbox_port_moved" in caplog.text
    api.advance(60)
    link = api.poll(task).json()["video_result"][0]["cover_image_url"]
    assert str(api.sandbox.port) in link
    assert api.client.get(link).status_code == 200


def test_without_a_state_directory_everything_ends_with_it(started: StartSandbox) -> None:
    for _ in range(2):
        api = started(SandboxOptions())
        assert api.ledger() == []
        api.video()


def test_a_state_directory_serves_one_sandbox_at_a_time(started: StartSandbox, tmp_path: Path) -> None:
    api = started(SandboxOptions(state_dir=tmp_path))
    with pytest.raises(SandboxConfigError, match=r"^state_dir: .* in use"):
        start(SandboxOptions(state_dir=tmp_path))
    api.sandbox.stop()
    api.sandbox.stop()
    start(SandboxOptions(state_dir=tmp_path)).stop()


def test_a_seed_stays_with_its_state(tmp_path: Path) -> None:
    with start(SandboxOptions(state_dir=tmp_path, seed=4)):
        pass
    with start(SandboxOptions(state_dir=tmp_path)) as again:
        assert again.seed == 4
    with pytest.raises(SandboxConfigError, match=r"^seed: "):
        start(SandboxOptions(state_dir=tmp_path, seed=5))


def test_a_script_applies_once_and_again_when_it_changes(started: StartSandbox, tmp_path: Path) -> None:
    """A rule of the script that has struck stays used up over a restart."""
    script, state = tmp_path / "script.json", tmp_path / "state"
    script.write_text(json.dumps({"faults": [{"fault": "overload", "times": 1}], "seed": 8, "limits": {"*": 9}}))
    options = SandboxOptions(script=script, state_dir=state)
    with_script = started(options)
    assert with_script.sandbox.seed == 8
    assert with_script.video(model="vidu2-image", image_url="http://a.b/c").status_code == 429
    with_script.sandbox.stop()
    again = started(options)
    assert again.stats()["fault_hits"] == [1]
    again.sandbox.stop()
    script.write_text(json.dumps({"faults": [{"fault": "arrears"}], "seed": 8}))
    assert started(options).stats()["fault_hits"] == [0]
