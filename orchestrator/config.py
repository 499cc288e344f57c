"""Settings, read once: command line flags over ORCHESTRATOR_* over --config TOML over defaults.

The only reader of the environment. docs/settings.md is generated from the fields below.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator.domain.errors import ConfigError

V = TypeVar("V")

PREFIX = "ORCHESTRATOR_"
LEASED_LANES = ("submit", "poll", "archive", "deliver")
ARCHIVE_CLASSES = ("video", "other")
BROKERS = ("redis", "rediss", "amqp", "amqps")
"""Brokers with acknowledgements that Celery speaks to; its file, SQL and memory transports lose messages silently."""
SECRETS = ("zai_api_key", "secret_key")
"""Settings that are secrets as a whole; the URLs of the next line are some only with a password in them."""
MAY_HOLD_SECRETS = (*SECRETS, "database_url", "broker_url", "http_proxy")
SHORTEST_SECRET_KEY = 32
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LIFE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd]?)", re.ASCII)
_RANGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\.\.(\d{1,9}(?:\.\d{1,6})?)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]?)(?:iB|B)?", re.ASCII | re.IGNORECASE)
LONGEST = timedelta(days=3650)  # beyond this it is a slip, and added to a date it may be no date


def parse_duration(text: str) -> timedelta:
    """Return `90`, `90s`, `15m`, `2h` or `30d` as a timedelta; a bare number is seconds. Raises ValueError."""
    found = _LIFE.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ValueError(f"{text!r} is not a duration of more than 0 s and at most 3650 d; write 90s, 15m, 2h or 30d")
    return timedelta(seconds=seconds)


def _pairs(value: object) -> object:
    """`a=1,b=2` as a mapping of strings; a mapping (TOML table) as it is."""
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in value.split(","))):
        name, equals, text = part.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise ValueError(f"{part!r} is not NAME=VALUE")
        if name.strip() in pairs:
            raise ValueError(f"{name.strip()} is given twice")
        pairs[name.strip()] = text.strip()
    return pairs


def _durations(value: object) -> object:
    pairs = _pairs(value)
    if not isinstance(pairs, Mapping):
        return pairs
    return {name: parse_duration(str(text)) for name, text in pairs.items()}


def _ranges(value: object) -> object:
    pairs = _pairs(value)
    if not isinstance(pairs, Mapping):
        return pairs
    ranges: dict[str, tuple[float, float]] = {}
    for name, text in pairs.items():
        found = _RANGE.fullmatch(str(text))
        if found is None or not 0 < float(found[1]) <= float(found[2]):
            raise ValueError(f"{name}={text!r} is not SHORTEST..LONGEST in seconds, such as video=5..30")
        ranges[str(name)] = (float(found[1]), float(found[2]))
    return ranges


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is not a size; write 4GiB, 500MB or a number of bytes")
    power = " KMGT".index(found[2].upper() or " ")
    return int(found[1]) * 1024**power


def _only(value: dict[str, V], allowed: Collection[str], what: str) -> dict[str, V]:
    for name in value:
        if name not in allowed:
            raise ValueError(f"{name!r} is no {what}; those are {', '.join(allowed)}")
    return value


Counts = Annotated[dict[str, int], NoDecode, BeforeValidator(_pairs)]
Durations = Annotated[dict[str, timedelta], NoDecode, BeforeValidator(_durations)]
Ranges = Annotated[dict[str, tuple[float, float]], NoDecode, BeforeValidator(_ranges)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
ByteSize = Annotated[int, BeforeValidator(_bytes)]


class Settings(BaseSettings):
    """Every setting, with its default and what it is for."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = Field(
        Path(".orchestrator"), description="Where orchestrator.db, archive/, journal/, spool/ and sandbox/ live."
    )
    database_url: str | None = Field(
        None,
        repr=False,
        description="`sqlite:///...` or `postgresql://...`; the password may stand in it. Default: SQLite in the data directory.",
    )
    broker_url: str | None = Field(
        None,
        repr=False,
        description="`redis://...`, `rediss://...`, `amqp://...` or `amqps://...`: what wakes workers on other hosts up. None: everything runs in one process.",
    )
    archive_url: str | None = Field(
        None,
        description="`file:///...` or `s3://bucket/prefix`. Default: `archive/` in the data directory.",
    )
    s3_endpoint_url: str | None = Field(None, description="Address of an S3-compatible store; AWS when absent.")
    s3_public_endpoint_url: str | None = Field(None, description="Address that signed links name, when it differs.")
    s3_region: str | None = Field(None, description="Region of the bucket.")
    s3_use_instance_role: bool = Field(
        default=False, description="Allow credentials from the cloud host's metadata service."
    )
    zai_api_key: SecretStr | None = Field(
        None, description="Key of the Z.ai account. Needed for everything but --sandbox."
    )
    zai_base_url: str = Field(
        "https://api.z.ai/api/paas/v4",
        description="General API address; BigModel's is https://open.bigmodel.cn/api/paas/v4.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="At least 32 characters of chance (`openssl rand -base64 32`), the same for every process: seals the secrets of webhook endpoints. Default with SQLite: made once, in `secret.key` in the data directory.",
    )
    public_url: str | None = Field(
        None,
        description="Address under which others reach the HTTP API, such as `https://media.example.com`: links to files of a local archive begin with it.",
    )
    egress_allow: Words = Field(
        (), description="Hosts, host:port pairs and CIDRs that foreign URLs may reach although they are private."
    )
    file_roots: Words = Field((), description="Folders, beside the job file's own, whose files requests may name.")
    limits: Counts = Field(
        default_factory=dict,
        description="Requests in flight per model, `cogvideox-3=3,*=5`; the kinds' figures fill the gaps.",
    )
    slot_rule: Literal["until_final", "during_call"] = Field(
        "until_final", description="What holds a slot: a task until its final answer, or only the HTTP call."
    )
    poll_intervals: Ranges = Field(
        default_factory=dict,
        description="Shortest and longest poll interval per kind in seconds, `video=5..30,image=2..10`.",
    )
    tick_seconds: float = Field(1.0, gt=0, le=60, description="How often an idle lane looks for due work.")
    call_deadlines: Durations = Field(
        default_factory=dict, description="Total deadline of the paid call per kind, `video=60s,image=180s`."
    )
    leases: Durations = Field(
        default_factory=dict,
        description="Lease per lane, `poll=60s,archive=120s,deliver=60s`; `submit` is the margin over the deadline.",
    )
    assumed_task_life: Durations = Field(
        default_factory=dict, description="Per kind: a task without a final answer holds its slot no longer than this."
    )
    max_unknown_per_hour: int = Field(
        20, ge=1, description="Unknown submissions in an hour that stop further submitting."
    )
    on_unknown: Literal["hold", "resubmit"] = Field(
        "hold",
        description="What follows when nobody knows whether a submission was taken: hold the job for a person, or submit it again, which **may pay twice**.",
    )
    resubmit_max: int = Field(
        0, ge=0, le=100, description="With `ON_UNKNOWN=resubmit`: how often one job may be submitted again by itself."
    )
    output_max_bytes: ByteSize = Field(4 * 1024**3, ge=1, description="Largest output that is fetched.")
    archive_concurrency: Counts = Field(
        default_factory=dict, description="Jobs archived at once per class, `video=4,other=8`."
    )
    thumbnail_pixels: int = Field(
        512,
        ge=0,
        le=1024,
        description="Longest side of the thumbnails that are kept beside pictures and films; 0 makes none. Needs the extra `media`.",
    )
    archive_bandwidth: ByteSize | None = Field(
        None,
        ge=64 * 1024,
        description="Most bytes a second that this process downloads for the archive, all outputs together, `50MB`. Default: no cap.",
    )
    link_life: Durations = Field(
        default_factory=dict,
        description="Assumed life of result links that do not say, per kind, `image=1d,video=1d`. Only orders and warns.",
    )
    http_proxy: str | None = Field(
        None,
        repr=False,
        description="Proxy for calls to the provider, `http://...` or `https://...`. Environment proxies are ignored.",
    )
    ca_bundle: Path | None = Field(
        None, description="File of certificate authorities to trust instead of the built-in ones."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines on stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="Least level that is logged."
    )

    @field_validator("limits", "archive_concurrency")
    @classmethod
    def _check_positive(cls, value: dict[str, int]) -> dict[str, int]:
        for name, count in value.items():
            if count < 1:
                raise ValueError(f"{name}={count} must be 1 or more")
        return value

    @field_validator("broker_url")
    @classmethod
    def _check_broker(cls, value: str | None) -> str | None:
        if value is not None and value.partition("://")[0] not in BROKERS:
            raise ValueError(f"a broker's URL begins with {', '.join(f'{name}://' for name in BROKERS)}")
        return value

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().strip()) < SHORTEST_SECRET_KEY:
            raise ValueError(f"must have {SHORTEST_SECRET_KEY} characters or more; `openssl rand -base64 32` makes one")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
            raise ValueError("an address such as https://media.example.com")
        return value.rstrip("/") if value is not None else None

    @field_validator("leases")
    @classmethod
    def _check_lanes(cls, value: dict[str, timedelta]) -> dict[str, timedelta]:
        return _only(value, LEASED_LANES, "lane with a lease")

    @field_validator("archive_concurrency")
    @classmethod
    def _check_classes(cls, value: dict[str, int]) -> dict[str, int]:
        return _only(value, ARCHIVE_CLASSES, "class of the archive lane")

    @property
    def database(self) -> str:
        """The database URL, the default filled in."""
        return self.database_url or f"sqlite:///{self.database_file.resolve()}"

    @property
    def database_file(self) -> Path:
        """The default database's file; another may be set."""
        return self.data_dir / "orchestrator.db"

    @property
    def archive(self) -> str:
        """The archive URL, the default filled in; a plain path becomes a file:// URL."""
        if self.archive_url is None:
            return (self.data_dir / "archive").resolve().as_uri()
        return self.archive_url if "://" in self.archive_url else Path(self.archive_url).resolve().as_uri()

    @property
    def archive_folder(self) -> Path | None:
        """The folder behind the archive URL; None when it is a bucket."""
        parts = urlsplit(self.archive)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def journal_dir(self) -> Path:
        """Where the journals of this host's processes lie."""
        return self.data_dir / "journal"

    @property
    def secret_key_file(self) -> Path:
        """Where the key of an installation lies that has none in its settings."""
        return self.data_dir / "secret.key"

    @property
    def spool_dir(self) -> Path:
        """Where fetched files lie until they are stored."""
        return self.data_dir / "spool"


