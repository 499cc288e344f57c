"""Log lines: one a step, fields that cannot forge another, in both forms (fault I13)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from orchestrator.logs import JsonFormatter, TextFormatter, set_up

HOSTILE = 'a\r\n12:00:00 ERROR event=forged \x1b[31m \x9b2J \u2028 \u202e \x7f \U000e0001 \ud800 é 模 "q"'


def make_record(message: str = "step_ended", **fields: object) -> logging.LogRecord:
    """Return a record as a log call with `extra` makes it."""
    return logging.getLogger("orchestrator.test").makeRecord(
        "orchestrator.test", logging.WARNING, __file__, 1, message, (), None, extra=fields
    )


def failing_record() -> logging.LogRecord:
    """Return a record with a traceback whose message tries to look like a line of ours."""
    record = make_record()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record.exc_info = sys.exc_info()
    return record


def test_a_text_line_is_a_verb_and_its_fields() -> None:
    """`time level event=... key=value`."""
    line = TextFormatter().format(make_record(job_id="job_1", count=3, note="two words", empty=""))
    assert line.split(" ", 1)[1] == 'WARNING event=step_ended job_id=job_1 count=3 note="two words" empty=""'


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_no_field_can_break_out_of_its_line(formatter: logging.Formatter) -> None:
    """CR, LF, escape sequences of seven and eight bits, line separators and text direction marks come out escaped."""
    for record in (make_record(prompt=HOSTILE), make_record(HOSTILE)):
        line = formatter.format(record)
        assert line.isprintable()
        assert len(line.splitlines()) == 1
        assert "模" in line


def test_a_json_line_keeps_the_text_exactly() -> None:
    """Escaped, not changed: a machine reads back what was logged."""
    value = json.loads(JsonFormatter().format(make_record(prompt=HOSTILE, count=3)))
    assert (value["event"], value["level"], value["count"]) == ("step_ended", "WARNING", 3)
    assert value["prompt"] == HOSTILE
    assert value["time"].endswith("+00:00")


def test_what_is_no_json_is_told_as_text() -> None:
    """A log call never fails for its fields."""
    assert "object object" in json.loads(JsonFormatter().format(make_record(thing=object())))["thing"]


def test_a_traceback_cannot_pass_for_lines_of_ours() -> None:
    """Every line of it is set in, and printable."""
    first, *rest = TextFormatter().format(failing_record()).split("\n")
    assert "event=step_ended" in first
    assert len(rest) > 3
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def test_a_json_traceback_is_a_field() -> None:
    """One line still."""
    line = JsonFormatter().format(failing_record())
    assert line.isprintable()
    assert "ValueError" in json.loads(line)["exception"]


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    """Put back the handlers and levels of the test run."""
    root, ours = logging.getLogger(), logging.getLogger("orchestrator")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], _, _ = before
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.mark.usefixtures("_restored_logging")
def test_only_our_own_loggers_speak_below_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Promise 13: client libraries print whole URLs, signatures and all, at INFO."""
    set_up("text", level=logging.DEBUG)
    logging.getLogger("httpx").info("HTTP Request: GET https://cdn.example/x?Signature=canary")
    logging.getLogger("botocore").debug("canary")
    logging.getLogger("orchestrator.zai").debug("asked")
    printed = capsys.readouterr().err
    assert "asked" in printed
    assert "canary" not in printed
