"""A doctor's report on stdout: for eyes in sections, for programs whole. No secret of the settings is in any of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import click

from orchestrator.cli.disclosure import describe_settings, hide_secrets
from orchestrator.cli.output import inert_line, print_one, print_rows
from orchestrator.cli.prefix import pasteable
from orchestrator.config import Settings
from orchestrator.domain.audit import Finding
from orchestrator.services.doctor import Report

COLUMNS = ("code", "severity", "subject", "words", "mend")
Row = dict[str, object]


def show_report(report: Report, settings: Settings, sources: Mapping[str, str], output: str) -> None:
    """Print the report; how it came out is said on stderr too."""
    lines = [asdict(line) for line in describe_settings(settings, sources)]
    rows = [(kind, _hidden(_pasteable(row), settings)) for kind, row in _rows(report)]
    if output == "json":
        print_one(_whole(report, lines, rows), output)
    elif output == "jsonl":
        print_rows([{"object": "setting", **line} for line in lines], (), output)
        print_rows([{"object": kind, **row} for kind, row in rows], (), output)
    elif output == "csv":
        print_rows([row for kind, row in rows if kind == "finding"], COLUMNS, output)
    else:
        _print_sections(report, lines, rows)
    count = sum(report.counts.values())
    click.echo(f"{count} found" if count else "nothing found", err=True)


def _rows(report: Report) -> Iterator[tuple[str, Row]]:
    for fixed in report.fixed:
        yield "fixed", asdict(fixed)
    for look in report.looks:
        yield "look", asdict(look)
    for finding in report.findings:
        yield "finding", asdict(finding)


def _pasteable(row: Row) -> Row:
    """A script that runs what mends must meet the same jobs too."""
    return {name: pasteable(str(value)) if name in ("words", "mend") else value for name, value in row.items()}


def _hidden(row: Row, settings: Settings) -> Row:
    return {name: hide_secrets(str(value), settings) for name, value in row.items()}


def _whole(report: Report, lines: list[Row], rows: list[tuple[str, Row]]) -> Row:
    sections = {"fixed": "fixed", "looks": "look", "findings": "finding"}
    return {
        "object": "doctor_report",
        "is_healthy": report.is_healthy,
        "finding_counts": dict(report.counts),
        **{name: [row for kind, row in rows if kind == wanted] for name, wanted in sections.items()},
        "settings": lines,
    }


def _print_sections(report: Report, lines: list[Row], rows: list[tuple[str, Row]]) -> None:
    print_rows(lines, ("name", "value", "source"), "table")
    for kind, row in rows:
        if kind != "finding":
            _say(f"{'fixed ' if kind == 'fixed' else ''}{row['name']}: {row['words']}")
    for kind, row in rows:
        if kind == "finding":
            _say(f"{row['severity']}: {row['words']} [{row['code']}]")
            _say(f"  mend: {row['mend']}")
    listed = _count_listed(report.findings)
    for code, count in report.counts.items():
        if count > listed[code]:
            _say(f"and {count - listed[code]} more [{code}]")
    sys.stdout.flush()


def _count_listed(findings: tuple[Finding, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.code] = counts.get(finding.code, 0) + 1
    return counts


def _say(text: str) -> None:
    click.echo(inert_line(text))
