"""`orchestrator errors`: every code that can be met, what happens next by itself, and what to do."""

from __future__ import annotations

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_rows
from orchestrator.domain.errors import NotFound
from orchestrator.services.views import error_object
from orchestrator.wiring import error_catalogue

COLUMNS = ("code", "source", "then", "meaning", "advice")


@click.group()
@common_options
def errors(common: CommonOptions) -> None:
    """Look up what a code means and what to do about it."""


@errors.command("list")
@click.argument("code", required=False)
@common_options
def list_errors(common: CommonOptions, code: str | None) -> None:
    """List every code with where it comes from, what happens next by itself, and what to do; or only CODE.

    A code of the provider that no document lists is explained by its family, such as 13xx or http_5xx.
    """
    catalogue = error_catalogue()
    found = list(catalogue) if code is None else catalogue.find_all(code)
    if not found:
        raise NotFound(f"there is no code {code}", hint="orchestrator errors list shows all of them")
    print_rows([error_object(entry) for entry in found], COLUMNS, common.format_for(one=False))
