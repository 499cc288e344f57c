"""`orchestrator models`: what is in flight per model, and an operator's hand on it while the fleet runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from orchestrator.cli.actions import REASON
from orchestrator.cli.fleet import require_broker, waking
from orchestrator.cli.noting import ACTOR, note
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_rows
from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.ports import LaneName
from orchestrator.services.models import (
    ModelDesk,
    get_model,
    limit_model,
    list_models,
    pause_model,
    resume_model,
    tell_excess,
)
from orchestrator.services.views import Object
from orchestrator.wiring import App, make_model_desk, open_app

COLUMNS = (
    *("model", "kind", "limit", "limit_from", "in_use", "queued", "processing", "archiving", "is_paused"),
    *("paused_until", "pause_code", "pause_message"),
)
AS_SET = "settings"
MOST = 100_000  # far above any account; what the column holds


@click.group()
@common_options
def models(common: CommonOptions) -> None:
    """Look at models and steer them: limits and pauses hold for every process from its next claim on."""


@models.command("list")
@common_options
def list_all(common: CommonOptions) -> None:
    """List models with their slots: how many may be in flight, how many are, what waits, what is paused."""
    with open_app(common.settings()) as app:
        rows = list_models(make_model_desk(app))
        print_rows(rows, COLUMNS, common.format_for(one=False))
    for row in rows:
        _tell_excess(row)


@models.command()
@click.argument("model")
@click.argument("limit", metavar="N")
@common_options
def limit(common: CommonOptions, model: str, limit: str) -> None:
    """Let at most N requests of MODEL be in flight, whatever the settings say; `settings` as N gives that up again.

    What is in flight goes on: after a lower limit nothing is submitted until enough have ended.
    """
    count = _read_limit(limit)
    with _steering(common) as (app, desk):
        note(app, "model.limit", model, reason=f"to {limit}")
        limit_model(desk, model, count, actor=ACTOR)
        click.echo(inert_line(f"{model}: {'as the settings say' if count is None else f'at most {count} in flight'}"))
        _tell_excess(get_model(desk, model))


@models.command()
@click.argument("model")
@REASON
@common_options
def pause(common: CommonOptions, model: str, reason: str) -> None:
    """Submit nothing more for MODEL until `models resume`. What the provider has is asked about and archived."""
    with open_app(common.settings()) as app:
        note(app, "model.pause", model, reason=reason)
        pause_model(make_model_desk(app), model, actor=ACTOR, reason=reason)
        click.echo(inert_line(f"{model}: paused until `orchestrator models resume {model}`"))


@models.command()
@click.argument("model")
@common_options
def resume(common: CommonOptions, model: str) -> None:
    """End the pause of MODEL, also one that the provider's answer made: the next answer may pause it again."""
    with _steering(common) as (app, desk):
        note(app, "model.resume", model)
        was_paused = resume_model(desk, model, actor=ACTOR)
        click.echo(inert_line(f"{model}: {'goes on' if was_paused else 'was not paused'}"))


def _tell_excess(row: Object) -> None:
    """Say what "2 in use, at most 1" means, before somebody looks for a fault."""
    excess = tell_excess(int(str(row["in_use"])), int(str(row["limit"])))
    if excess is not None:
        click.echo(inert_line(f"{row['model']}: {excess}"), err=True)


def _read_limit(text: str) -> int | None:
    if text == AS_SET:
        return None
    if text.isdecimal() and 1 <= int(text) <= MOST:
        return int(text)
    hint = f"`orchestrator models pause MODEL` stops it; `{AS_SET}` gives the limit back to the settings"
    raise InvalidParams([Fault("invalid_limit", "N", f"{text!r} is not a number from 1 to {MOST:,}", hint)])


@contextmanager
def _steering(common: CommonOptions) -> Iterator[tuple[App, ModelDesk]]:
    """Give the program and its desk; the workers are told afterwards: there may be room now."""
    with open_app(common.settings()) as app:
        yield app, make_model_desk(app)
        _wake(app)


def _wake(app: App) -> None:
    if app.settings.broker_url is not None:
        with waking(require_broker(app.settings), clock=app.clock) as wakeup:
            wakeup.wake(LaneName.SUBMIT)
