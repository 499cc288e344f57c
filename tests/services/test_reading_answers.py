"""An answer was read, so the request was sent: no reader's word may make it "not sent" and have it paid again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import InputLost, StepError, Transient
from orchestrator.domain.outcomes import CallEvidence, Moment, Unknown
from orchestrator.domain.ports import SubmitAnswer
from orchestrator.services.lanes.submit import read_answer
from tests.services.desk import Desk


class Reader:
    """A provider whose reader breaks its contract."""

    def __init__(self, error: StepError) -> None:
        self._error = error

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        raise self._error


@pytest.mark.parametrize("error", [Transient("odd", "words"), InputLost("input_missing", "words")])
def test_no_reader_makes_an_answer_not_sent(lane_desk: Desk, error: StepError) -> None:
    """Promise 2."""
    with lane_desk.process() as context:
        broken = replace(context, provider=Reader(error))  # type: ignore[arg-type]  # only its reader is asked
        outcome = read_answer(broken, "video", CallEvidence(Moment.ANSWERED, http_status=200, body="{}"))
    assert isinstance(outcome, Unknown)
