"""What a sandbox is started with and what can be changed while it runs: options, script file, limits, latency,
behaviour. Every value is checked here, and every complaint names its field.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from orchestrator.sandbox.faults import Rule, parse_rules
from orchestrator.sandbox.fields import SandboxConfigError, number, whole

SLOT_RULES = ("until_final", "during_call")
RESULT_VARIANTS = ("mixed", "documented", "with_id", "usage", "model_case", "choices", "object")
FAIL_SHAPES = ("error", "message", "empty_result")
UNKNOWN_IDS = ("1214", "404", "fail")
DAY = 86_400
# Section 4.7: images seen with 1 day and 7 days, vidu with 1 day; an unsigned link states no life, clients assume 1 day.
LINK_LIVES: dict[str, float | None] = {"image": DAY, "cover": 7 * DAY, "vidu": DAY, "cogvideo": DAY}
SCRIPT_FIELDS = ("faults", "limits", "latency", "slot_rule", "seed", "options")


@dataclass(frozen=True)
class Latency:
    """A task of the model takes mean_seconds, more or less by the part `jitter` of it."""

    mean_seconds: float = 1.5
    jitter: float = 1 / 3


@dataclass(frozen=True)
class Behaviour:
    """The switches of `PUT /_sandbox/options`; each where the provider is undocumented or varies (zai-api.md 4, 9.5).
    `retry_after_seconds` adds a Retry-After header to every 429. A life of null in `link_life_seconds` never ends.
    """

    result_variant: str = "mixed"
    fail_shape: str = "error"
    unknown_id: str = "1214"
    refuse_repeated_request_id: bool = True
    links_resigned_per_poll: bool = True
    charge_failed: bool = True
    retry_after_seconds: float | None = None
    link_life_seconds: Mapping[str, float | None] = field(default_factory=lambda: dict(LINK_LIVES))

    def changed(self, change: object) -> Self:
        """A copy with the given fields replaced; SandboxConfigError names the field that is wrong."""
        if not isinstance(change, dict):
            raise SandboxConfigError("options: an object of options is needed")
        known = {spec.name for spec in fields(self)}
        values: dict[str, Any] = {}
        for name, value in change.items():
            if name not in known:
                raise SandboxConfigError(f"options.{name}: no such option, known are {', '.join(sorted(known))}")
            values[name] = self._checked(name, value)
        return replace(self, **values)

    def _checked(self, name: str, value: object) -> object:
        where = f"options.{name}"
        if choices := _CHOICES.get(name):
            return one_of(where, value, choices)
        if name == "retry_after_seconds":
            return None if value is None else number(where, value, least=0)
        if name == "link_life_seconds":
            return {**self.link_life_seconds, **_link_lives(where, value)}
        if not isinstance(value, bool):
            raise SandboxConfigError(f"{where}: true or false is needed, not {value!r}")
        return value


_CHOICES = {"result_variant": RESULT_VARIANTS, "fail_shape": FAIL_SHAPES, "unknown_id": UNKNOWN_IDS}


def one_of(where: str, value: object, choices: tuple[str, ...]) -> str:
    """The value, when it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise SandboxConfigError(f"{where}: one of {', '.join(choices)} is needed, not {value!r}")
    return value


def _link_lives(where: str, value: object) -> dict[str, float | None]:
    if not isinstance(value, dict) or not set(value) <= set(LINK_LIVES):
        raise SandboxConfigError(f"{where}: an object with some of {', '.join(LINK_LIVES)} is needed")
    return {
        name: None if life is None and name == "cogvideo" else number(f"{where}.{name}", life, least=0)
        for name, life in value.items()
    }


