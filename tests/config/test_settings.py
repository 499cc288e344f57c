"""Settings: order of the sources, errors that name the setting, secrets that do not show."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.config import PREFIX, load_settings, parse_duration
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
