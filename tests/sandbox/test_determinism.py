"""The same seed gives the same run: ids, durations, chance and bytes."""

from hashlib import sha256
from typing import Any

from orchestrator.sandbox import SandboxOptions
from tests.sandbox.conftest import FAST, StartSandbox


def run(started: StartSandbox, seed: int) -> list[Any]:
    """What a run of a few tasks under a rule of chance leaves behind, without what depends on the time of day."""
    api = started(SandboxOptions(seed=seed, speed=FAST))
    api.put("limits", {"*": 50, "cogvideox-3": 50})
    api.put("faults", [{"fault": "server_error", "probability": 0.3}])
    statuses = [api.video(model="cogvideox-2").status_code for _ in range(12)]
    api.advance(60)
    tasks = [row["id"] for row in api.ledger()]
    answers = [api.poll(task).json() for task in tasks]
    links = [link for answer in answers[:3] for link in answer["video_result"][0].values()]
    files = [sha256(api.client.get(link).content).hexdigest() for link in links]
    return [statuses, [task[14:] for task in tasks], [sorted(answer) for answer in answers], files]


def test_a_seed_repeats_and_another_differs(started: StartSandbox) -> None:
    first, again, other = (run(started, seed) for seed in (3, 3, 4))
    assert first == again
    assert all(mine != others for mine, others in zip(first, other, strict=True))
    assert len(set(first[3])) == len(first[3])


def test_durations_come_from_the_seed(started: StartSandbox) -> None:
    """A task takes one to two seconds by default; which, is decided by its number and the seed."""
    finished: list[list[int]] = []
    for _ in range(2):
        api = started(SandboxOptions(seed=5))
        api.put("limits", {"*": 50, "cogvideox-3": 50})
        api.put("latency", {"*": {"mean_seconds": 100_000, "jitter": 0.2}})
        tasks = [api.video().json()["id"] for _ in range(8)]
        counts = []
        for step in (80_000, 10_000, 10_000, 10_000, 11_000):
            api.advance(step)
            counts.append(sum(api.poll(task).json()["task_status"] == "SUCCESS" for task in tasks))
        finished.append(counts)
    assert finished[0] == finished[1]
    assert finished[0][0] == 0
    assert finished[0][-1] == 8


def test_speed_divides_latency(started: StartSandbox) -> None:
    api = started(SandboxOptions(speed=10))
    api.put("latency", {"*": {"mean_seconds": 1000, "jitter": 0}})
    task = api.video().json()["id"]
    api.advance(90)
    assert api.poll(task).json()["task_status"] == "PROCESSING"
    api.advance(11)
    assert api.poll(task).json()["task_status"] == "SUCCESS"


def test_reset_forgets_everything_and_starts_the_same_run(started: StartSandbox) -> None:
    api = started(SandboxOptions(seed=3, speed=FAST))
    first = api.video(request_id="my-req-000001").json()["id"]
    api.put("faults", [{"fault": "auth"}])
    api.advance(1000)
    assert api.client.post(f"{api.sandbox.control_url}/reset").status_code == 200
    assert (api.ledger(), api.put("faults", [])) == ([], [])
    assert api.client.get(f"{api.sandbox.control_url}/clock").json()["offset_seconds"] == 0
    again = api.video(request_id="my-req-000001").json()["id"]
    assert again[14:] == first[14:]
    assert api.stats()["requests"] == {"POST /videos/generations": 1}
