"""Findings: words and commands made of facts, and nothing in them that a shell would obey."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.domain.audit import RULES, Severity, Violation, render


def test_facts_stand_in_the_words_and_in_the_command() -> None:
    found = render(Violation("unknown_was_charged", "job_1", {"task": "task-7"}))
    assert found.words == "the unknown call of job_1 was taken and charged as task task-7"
    assert found.mend == "orchestrator jobs attach job_1 --task-id task-7"
    assert found.severity is Severity.ATTENTION


def test_times_and_nothing_are_readable() -> None:
    at = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert "2026-11-24 12:00:00 UTC" in render(Violation("submitting_lapsed", "job_1", {"due_at": at})).words
    assert (
        "finished_at is nothing"
        in render(Violation("final_unfinished", "job_1", {"state": "failed", "finished_at": None})).words
    )


def test_a_name_in_a_command_is_quoted() -> None:
    """Fault I13: commands are there to be pasted, and a job file may be called anything."""
    found = render(Violation("batch_intake_open", "batch_1", {"name": "a; rm -rf ~"}))
    assert found.mend == "orchestrator run 'a; rm -rf ~'"


def test_codes_are_their_rules_names() -> None:
    assert all(code == rule.code for code, rule in RULES.items())
