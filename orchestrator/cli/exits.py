"""Exit codes (surfaces section 1) and the one place where an error becomes a sentence on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import click

from orchestrator.cli.prefix import pasteable
from orchestrator.domain.advice import Source
from orchestrator.domain.errors import (
    BatchFileError,
    ConfigError,
    Fault,
    InvalidParams,
    OrchestratorError,
    RequestError,
    StepError,
)
from orchestrator.domain.redact import inert

SOURCES = (Source.COMMAND, Source.DATABASE, Source.ARCHIVE, Source.FLEET, Source.JOURNAL, Source.PROVIDER, Source.CLASS)
"""Whose codes end a command, the likeliest first."""


class Exit(IntEnum):
    """What a shell script can tell apart. Precedence where several hold: 130 > 6 > 4 > 3."""

    OK = 0
    BUG = 1
    USAGE = 2
    NOT_ALL_SUCCEEDED = 3
    BUDGET = 4
    NOT_FOUND = 5
    PROVIDER_TROUBLE = 6
    INTERRUPTED = 130
    TERMINATED = 143


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn our own errors into one clear message and an exit code; a bug keeps its traceback."""
    try:
        yield
        sys.stdout.flush()  # a reader that has gone is noticed here, not by the interpreter on its way out
    except RequestError as error:
        tell_request_error(error)
        sys.exit(error.exit_code)
    except ConfigError as error:
        click.echo(f"error: {pasteable(str(error))}", err=True)
        _tell_hint(advice_on(error))
        sys.exit(Exit.USAGE)
    except StepError as error:
        click.echo(inert(f"error: {pasteable(str(error))}"), err=True)
        _tell_hint(advice_on(error))
        sys.exit(Exit.PROVIDER_TROUBLE)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _forget_reader()
        sys.exit(Exit.OK)
    except (KeyboardInterrupt, click.Abort):  # where no run is under way, which stops in its own order
        click.echo("interrupted", err=True)
        sys.exit(Exit.INTERRUPTED)


def _forget_reader() -> None:
    """Let what is still buffered go nowhere: the interpreter flushes once more on its way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def tell_request_error(error: RequestError) -> None:
    """Say what is wrong, where, and what to do about it."""
    if isinstance(error, BatchFileError | InvalidParams):
        for fault in error.faults:
            click.echo(inert(fault_text(fault)), err=True)
        if isinstance(error, InvalidParams):
            return
    where = f" ({error.param})" if error.param else ""
    click.echo(inert(f"error: {error.message}{where}"), err=True)
    _tell_hint(error.hint or advice_on(error))


def advice_on(error: OrchestratorError) -> str | None:
    """Return what a person should do about an error that ended a command: by its code, else by its class."""
    from orchestrator.wiring import error_catalogue

    names = [getattr(error, "code", None), *(kind.__name__ for kind in type(error).__mro__)]
    entries = (error_catalogue().find(name, *SOURCES) for name in names)
    return next((entry.advice for entry in entries if entry is not None), None)


def _tell_hint(hint: str | None) -> None:
    if hint:
        click.echo(inert(f"hint: {pasteable(hint)}"), err=True)


def fault_text(fault: Fault) -> str:
    """Return a fault as one line: `line 3, column 71: body.size: message (hint)`."""
    place = [f"line {fault.line}"] if fault.line else []
    if fault.column:
        place.append(f"column {fault.column}")
    parts = [", ".join(place), fault.param or "", fault.message]
    word = "warning" if fault.is_warning else "error"
    text = f"{word}: " + ": ".join(part for part in parts if part) + f" [{fault.code}]"
    return f"{text}\n  hint: {pasteable(fault.hint)}" if fault.hint else text
