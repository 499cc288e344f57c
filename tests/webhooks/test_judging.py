"""A webhook is judged before anything is paid: by its URL, and by whether its events could be signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import load_settings
from orchestrator.domain.errors import ConfigError, RequestError
from orchestrator.wiring import make_link_judge, webhook_judge

KEY = "the key of an installation, of chance enough"
SERVER = "postgresql://db.example/orchestrator"


def test_an_internal_address_is_refused(tmp_path: Path) -> None:
    """H18: by its spelling, before anybody is called; nothing is written for it."""
    judge = webhook_judge(load_settings({"data_dir": tmp_path}))
    judge("https://hooks.example/x")
    with pytest.raises(RequestError, match="internal"):
        judge("http://127.0.0.1/")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "entry"),
    [("http://127.0.0.1/a.png?token=c4n4ry", "127.0.0.1"), ("https://files.example:9000/a.png", "files.example:9000")],
)
def test_a_links_refusal_names_what_to_list(tmp_path: Path, url: str, entry: str) -> None:
    """H15: the host and the setting, and nothing else of the link."""
    judge = make_link_judge(load_settings({"data_dir": tmp_path}))
    with pytest.raises(RequestError) as caught:
        judge(url)
    assert f"adds {entry} to ORCHESTRATOR_EGRESS_ALLOW" in (caught.value.hint or "")
    assert "c4n4ry" not in f"{caught.value}{caught.value.hint}"
    make_link_judge(load_settings({"data_dir": tmp_path, "egress_allow": (entry,)}))(url)


def test_a_link_that_no_list_would_let_pass_is_to_be_written_anew(tmp_path: Path) -> None:
    """H15: an odd spelling is refused whatever is listed, so no list is named."""
    with pytest.raises(RequestError) as caught:
        make_link_judge(load_settings({"data_dir": tmp_path}))("http://0x7f.1/")
    assert caught.value.hint == "name the file instead, or write the link as https://host/path"


def test_nothing_is_promised_that_cannot_be_signed(tmp_path: Path) -> None:
    """On a shared database a webhook without ORCHESTRATOR_SECRET_KEY would wait for ever."""
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        webhook_judge(load_settings({"data_dir": tmp_path, "database_url": SERVER}))("https://hooks.example/x")
    webhook_judge(load_settings({"data_dir": tmp_path, "database_url": SERVER, "secret_key": KEY}))(
        "https://hooks.example/x"
    )
