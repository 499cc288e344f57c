"""Options that every command takes, before or after its name, and the settings made of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator import logs
from orchestrator.cli.exits import errors_told
from orchestrator.config import Settings, load_settings

F = TypeVar("F", bound=Callable[..., Any])
FORMATS = ("table", "json", "jsonl", "csv")


@dataclass(frozen=True)
class CommonOptions:
    """What was given of the common options so far: the group's first, a command's own over them."""

    data_dir: Path | None = None
    config: Path | None = None
    output: str | None = None
    flags: Mapping[str, object] = field(default_factory=dict)

    def settings(self, **flags: object) -> Settings:
        """Read the settings with these and further command line values; logging is set up with them."""
        settings = load_settings({"data_dir": self.data_dir, **flags}, config_file=self.config)
        logs.set_up(settings.log_format, level=logging.getLevelNamesMapping()[settings.log_level.upper()])
        return settings

    def format_for(self, *, one: bool) -> str:
        """Return the output format: the one asked for, else a table on a terminal, else JSON."""
        if self.output is not None:
            return self.output
        if sys.stdout.isatty():
            return "table"
        return "json" if one else "jsonl"


def common_options(command: F) -> F:
    """Give a command --data-dir, --config and --output; it receives `common: CommonOptions` as its first argument."""

    @click.option(
        "--output", "-o", type=click.Choice(FORMATS), help="Form of the data on stdout. Default: table on a terminal."
    )
    @click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings in TOML, below ORCHESTRATOR_*."
    )
    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where jobs and archive live. [.orchestrator]",
    )
    @click.pass_context
    @wraps(command)
    def run(
        context: click.Context, data_dir: Path | None, config: Path | None, output: str | None, **kwargs: object
    ) -> object:
        inherited = context.obj if isinstance(context.obj, CommonOptions) else CommonOptions()
        given = {"data_dir": data_dir, "config": config, "output": output}
        common = replace(inherited, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        context.obj = common
        with errors_told():
            return command(common, **kwargs)

    return run  # type: ignore[return-value]
