"""The one question before something is paid for, or stopped, in bulk: never put to a pipe, which cannot answer."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.exits import Exit

NOT_SUBMITTED = "nothing was submitted"


def ask(question: str, *, is_sure: bool, otherwise: str = NOT_SUBMITTED, is_said: bool = False) -> None:
    """Ask whoever sits at the terminal; a no ends the command with `otherwise` and exit code 4.

    Where nobody can answer, only `--yes` agrees (`is_sure`), unless the command line alone says it (`is_said`).
    """
    if is_sure or (is_said and not is_terminal()):
        return
    if not is_terminal():
        click.echo(f"{question} Nobody can be asked here: --yes agrees to it", err=True)
    elif click.confirm(question, err=True):
        return
    click.echo(otherwise, err=True)
    sys.exit(Exit.BUDGET)


def is_terminal() -> bool:
    """Say whether somebody sits at stdin who can be asked. A pipe may hold what the next command is to read."""
    return sys.stdin.isatty()
