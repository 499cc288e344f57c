"""A check's report on stdout: faults as rows, or the whole report as one object; how it came out on stderr."""

from __future__ import annotations

from datetime import timedelta

import click

from orchestrator.cli.output import counted, inert_line, print_one, print_rows
from orchestrator.config import Settings
from orchestrator.services.batches import show_micros
from orchestrator.services.forecast import Known, find_slots, foresee, foresee_model
from orchestrator.services.intake import CheckedFile
from orchestrator.wiring import slots_per_model

FAULT_COLUMNS = ("line", "column", "severity", "code", "param", "message", "hint")
MODEL_COLUMNS = ("kind", "model", "count", "cost", "currency", "unpriced_count", "slots", "expected_seconds")
ASSUMES = "every slot always full, and each request as long as its kind usually takes"


def show_check(checked: CheckedFile, known: Known | None, settings: Settings, output: str, *, is_priced: bool) -> None:
    """Print faults and warnings; with `is_priced` the models and the forecast too."""
    faults = _fault_rows(checked)
    models = _model_rows(checked, settings) if is_priced else []
    if output == "json":
        print_one(_report(checked, known, faults, models, settings, is_priced=is_priced), output)
    elif output == "jsonl":
        print_rows([{"object": "fault", **row} for row in faults], (), output)
        print_rows([{"object": "model_cost", **row} for row in models], (), output)
    elif output == "csv":
        shows_models = is_priced and not faults  # one table a file
        print_rows(models if shows_models else faults, MODEL_COLUMNS if shows_models else FAULT_COLUMNS, output)
    else:
        _print_tables(faults, models)
    tell_check(checked, known, settings, is_priced=is_priced)


def _print_tables(faults: list[dict[str, object]], models: list[dict[str, object]]) -> None:
    if faults:
        print_rows(faults, FAULT_COLUMNS, "table")
    if models:
        print_rows(models, MODEL_COLUMNS, "table")


def _fault_rows(checked: CheckedFile) -> list[dict[str, object]]:
    both = sorted((*checked.faults, *checked.warnings), key=lambda fault: fault.line or 0)
    return [{**fault.as_dict(), "severity": "warning" if fault.is_warning else "error"} for fault in both]


def _model_rows(checked: CheckedFile, settings: Settings) -> list[dict[str, object]]:
    slots = slots_per_model(checked.kinds, settings.limits)
    return [
        {
            "kind": total.kind,
            "model": total.model,
            "count": total.count,
            "cost": show_micros(total.micros) if total.count > total.unpriced_count else None,
            "currency": total.currency,
            "unpriced_count": total.unpriced_count,
            "slots": find_slots(total.model, slots),
            "expected_seconds": int(foresee_model(total, checked.kinds, slots).total_seconds()),
        }
        for total in checked.estimate.totals
    ]


def _report(
    checked: CheckedFile,
    known: Known | None,
    faults: list[dict[str, object]],
    models: list[dict[str, object]],
    settings: Settings,
    *,
    is_priced: bool,
) -> dict[str, object]:
    report: dict[str, object] = {
        "object": "check_report",
        "name": checked.name,
        "format": checked.form.value,
        "sha256": checked.sha256,
        "valid": not checked.fault_count,
        "line_count": checked.line_count,
        "good_count": checked.good_count,
        "fault_count": checked.fault_count,
        "warning_count": checked.warning_count,
        "faults": [row for row in faults if row["severity"] == "error"],
        "warnings": [row for row in faults if row["severity"] == "warning"],
        "known_count": known.count if known else None,
        "known": [{"line": line, "job_id": job_id} for line, job_id in known.lines] if known else None,
    }
    if is_priced:
        report["cost"] = {
            "currency": checked.estimate.currency,
            "estimate": show_micros(checked.estimate.micros),
            "unpriced_count": checked.estimate.unpriced_count,
            "price_version": _table_version(checked),
        }
        report["models"] = models
        report["expected_seconds"] = int(_foresee(checked, settings).total_seconds())
        report["expected_assumes"] = ASSUMES
    return report


def tell_check(checked: CheckedFile, known: Known | None, settings: Settings, *, is_priced: bool) -> None:
    """Say on stderr how a check came out; with `is_priced` what the good jobs cost, and when they would be done."""
    parts = [counted(checked.line_count, "job"), counted(checked.fault_count, "fault")]
    if checked.warning_count:
        parts.append(counted(checked.warning_count, "warning"))
    click.echo(inert_line(f"{checked.name}: {', '.join(parts)}"), err=True)
    listed = len(checked.faults) + len(checked.warnings)
    if listed < checked.fault_count + checked.warning_count:
        click.echo(f"the first {len(checked.faults)} faults and {len(checked.warnings)} warnings are listed", err=True)
    if known and known.count:
        click.echo(f"{known.count} of them were made by earlier jobs and would not be paid again", err=True)
    if is_priced:
        _tell_price(checked, settings)


def _tell_price(checked: CheckedFile, settings: Settings) -> None:
    estimate = checked.estimate
    text = (
        f"the good jobs, {estimate.count}, cost {show_micros(estimate.micros)} {estimate.currency} by the price table"
    )
    unpriced = (
        f"; {estimate.unpriced_count} of them have no price there, and are left out of the sum"
        if estimate.unpriced_count
        else ""
    )
    click.echo(f"{text} of {_table_version(checked)}{unpriced}", err=True)
    wait = _show_duration(_foresee(checked, settings))
    click.echo(f"expected to take about {wait}, assuming {ASSUMES}", err=True)


def _foresee(checked: CheckedFile, settings: Settings) -> timedelta:
    slots = slots_per_model(checked.kinds, settings.limits)
    return foresee(checked.estimate, checked.kinds, slots, longest_chain=checked.longest_chain)


def _table_version(checked: CheckedFile) -> str:
    """Return the date of the price table, which stands on every price of it."""
    models = (model for kind in checked.kinds.values() for model in kind.models.values())
    return max((model.price.version for model in models if model.price), default="none")


def _show_duration(wait: timedelta) -> str:
    seconds = int(wait.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
