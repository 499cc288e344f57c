"""The adapter against the provider simulator: each kind from the paid call to its outputs, and each fault read right."""

from __future__ import annotations

import asyncio
import hashlib
import io
import wave
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import httpx
import pytest

from orchestrator.domain.errors import Account, Permanent, StepError, Throttled, Transient, Uncertain
from orchestrator.domain.job import Role
from orchestrator.domain.kind import FrozenInput
from orchestrator.domain.outcomes import AnswerComplete, NothingUsable, OutputsReady, ProviderFailed, StillRunning
from orchestrator.domain.outcomes import TaskAccepted as Task
from orchestrator.domain.ports import PaidRequest, PollAnswer, PollQuestion, SubmitAnswer
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from tests.zai.loopback import FirstByte, make_provider

NUMBERS = count(1)


def recording() -> bytes:
    """A second of silence."""
    held = io.BytesIO()
    with wave.open(held, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    return held.getvalue()


SOUND = recording()
FROZEN = FrozenInput(hashlib.sha256(SOUND).hexdigest(), len(SOUND), "audio/wav", "silence.wav").as_json()
BODIES: dict[str, dict[str, object]] = {
    "video": {"model": "cogvideox-3", "prompt": "a red kite", "duration": None},
    "image": {"model": "glm-image", "prompt": "a red kite"},
    "immediate image": {"model": "cogview-4-250304", "prompt": "a red kite"},
    "transcription": {"model": "glm-asr-2512", "file": FROZEN, "hotwords": ["kite", "beach"]},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """One simulator for the module; tasks finish at once."""
    with start(SandboxOptions(speed=1000.0, seed=1)) as one:
        yield one


@pytest.fixture
def control(sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    """Its control surface, everything forgotten."""
    with httpx.Client(base_url=sandbox.control_url, trust_env=False, timeout=60) as client:
        assert client.post("/reset").status_code == 200
        assert client.put("/limits", json={"*": 50}).status_code == 200
        yield client
        client.put("/faults", json=[])


async def read_sound(archive_url: str, key: str) -> bytes:
    return SOUND


def submit(sandbox: RunningSandbox, name: str, *, deadline: float = 20) -> SubmitAnswer:
    """Make one paid call and read its answer."""
    body, kind = BODIES[name], name.rsplit(maxsplit=1)[-1]
    request = PaidRequest(f"sub_{next(NUMBERS):032x}", kind, str(body["model"]), body, "file:///archive")

    async def run() -> SubmitAnswer:
        provider = make_provider(sandbox.base_url, deadline=timedelta(seconds=deadline), read_input=read_sound)
        try:
            evidence = await provider.call(request, before_first_byte=FirstByte())
        finally:
            await provider.close()
        return provider.interpret(kind, evidence)

    return asyncio.run(run())


def poll(sandbox: RunningSandbox, task: SubmitAnswer, *, kind: str = "video") -> PollAnswer:
    """Ask about the task once."""
    assert isinstance(task, Task)

    async def run() -> PollAnswer:
        provider = make_provider(sandbox.base_url)
        try:
            return await provider.poll(PollQuestion(kind, "cogvideox-3", task.task_id))
        finally:
            await provider.close()

    return asyncio.run(run())


@pytest.mark.parametrize(("kind", "roles"), [("video", [Role.VIDEO, Role.COVER]), ("image", [Role.IMAGE])])
def test_a_task_from_submit_to_links(
    sandbox: RunningSandbox, control: httpx.Client, kind: str, roles: list[Role]
) -> None:
    """Nulls, request_id, route and readers fit the simulator's own truth."""
    task = submit(sandbox, kind)
    control.post("/clock", json={"advance_seconds": 600})
    answer = poll(sandbox, task, kind=kind)
    assert isinstance(answer, OutputsReady)
    assert [draft.role for draft in answer.outputs] == roles
    assert all(draft.url and draft.expires_at for draft in answer.outputs)


def test_an_immediate_picture(sandbox: RunningSandbox, control: httpx.Client) -> None:
    """The other models answer at once."""
    answer = submit(sandbox, "immediate image")
    assert isinstance(answer, AnswerComplete)
    assert [draft.role for draft in answer.outputs] == [Role.IMAGE]


def test_a_transcription(sandbox: RunningSandbox, control: httpx.Client) -> None:
    """Multipart with a file and a list of hot words is understood."""
    answer = submit(sandbox, "transcription")
    assert isinstance(answer, AnswerComplete)
    assert [draft.role for draft in answer.outputs] == [Role.TRANSCRIPT, Role.TRANSCRIPT_JSON]


@pytest.mark.parametrize(
    ("fault", "wanted", "code"),
    [
        ("rate_limit", Throttled, "1302"),
        ("overload", Throttled, "1305"),
        ("arrears", Account, "1113"),
        ("auth", Account, "1002"),
        ("content_policy", Permanent, "1301"),
        ("duplicate_request", Uncertain, "1231"),
        ("server_error", Uncertain, None),
        ("bad_gateway", Uncertain, "http_502"),
        ("reset", Uncertain, "answer_lost"),
        ("lost_answer", Uncertain, "answer_lost"),
        ("malformed_answer", Uncertain, None),
    ],
)
def test_every_fault_of_a_paid_call(
    sandbox: RunningSandbox, control: httpx.Client, fault: str, wanted: type[StepError], code: str | None
) -> None:
    """A9, A11, A12 and A14-A17 over a real connection."""
    assert_fault_is_read(sandbox, control, "video", fault, wanted, code)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    ("fault", "wanted"), [("rate_limit", Throttled), ("content_policy", Permanent), ("malformed_answer", Uncertain)]
)
def test_faults_read_the_same_on_every_route(
    sandbox: RunningSandbox, control: httpx.Client, name: str, fault: str, wanted: type[StepError]
) -> None:
    """Immediate, asynchronous and multipart calls share their reading of errors."""
    assert_fault_is_read(sandbox, control, name, fault, wanted, None)


def assert_fault_is_read(
    sandbox: RunningSandbox, control: httpx.Client, name: str, fault: str, wanted: type[StepError], code: str | None
) -> None:
    """Spoil one paid call; each request is made exactly once (A18)."""
    rule = {"fault": fault, "phase": "submit", "times": 1}
    assert control.put("/faults", json=[rule]).status_code == 200
    with pytest.raises(StepError) as caught:
        submit(sandbox, name)
    assert type(caught.value) is wanted
    assert code in (None, caught.value.code)
    assert control.get("/stats").json()["max_posts_per_request_id"] == 1


def test_a_provider_that_hangs(sandbox: RunningSandbox, control: httpx.Client) -> None:
    """A10."""
    control.put("/faults", json=[{"fault": "hang", "phase": "submit", "times": 1}])
    with pytest.raises(Uncertain, match="answer_timeout"):
        submit(sandbox, "video", deadline=0.4)


def test_a_task_that_fails(sandbox: RunningSandbox, control: httpx.Client) -> None:
    """D8: decided when the task is made, told by the poll."""
    control.put("/faults", json=[{"fault": "fail", "times": 1}])
    task = submit(sandbox, "video")
    control.post("/clock", json={"advance_seconds": 600})
    assert poll(sandbox, task) == ProviderFailed(None, "the provider gave no reason")


@pytest.mark.parametrize(("fault", "wanted"), [("unknown_status", StillRunning), ("empty_result", NothingUsable)])
def test_every_odd_answer_to_a_poll(
    sandbox: RunningSandbox, control: httpx.Client, fault: str, wanted: type[PollAnswer]
) -> None:
    """D5, D6."""
    task = submit(sandbox, "video")
    control.put("/faults", json=[{"fault": fault, "phase": "poll", "times": 1}])
    control.post("/clock", json={"advance_seconds": 600})
    assert isinstance(poll(sandbox, task), wanted)


@pytest.mark.parametrize("fault", ["server_error", "bad_gateway", "reset", "malformed_answer"])
def test_every_failed_poll_is_transient(sandbox: RunningSandbox, control: httpx.Client, fault: str) -> None:
    """D4."""
    task = submit(sandbox, "video")
    control.put("/faults", json=[{"fault": fault, "phase": "poll", "times": 1}])
    with pytest.raises(Transient):
        poll(sandbox, task)
