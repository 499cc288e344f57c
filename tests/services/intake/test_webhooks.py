"""The webhook that a line, a single request or a whole file names: judged before anything is stored."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import InvalidParams, RequestError
from orchestrator.services.intake import CheckOptions, SingleRequest, check_one, take_file, take_one
from tests.services.intake.desk import KINDS, Desk

LINE = {"custom_id": "a", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}
PUBLIC, INTERNAL = "https://hooks.example/x", "http://169.254.169.254/latest"


def judge(url: str) -> None:
    """Let one host through."""
    if not url.startswith("https://hooks.example/"):
        raise RequestError("this URL cannot be a webhook: the link leads to an internal address", hint="another one")


OPTIONS = CheckOptions("sandbox", judge=judge)


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("jobs"))


def test_a_hostile_webhook_is_a_fault_of_its_line(desk: Desk) -> None:
    """H18: refused with its place, before anything is stored; nobody calls it to find out."""
    checked = desk.check(
        [{**LINE, "webhook": PUBLIC}, {**LINE, "custom_id": "b", "webhook": INTERNAL}], options=OPTIONS
    )
    (fault,) = checked.faults
    assert (fault.line, fault.code, fault.param, fault.hint) == (2, "invalid_webhook", "webhook", "another one")
    assert "internal address" in fault.message


def test_a_single_request_is_judged_alike(desk: Desk) -> None:
    """H18: a hostile URL on one request is refused as on a line."""
    single = SingleRequest("video", {"prompt": "a kite"}, webhook=INTERNAL)
    with pytest.raises(InvalidParams) as refused:
        check_one(single, KINDS, options=OPTIONS)
    assert [fault.code for fault in refused.value.faults] == ["invalid_webhook"]


def test_the_job_carries_what_its_line_names(desk: Desk) -> None:
    """The URL goes with the job into the transaction that inserts it."""
    take_file(desk.check([{**LINE, "webhook": PUBLIC}, {**LINE, "custom_id": "b"}], options=OPTIONS), desk.taker)
    named = {job.custom_id: job.webhook for job in desk.batches.jobs.values()}
    assert named == {"a": PUBLIC, "b": None}
    single = SingleRequest("video", {"prompt": "a kite"}, custom_id="c", webhook=PUBLIC)
    intake = take_one(check_one(single, KINDS, options=OPTIONS), desk.taker)
    assert desk.batches.jobs[intake.job_id or ""].webhook == PUBLIC


def test_a_file_taken_again_may_name_another_webhook(desk: Desk) -> None:
    """The batch is known; from now on the new one hears of it too."""
    first = take_file(desk.check([LINE], options=OPTIONS), desk.taker, webhook=PUBLIC)
    take_file(desk.check([LINE], options=OPTIONS), desk.taker, webhook=f"{PUBLIC}/2")
    assert desk.batches.webhooks == {(first.batch.id, PUBLIC), (first.batch.id, f"{PUBLIC}/2")}


def test_the_judge_is_no_part_of_a_files_identity(desk: Desk) -> None:
    """The same file is the same batch, whoever looks at its links."""
    assert desk.check([LINE], options=OPTIONS).identity_sha256 == desk.check([LINE]).identity_sha256
