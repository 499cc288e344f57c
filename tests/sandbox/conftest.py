"""A sandbox per test and a small caller for it. Tasks take no noticeable time unless a test sets a latency, and then
the test moves the sandbox's clock; nothing here waits for real time to pass.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from orchestrator.sandbox import RunningSandbox, SandboxOptions, start

KEY = "test-id.test-secret-of-more-than-32-characters"
GOOD_KEY = {"Authorization": f"Bearer {KEY}"}
FAST = 1000.0


class Caller:
    """Calls the API with a good key, the links without one, and the control surface."""

    def __init__(self, sandbox: RunningSandbox, client: httpx.Client) -> None:
        self.sandbox = sandbox
        self.client = client

    def post(self, path: str, body: object = None, *, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.post(
            self.sandbox.base_url + path, json=body, headers=GOOD_KEY if headers is None else headers
        )

    def video(self, **fields: object) -> httpx.Response:
        return self.post("/videos/generations", {"model": "cogvideox-3", "prompt": "a red kite", **fields})

    def image(self, **fields: object) -> httpx.Response:
        return self.post("/images/generations", {"model": "cogview-4", "prompt": "a red kite", **fields})

    def poll(self, task_id: str) -> httpx.Response:
        return self.client.get(f"{self.sandbox.base_url}/async-result/{task_id}", headers=GOOD_KEY)

    def finished(self, **fields: object) -> dict[str, Any]:
        """The SUCCESS answer of a new task."""
        path = str(fields.pop("path", "/videos/generations"))
        task = self.post(path, {"model": "cogvideox-3", "prompt": "a red kite", **fields}).json()
        self.advance(60)
        answer: dict[str, Any] = self.poll(task["id"]).json()
        assert answer["task_status"] == "SUCCESS"
        return answer

    def put(self, name: str, body: object) -> Any:  # noqa: ANN401 - any JSON value
        return self._checked(self.client.put(f"{self.sandbox.control_url}/{name}", json=body))

    def advance(self, seconds: float) -> None:
        self._checked(self.client.post(f"{self.sandbox.control_url}/clock", json={"advance_seconds": seconds}))

    def ledger(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._checked(self.client.get(f"{self.sandbox.control_url}/ledger"))["data"]
        return rows

    def stats(self) -> dict[str, Any]:
        counted: dict[str, Any] = self._checked(self.client.get(f"{self.sandbox.control_url}/stats"))
        return counted

    def _checked(self, answer: httpx.Response) -> Any:  # noqa: ANN401 - any JSON value
        assert answer.status_code == 200, answer.text
        return answer.json()


StartSandbox = Callable[[SandboxOptions], Caller]


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """One client for all: making one costs more than starting a sandbox."""
    with httpx.Client(timeout=60, trust_env=False) as one:
        yield one


@pytest.fixture
def started(client: httpx.Client) -> Iterator[StartSandbox]:
    """Starts sandboxes that end with the test."""
    callers: list[Caller] = []

    def start_one(options: SandboxOptions) -> Caller:
        callers.append(Caller(start(options), client))
        return callers[-1]

    yield start_one
    for caller in callers:
        caller.sandbox.stop()


@pytest.fixture
def api(started: StartSandbox) -> Caller:
    """A sandbox without latency to speak of and without a slot limit in the way."""
    caller = started(SandboxOptions(speed=FAST, seed=7))
    caller.put("limits", {"*": 50, "cogvideox-3": 50, "glm-image": 50})
    return caller
