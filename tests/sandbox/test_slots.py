"""Slots per model, by both counting rules (zai-api.md section 10.1)."""

import asyncio

import httpx

from orchestrator.sandbox import SandboxOptions
from tests.sandbox.conftest import KEY, Caller, StartSandbox


def test_limits_are_those_of_the_february_snapshot(started: StartSandbox) -> None:
    limits = started(SandboxOptions()).put("limits", {})
    assert {name: limits[name] for name in ("glm-image", "cogview-4-250304", "cogvideox-3", "glm-asr-2512")} == {
        "glm-image": 1,
        "cogview-4-250304": 5,
        "cogvideox-3": 1,
        "glm-asr-2512": 5,
    }
    assert {limits[name] for name in limits if name.startswith("vidu")} == {5}
    assert limits["slot_rule"] == "until_final"


def test_a_task_holds_its_slot_until_it_is_finished(started: StartSandbox) -> None:
    """The second video is refused with 1302 until the clock has passed the end of the first."""
    api = started(SandboxOptions())
    api.put("latency", {"cogvideox-3": {"mean_seconds": 100, "jitter": 0}})
    assert api.video().status_code == 200
    refused = api.video()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "1302")
    assert "retry-after" not in refused.headers
    assert api.video(model="viduq1-text").status_code == 200  # another model has its own slots
    api.advance(99)
    assert api.video().status_code == 429
    api.advance(2)
    assert api.video().status_code == 200
    stats = api.stats()
    assert stats["in_flight_high_water"] == {"cogvideox-3": 1, "viduq1-text": 1}
    assert stats["refused"] == {"1302": 2}
    assert len(api.ledger()) == 3


def test_during_call_frees_the_slot_with_the_answer(started: StartSandbox) -> None:
    api = started(SandboxOptions())
    api.put("latency", {"*": {"mean_seconds": 100, "jitter": 0}})
    api.put("limits", {"slot_rule": "during_call"})
    assert [api.video().status_code for _ in range(3)] == [200, 200, 200]


def test_synchronous_calls_hold_a_slot_by_either_rule(started: StartSandbox) -> None:
    """Of three pictures asked for at once with one slot, one is made and two are refused."""
    for rule in ("until_final", "during_call"):
        api = started(SandboxOptions())
        api.put("limits", {"cogview-4": 1, "slot_rule": rule})
        api.put("latency", {"*": {"mean_seconds": 100, "jitter": 0}})
        assert sorted(asyncio.run(pictures_at_once(api, 3))) == [200, 429, 429]
        assert api.stats()["in_flight_high_water"] == {"cogview-4": 1}


async def pictures_at_once(api: Caller, count: int) -> list[int]:
    """Status codes; the clock is moved once the refusals have come, which lets the accepted call end."""
    body = {"model": "cogview-4", "prompt": "x"}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False) as client:
        calls = [client.post(f"{api.sandbox.base_url}/images/generations", json=body) for _ in range(count)]
        statuses: list[int] = []
        for call in asyncio.as_completed(calls):
            statuses.append((await call).status_code)
            if len(statuses) == count - 1:
                await client.post(f"{api.sandbox.control_url}/clock", json={"advance_seconds": 200})
        return statuses


def test_retry_after_is_a_switch(started: StartSandbox) -> None:
    api = started(SandboxOptions())
    api.put("limits", {"cogvideox-3": 0})
    api.put("options", {"retry_after_seconds": 7})
    assert api.video().headers["retry-after"] == "7"
