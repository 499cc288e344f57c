"""docs/webhooks.md is true: its receiver takes what the sender signs, its schedule is the code's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain.deliveries import DISABLE_AFTER, JITTER, LONGEST_RETRY_AFTER, SCHEDULE
from orchestrator.domain.subscriptions import EVENT_TYPES
from orchestrator.egress.allow import PORTS
from orchestrator.webhooks import encode_secret, signed_headers
from orchestrator.webhooks.sender import DEADLINE, KEPT_BYTES, MAX_ANSWER_BYTES
from tests.repo.sources import ROOT

TEXT = (ROOT / "docs/webhooks.md").read_text(encoding="utf-8")
SECRET = encode_secret(bytes(range(32)))
BODY = '{"type":"job.succeeded","data":{"id":"job_1","note":"\u2028 \U0001f99c </script>"}}'.encode()
UNITS = {"s": timedelta(seconds=1), "min": timedelta(minutes=1), "h": timedelta(hours=1)}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - whatever the document's code makes
    """Give a client of the receiver that the document shows in Python."""
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(code, "docs/webhooks.md", "exec"), names)  # noqa: S102 - our own document
    return names["app"].test_client()


def test_the_shown_receiver_takes_each_event_once(receiver: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ANN401
    headers = signed_headers([encode_secret(bytes(range(1, 33))), SECRET], "evt_1", datetime.now(UTC), BODY)
    for _ in range(2):
        assert receiver.post("/hooks", data=BODY, headers=headers).status_code == 204
    assert capsys.readouterr().out == "job.succeeded job_1\n"
    assert receiver.post("/hooks", data=BODY + b" ", headers=headers).status_code == 401


def test_the_schedule_is_the_codes() -> None:
    (row,) = re.findall(r"^\| after the one before \|(.*)\|$", TEXT, re.MULTILINE)
    cells = [cell.split() for cell in row.split("|")]
    assert [int(cell[0]) * UNITS[cell[1] if len(cell) > 1 else "s"] for cell in cells] == list(SCHEDULE)


def test_the_figures_are_the_codes() -> None:
    """15 seconds, a tenth, 24 hours, five days, 64 KB, 4 KB, the ports."""
    assert timedelta(seconds=15) == DEADLINE
    assert (0.1, timedelta(hours=24), timedelta(days=5)) == (JITTER, LONGEST_RETRY_AFTER, DISABLE_AFTER)
    assert (MAX_ANSWER_BYTES, KEPT_BYTES) == (64 * 1024, 4 * 1024)
    assert {80, 443, 8080, 8443} == PORTS


def test_every_type_is_told() -> None:
    told = re.findall(r"`((?:job|batch|webhook|webhook_endpoint)\.[a-z_]+)`", TEXT)
    assert set(told) == set(EVENT_TYPES)