@dataclass(frozen=True)
class Settings:
    """What a running sandbox goes by besides its faults. `limits` and `latency` hold what differs from the defaults;
    the key `*` stands for every model without an entry of its own.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[str, Latency] = field(default_factory=dict)
    slot_rule: str = "until_final"
    behaviour: Behaviour = field(default_factory=Behaviour)

    def latency_of(self, model: str) -> Latency:
        return self.latency.get(model) or self.latency.get("*") or Latency()

    def with_limits(self, change: object) -> Self:
        """Limits merged in; the key slot_rule among them sets the rule (surfaces.md section 6)."""
        if not isinstance(change, dict):
            raise SandboxConfigError("limits: an object of model and number of slots is needed")
        limits = {name: whole(f"limits.{name}", n, least=0) for name, n in change.items() if name != "slot_rule"}
        rule = one_of("slot_rule", change.get("slot_rule", self.slot_rule), SLOT_RULES)
        return replace(self, limits={**self.limits, **limits}, slot_rule=rule)

    def with_latency(self, change: object) -> Self:
        if not isinstance(change, dict):
            raise SandboxConfigError("latency: an object of model and latency is needed")
        return replace(self, latency={**self.latency, **{name: _latency(name, it) for name, it in change.items()}})

    def with_behaviour(self, behaviour: Behaviour) -> Self:
        return replace(self, behaviour=behaviour)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The settings `as_json` wrote."""
        settings = cls(behaviour=Behaviour(**stored["behaviour"]))
        return settings.with_limits({**stored["limits"], "slot_rule": stored["slot_rule"]}).with_latency(
            stored["latency"]
        )


def _latency(name: str, value: object) -> Latency:
    where = f"latency.{name}"
    if not isinstance(value, dict) or not set(value) <= {"mean_seconds", "jitter"}:
        raise SandboxConfigError(f"{where}: an object with mean_seconds and jitter is needed")
    return Latency(
        number(f"{where}.mean_seconds", value.get("mean_seconds", Latency.mean_seconds), least=0),
        number(f"{where}.jitter", value.get("jitter", Latency.jitter), least=0, most=1),
    )


@dataclass(frozen=True)
class Script:
    """The file behind --script, checked."""

    settings: Settings = field(default_factory=Settings)
    rules: tuple[Rule, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class SandboxOptions:
    """How to start a sandbox. `port` 0 takes the port kept in the state directory, else a free one; `seed` None takes
    the kept seed, else the script's, else 0; `speed` is how many times faster tasks finish; without a `state_dir`
    everything is forgotten at the end.
    """

    port: int = 0
    seed: int | None = None
    speed: float = 1.0
    state_dir: Path | None = None
    script: Path | None = None
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        whole("port", self.port, least=0, most=65_535)
        if self.seed is not None:
            whole("seed", self.seed)
        if number("speed", self.speed, least=0) == 0:
            raise SandboxConfigError("speed: a number above 0 is needed")
        if self.state_dir is not None and self.state_dir.exists() and not self.state_dir.is_dir():
            raise SandboxConfigError(f"state_dir: {self.state_dir} is not a directory")

    def load_script(self) -> Script:
        """Reads and checks the script file; SandboxConfigError says which field is wrong."""
        if self.script is None:
            return Script()
        try:
            document = json.loads(self.script.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise SandboxConfigError(f"script: {self.script} cannot be read: {error}") from error
        try:
            return parse_script(document)
        except SandboxConfigError as error:
            raise SandboxConfigError(f"script: {error}") from error


def parse_script(document: object) -> Script:
    """Checks `{"faults", "limits", "latency", "slot_rule", "seed", "options"}`; every part may be left out."""
    if not isinstance(document, dict):
        raise SandboxConfigError("an object is needed")
    if unknown := sorted(set(document) - set(SCRIPT_FIELDS)):
        raise SandboxConfigError(f"{unknown[0]}: no such field, known are {', '.join(SCRIPT_FIELDS)}")
    settings = Settings().with_limits(document.get("limits", {})).with_latency(document.get("latency", {}))
    if "slot_rule" in document:
        settings = settings.with_limits({"slot_rule": document["slot_rule"]})
    settings = settings.with_behaviour(settings.behaviour.changed(document.get("options", {})))
    seed = whole("seed", document["seed"]) if document.get("seed") is not None else None
    return Script(settings, parse_rules(document.get("faults", [])), seed)
