"""The one way to ask a person before something is paid, held or stopped."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.exits import Exit


def require_yes(question: str, *, is_sure: bool, otherwise: str) -> None:
    """Go on only after a yes; a no ends the command with 4, and so does nobody who could answer: scripts say --yes.

    `otherwise` says what a refusal means, such as "nothing was submitted".
    """
    if is_sure:
        return
    try:
        if click.confirm(question, err=True):
            return
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise
        click.echo(f"\nnobody answered: {otherwise}; --yes agrees", err=True)
        sys.exit(Exit.BUDGET)
    click.echo(otherwise, err=True)
    sys.exit(Exit.BUDGET)
