"""What a printed command must begin with to meet the same jobs when it is pasted: program, data directory, config file.

The domain's advice says `orchestrator VERB ...`; whoever shows it to a person puts the prefix in here.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from orchestrator.config import Settings

PROGRAM = "orchestrator"
SANDBOX = "sandbox"  # below the data directory: what `--sandbox` keeps, and within that the simulator's own state
_PLACE = "orchestrator.cli.prefix.place"
_RUNNING = ("run", "jobs run", "batches run")
"""Commands that work on a sandbox's jobs from outside of it, by --sandbox: only they bring the simulator with them."""


@dataclass(frozen=True)
class Place:
    """Where the command at hand found its jobs. `is_sandbox`: what `--sandbox` keeps below a data directory."""

    data_dir: Path | None = None
    config: Path | None = None
    is_sandbox: bool = False
    has_foreign_database: bool = False
    """The config names a database that is not the sandbox's: naming it would lead there."""

    def to_look(self) -> str:
        """Return what begins a command that looks at these jobs."""
        return _program(self.data_dir, None if self.has_foreign_database else self.config)

    def to_run(self) -> str:
        """Return what begins a command that works on them."""
        home = self.data_dir.parent if self.is_sandbox and self.data_dir is not None else self.data_dir
        return _program(None if home == _default_home() else home, self.config)


def remember_place(settings: Settings, config: Path | None, *, is_dir_of_config: bool = False) -> None:
    """Note where this command's settings lead. `is_dir_of_config`: the config file alone names the directory."""
    home = settings.data_dir
    is_named = home != _default_home() and not is_dir_of_config
    is_sandbox = settings.database_url is None and home.name == SANDBOX and (home / SANDBOX).is_dir()
    _note(Place(home if is_named else None, config, is_sandbox=is_sandbox and is_named))


def remember_sandbox(settings: Settings, home: Path) -> None:
    """Note that this command works on the sandbox at `home`, below the place of `settings`."""
    has_foreign = settings.database_url is not None
    _note(Place(home, _place().config, is_sandbox=True, has_foreign_database=has_foreign))


def program() -> str:
    """Return what a command must begin with to meet the same jobs when pasted."""
    return _place().to_look()


def pasteable(text: str) -> str:
    """Return `text` with the prefix in every command of ours that it names."""
    context = click.get_current_context(silent=True)
    group = context.find_root().command if context else None
    verbs = sorted(group.commands) if isinstance(group, click.Group) else []
    if not verbs:
        return text
    some = "|".join(re.escape(verb) for verb in (*_RUNNING, *verbs))
    return re.sub(rf"(?<![\w./-]){PROGRAM} ({some})\b", lambda found: command(found[1]), text)


def command(verb: str, *words: str) -> str:
    """Return the command `verb` as it meets the same jobs; the simulator comes along where it is needed."""
    place = _place()
    is_running = verb in _RUNNING
    parts = [place.to_run() if is_running else place.to_look(), verb, *(shlex.quote(word) for word in words)]
    return " ".join([*parts, "--sandbox"] if is_running and place.is_sandbox else parts)


def next_page(verb: str, after: str, *words: str) -> str:
    """Return the command that lists what comes behind `after`, as many at a time as this one was told to."""
    context = click.get_current_context(silent=True)
    if context is not None and context.get_parameter_source("limit") is ParameterSource.COMMANDLINE:
        words = (*words, "--limit", str(context.params["limit"]))
    return command(verb, *words, "--after", after)


def _default_home() -> Path:
    default: Path = Settings.model_fields["data_dir"].default
    return default


def _program(data_dir: Path | None, config: Path | None) -> str:
    words = [PROGRAM]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    if config is not None:
        words += ["--config", str(config)]
    return shlex.join(words)


def _note(place: Place) -> None:
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_PLACE] = place


def _place() -> Place:
    context = click.get_current_context(silent=True)
    place = context.meta.get(_PLACE) if context else None
    return place if isinstance(place, Place) else Place()
