"""Settings: order of the sources, errors that name the setting, secrets that do not show."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.config import PREFIX, Settings, load_settings, parse_duration
from orchestrator.domain.errors import ConfigError


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces section 1: the order is a promise."""
    file = tmp_path / "o.toml"
    file.write_text('tick_seconds = 3.0\nlog_format = "json"\ns3_region = "file"\n')
    monkeypatch.setenv(f"{PREFIX}TICK_SECONDS", "4")
    monkeypatch.setenv(f"{PREFIX}S3_REGION", "environment")
    settings = load_settings({"s3_region": "flag", "tick_seconds": None}, config_file=file)
    assert settings.s3_region == "flag"
    assert settings.tick_seconds == 4.0
    assert settings.log_format == "json"
    assert settings.max_unknown_per_hour == 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limits", "cogvideox-3"),
        ("limits", "cogvideox-3=0"),
        ("limits", "cogvideox-3=many"),
        ("poll_intervals", "video=30..5"),
        ("poll_intervals", "video=0..5"),
        ("call_deadlines", "video=soon"),
        ("link_life", "image=1 month"),
        ("output_max_bytes", "large"),
        ("slot_rule", "never"),
        ("tick_seconds", "0"),
        ("log_format", "xml"),
        ("max_unknown_per_hour", "-1"),
        ("archive_concurrency", "video=0"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to start, name the setting (design section 10)."""
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        load_settings({})
    assert caught.value.setting == f"{PREFIX}{name.upper()}"


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    """A slip in a file must not pass for a setting."""
    file = tmp_path / "o.toml"
    file.write_text("tick_second = 3\n")
    with pytest.raises(ConfigError, match="TICK_SECOND"):
        load_settings({}, config_file=file)


def test_a_file_that_is_missing_or_no_toml_is_told(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(ConfigError, match=r"no\.toml"):
        load_settings({}, config_file=tmp_path / "no.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("= 1")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_settings({}, config_file=bad)


def test_compound_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forms of surfaces section 5."""
    for name, value in {
        "LIMITS": "cogvideox-3=3,*=5",
        "POLL_INTERVALS": "video=5..30,image=2..10",
        "LINK_LIFE": "image=30d,video=1d",
        "CALL_DEADLINES": "video=90",
        "EGRESS_ALLOW": "10.0.0.0/8, cdn.example:8443",
        "OUTPUT_MAX_BYTES": "2GiB",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = load_settings({})
    assert settings.limits == {"cogvideox-3": 3, "*": 5}
    assert settings.poll_intervals["image"] == (2.0, 10.0)
    assert settings.link_life["image"] == timedelta(days=30)
    assert settings.call_deadlines["video"] == timedelta(seconds=90)
    assert settings.egress_allow == ("10.0.0.0/8", "cdn.example:8443")
    assert settings.output_max_bytes == 2 * 1024**3


def test_the_key_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 13."""
    monkeypatch.setenv(f"{PREFIX}ZAI_API_KEY", "id.canary")
    assert "canary" not in repr(load_settings({}))


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5d", 129600)])
def test_durations(text: str, seconds: int) -> None:
    """A bare number is seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


FREE_TEXT = frozenset(
    {
        "data_dir",
        "database_url",
        "archive_url",
        "s3_endpoint_url",
        "s3_public_endpoint_url",
        "s3_region",
        "zai_api_key",
        "zai_base_url",
        "egress_allow",
        "file_roots",
        "http_proxy",
        "ca_bundle",
    }
)
"""Settings whose value only their user can judge: whoever connects, opens or looks up."""

BAD = {
    "broker_url": "memory://",
    "s3_use_instance_role": "perhaps",
    "limits": "a",
    "slot_rule": "never",
    "poll_intervals": "video=5",
    "tick_seconds": "inf",
    "call_deadlines": "video=-1s",
    "leases": "submit=soon",
    "assumed_task_life": "video=0s",
    "max_unknown_per_hour": "0",
    "on_unknown": "guess",
    "resubmit_max": "-1",
    "output_max_bytes": "-1",
    "archive_concurrency": "video=0",
    "archive_bandwidth": "1KB",
    "thumbnail_pixels": "5000",
    "link_life": "video=",
    "log_format": "xml",
    "log_level": "loud",
    "public_url": "media.example.com",
    "secret_key": "short",
}


def test_every_setting_that_can_be_wrong_is_tried() -> None:
    """A new setting has to be entered here."""
    assert set(Settings.model_fields) == FREE_TEXT | set(BAD)


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_each_setting_names_itself_when_it_is_wrong(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Design section 10: refuse to start, name the setting; the environment's own spelling."""
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        load_settings({})
    assert caught.value.setting == f"{PREFIX}{name.upper()}"
    assert str(caught.value).startswith(f"{PREFIX}{name.upper()}: ")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("leases", "sbumit=90s", "submit, poll, archive"),
        ("archive_concurrency", "videos=4", "video, other"),
        ("limits", "a=1,a=2", "a is given twice"),
        ("link_life", "image=99999999d", "3650 d"),
        ("link_life", "image=" + "9" * 400, "duration"),
        ("link_life", "image=\uff14d", "duration"),
        ("poll_intervals", "video=5..-30", "SHORTEST..LONGEST"),
        ("poll_intervals", "video=\uff15..9", "SHORTEST..LONGEST"),
        ("output_max_bytes", "4Gi", "size"),
        ("archive_bandwidth", "50 MB/s", "size"),
        ("output_max_bytes", "9" * 400, "size"),
    ],
)
def test_a_slip_is_told_in_words(name: str, value: str, words: str) -> None:
    """What is allowed stands in the message."""
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        load_settings({name: value})
    assert caught.value.setting == f"{PREFIX}{name.upper()}"


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1 h", "1e3", "h", "1w", "nan", "inf", "\u0661s"])
def test_what_is_no_duration(text: str) -> None:
    """Nothing is guessed; a duration of nothing is a slip."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("500MB", 500 * 1024**2), ("2 KiB", 2048), ("4gib", 4 * 1024**3), ("1T", 1024**4), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    """Units are powers of 1024, however they are spelled."""
    assert load_settings({"output_max_bytes": text}).output_max_bytes == size


def test_a_file_may_use_tables_and_numbers(tmp_path: Path) -> None:
    """TOML's own types beside the one-line forms of the environment."""
    file = tmp_path / "o.toml"
    file.write_text(
        'file_roots = ["/srv/media"]\noutput_max_bytes = 1000\n'
        '[call_deadlines]\nvideo = 90\nimage = "3m"\n[limits]\ncogvideox-3 = 3\n[poll_intervals]\nvideo = "5..30"\n'
    )
    settings = load_settings({}, config_file=file)
    assert settings.call_deadlines == {"video": timedelta(seconds=90), "image": timedelta(minutes=3)}
    assert settings.limits == {"cogvideox-3": 3}
    assert settings.poll_intervals == {"video": (5.0, 30.0)}
    assert (settings.file_roots, settings.output_max_bytes) == (("/srv/media",), 1000)


@pytest.mark.parametrize(
    "line", ["[call_deadlines]\nvideo = -5.0", "limits = 3", "[leases]\npoll = true", "limits = []"]
)
def test_a_wrong_type_in_the_file_is_refused(tmp_path: Path, line: str) -> None:
    """TOML's types get the same checks as text."""
    file = tmp_path / "o.toml"
    file.write_text(line)
    with pytest.raises(ConfigError):
        load_settings({}, config_file=file)


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`VAR=` in a compose file means that it is not set: the file below still counts."""
    monkeypatch.setenv(f"{PREFIX}S3_REGION", "")
    file = tmp_path / "o.toml"
    file.write_text('s3_region = "file"\n')
    assert load_settings({}, config_file=file).s3_region == "file"


def test_an_unknown_flag_is_a_bug_of_ours() -> None:
    """A misspelled field name in a command does not pass in silence."""
    with pytest.raises(ConfigError, match="NO_SUCH_FIELD"):
        load_settings({"no_such_field": 1})


def test_no_password_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 13: neither the key nor the passwords that may stand in addresses, in repr or in str."""
    for name, value in {
        "ZAI_API_KEY": "id.canary",
        "SECRET_KEY": "canary" * 6,
        "DATABASE_URL": "postgresql://me:canary@db/x",
        "HTTP_PROXY": "http://me:canary@proxy:3128",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = load_settings({})
    assert "canary" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("line", "mode", "is_refused"),
    [
        ('zai_api_key = "id.canary"', 0o644, True),
        ('zai_api_key = "id.canary"', 0o640, False),
        ('database_url = "postgresql://me:canary@db/x"', 0o604, True),
        ('database_url = "postgresql://db/x"', 0o644, False),
        (f'secret_key = "canary{"k" * 32}"', 0o644, True),
        (f'secret_key = "canary{"k" * 32}"', 0o640, False),
        ("tick_seconds = 2", 0o644, False),
    ],
)
def test_a_file_with_a_secret_is_not_for_everybody(tmp_path: Path, line: str, mode: int, is_refused: bool) -> None:
    """Fault I15: a settings file that everybody may read must not hold a key or a password."""
    file = tmp_path / "o.toml"
    file.write_text(line)
    file.chmod(mode)
    if is_refused:
        with pytest.raises(ConfigError, match="chmod o-r") as caught:
            load_settings({}, config_file=file)
        assert "canary" not in str(caught.value)
    else:
        load_settings({}, config_file=file)


def test_settings_are_read_once_and_stay() -> None:
    """Nobody changes a setting behind another's back."""
    with pytest.raises(ValidationError, match="frozen"):
        load_settings({}).tick_seconds = 2


def test_the_defaults_live_in_the_data_directory(tmp_path: Path) -> None:
    """Surfaces section 1: every command given the same one sees the same jobs."""
    settings = load_settings({"data_dir": tmp_path})
    assert settings.database == f"sqlite:///{tmp_path}/orchestrator.db"
    assert settings.archive == (tmp_path / "archive").as_uri()
    assert {settings.journal_dir.parent, settings.spool_dir.parent} == {tmp_path}
    assert load_settings({"archive_url": str(tmp_path / "a")}).archive == (tmp_path / "a").as_uri()
    assert load_settings({"archive_url": "s3://bucket/p"}).archive == "s3://bucket/p"


def test_a_secret_key_that_can_be_guessed_is_refused_and_not_repeated() -> None:
    """It seals secrets; a word is no key. Promise 13: the refusal does not show it."""
    with pytest.raises(ConfigError, match="32 characters") as caught:
        load_settings({"secret_key": "canary" + " " * 40})
    assert caught.value.setting == f"{PREFIX}SECRET_KEY"
    assert "canary" not in str(caught.value)
    assert load_settings({"secret_key": "k" * 32}).secret_key is not None


def test_no_internal_address_is_allowed_unless_it_is_listed() -> None:
    """Promise 12: EGRESS_ALLOW is empty by default."""
    assert load_settings({}).egress_allow == ()