def load_settings(flags: Mapping[str, object], *, config_file: Path | None = None) -> Settings:
    """Read the settings once. `flags` are values given on the command line, by field name; None means not given.

    Raises ConfigError that names the setting.
    """
    return load_with_sources(flags, config_file=config_file)[0]


def load_with_sources(
    flags: Mapping[str, object], *, config_file: Path | None = None
) -> tuple[Settings, Mapping[str, str]]:
    """Read the settings as `load_settings`; also return where each that is not a default came from, by field name."""
    if config_file is not None:
        _check_toml(config_file)
    given = {name: value for name, value in flags.items() if value is not None}
    sources: dict[str, str] = {}

    class _Read(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            told = [
                _Told(init_settings, lambda name: f"--{name.replace('_', '-')}", sources),
                _Told(env_settings, variable_of, sources),
            ]
            if config_file is not None:
                toml = TomlConfigSettingsSource(settings_cls, config_file)
                told.append(_Told(toml, lambda _: f"--config {config_file}", sources))
            return tuple(told)

    try:
        return _Read(**given), sources  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigError(variable_of(name), first["msg"].removeprefix("Value error, ")) from None


class _Told(PydanticBaseSettingsSource):
    """A source that notes which settings it is the first to give: sources are asked in the order of their rank."""

    def __init__(self, source: PydanticBaseSettingsSource, tell: Callable[[str], str], sources: dict[str, str]) -> None:
        super().__init__(source.settings_cls)
        self._source = source
        self._tell = tell
        self._sources = sources

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, object]:
        values = self._source()
        for name in values:
            self._sources.setdefault(name, self._tell(name))
        return values


def read_crash_point() -> str | None:
    """Return what ORCHESTRATOR_CRASH_AT says. No setting: neither a file nor a flag may make a process die."""
    return os.environ.get(f"{PREFIX}CRASH_AT") or None


def variable_of(name: str) -> str:
    """Return the variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _check_toml(path: Path) -> None:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        is_readable_by_all = bool(path.stat().st_mode & stat.S_IROTH)
    except OSError as error:
        raise ConfigError("--config", f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"{path} is not TOML: {error}") from error
    secrets = [name for name in MAY_HOLD_SECRETS if _is_secret(name, values.get(name))]
    if is_readable_by_all and secrets:  # fault I15
        raise ConfigError("--config", f"{path} holds {secrets[0]} and everybody may read it; chmod o-r it")


def _is_secret(name: str, value: object) -> bool:
    """A URL is one only when a password stands in it."""
    return value is not None and (name in SECRETS or "@" in str(value))
