"""Options that every command takes, before or after its name, and the settings made of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator import crashpoints, logs
from orchestrator.cli.exits import errors_told
from orchestrator.cli.prefix import remember_place
from orchestrator.config import Settings, load_with_sources, read_crash_point
from orchestrator.domain.errors import Fault, InvalidParams

F = TypeVar("F", bound=Callable[..., Any])
FORMATS = ("table", "json", "jsonl", "csv")


@dataclass(frozen=True)
class CommonOptions:
    """What was given of the common options so far: the group's first, a command's own over them."""

    data_dir: Path | None = None
    config: Path | None = None
    output: str | None = None

    def settings(self, **flags: object) -> Settings:
        """Read the settings with these and further command line values; logging is set up with them."""
        return self.settings_and_sources(**flags)[0]

    def settings_and_sources(self, **flags: object) -> tuple[Settings, Mapping[str, str]]:
        """Read the settings as `settings` does; also return where each came from."""
        settings, sources = load_with_sources({"data_dir": self.data_dir, **flags}, config_file=self.config)
        is_dir_of_config = sources.get("data_dir", "").startswith("--config ")
        remember_place(settings, self.config, is_dir_of_config=is_dir_of_config)
        logs.set_up(settings.log_format, level=logging.getLevelNamesMapping()[settings.log_level.upper()])
        crashpoints.arm(read_crash_point())
        return settings, sources

    def format_for(self, *, one: bool) -> str:
        """Return the output format: the one asked for, else a table on a terminal, else JSON."""
        if self.output is not None:
            return self.output
        if sys.stdout.isatty():
            return "table"
        return "json" if one else "jsonl"


def read_pair(option: str, text: str) -> tuple[str, str]:
    """Return `NAME=VALUE` in two. Raises InvalidParams."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidParams([Fault("invalid_pair", option, f"{text!r} is not NAME=VALUE")])
    return name, value


def common_options(command: F) -> F:
    """Give a command --data-dir, --config and --output; it receives `common: CommonOptions` as its first argument."""
    return _with_options(command, (_OUTPUT, *_PLACE))


def place_options(command: F) -> F:
    """As `common_options` without --output, for a command whose -o is a file."""
    return _with_options(command, _PLACE)


def _with_options(command: F, options: Sequence[Callable[[Any], Any]]) -> F:
    def run(
        context: click.Context, data_dir: Path | None, config: Path | None, output: str | None = None, **kwargs: object
    ) -> object:
        inherited = context.obj if isinstance(context.obj, CommonOptions) else CommonOptions()
        common = CommonOptions(data_dir or inherited.data_dir, config or inherited.config, output or inherited.output)
        context.obj = common
        with errors_told():
            return command(common, **kwargs)

    wrapped: Any = update_wrapper(run, command)
    for option in options:
        wrapped = option(wrapped)
    return click.pass_context(wrapped)  # type: ignore[return-value]


_OUTPUT = click.option(
    "--output",
    "-o",
    type=click.Choice(FORMATS),
    help="Form of the data on stdout. [table on a terminal, else JSON]",
)
_PLACE = (
    click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings in TOML, below ORCHESTRATOR_*."
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where jobs and archive live. [.orchestrator]",
    ),
)
