"""`batches gallery`: one page that opens from disk, whatever somebody wrote into a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start

HOSTILE = "</p><script>document.title='owned'</script><img src=https://evil.example/x onerror=document.title='gone'> \" ' & <b>"
LINES = (
    {"custom_id": "<i>film</i>", "kind": "video", "body": {"model": "viduq1-text", "prompt": HOSTILE}},
    {
        "custom_id": "picture",
        "kind": "image",
        "body": {"model": "cogview-4-250304", "prompt": HOSTILE, "size": "512x512"},
    },
    {"custom_id": "refused", "kind": "video", "body": {"model": "cogvideox-3", "prompt": HOSTILE}},
    {"custom_id": "talk", "kind": "transcription", "body": {"model": "glm-asr-2512", "file": "kite.wav"}},
)
ALLOWED = {
    *("html", "head", "meta", "link", "title", "style", "body", "header", "h1", "p", "main", "article", "h2", "span"),
    *("a", "img", "video", "blockquote", "br", "b"),
}
TALK = Path(__file__).parents[2] / "examples" / "speech" / "kite.wav"


class Page(HTMLParser):
    """What a browser would make of the page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def addresses(self) -> list[str]:
        """Return everything that the page would load or lead to."""
        return [a[name] for _, a in self.elements for name in ("src", "href", "poster") if name in a]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the settings of a data directory with a batch of every kind, one line of it refused."""
    (tmp_path / "kite.wav").write_bytes(TALK.read_bytes())
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    script = tmp_path / "script.json"
    faults = [{"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"}]
    script.write_text(json.dumps({"faults": faults}))
    with start(SandboxOptions(seed=5, speed=50.0, script=script)) as sandbox:
        settings = settings_of(tmp_path, sandbox)
        assert call(settings, "run", str(tmp_path / "jobs.jsonl")).exit_code == 3
        yield settings


def settings_of(folder: Path, provider: RunningSandbox) -> dict[str, str]:
    return {
        "ORCHESTRATOR_DATA_DIR": str(folder / "data"),
        "ORCHESTRATOR_ZAI_BASE_URL": provider.base_url,
        "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
        "ORCHESTRATOR_EGRESS_ALLOW": provider.host_port,
        "ORCHESTRATOR_TICK_SECONDS": "0.1",
        "ORCHESTRATOR_POLL_INTERVALS": "video=0.1..0.5",
    }


def call(settings: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings)


def make_page(settings: dict[str, str], path: Path, *options: str) -> str:
    """Draw the gallery of the only batch; return the page."""
    (line,) = call(settings, "batches", "list", "-o", "jsonl").stdout.splitlines()
    made = call(settings, "batches", "gallery", json.loads(line)["id"], "-o", str(path), *options)
    assert (made.exit_code, made.stdout.strip()) == (0, str(path)), made.stderr
    return path.read_text()


def test_nothing_that_somebody_wrote_is_more_than_text(settings: dict[str, str], tmp_path: Path) -> None:
    """Hostile prompts and names make no element and no attribute; the whole prompt is read all the same."""
    page = Page(make_page(settings, tmp_path / "gallery.html"))
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) == 3
    assert "<i>film</i>" in page.text


def test_every_file_is_found_from_where_the_page_is(settings: dict[str, str], tmp_path: Path) -> None:
    """Relative paths that exist, and no address of anybody else; players, pictures, words, trouble and cost are there."""
    folder = tmp_path / "a b"
    folder.mkdir()
    page = Page(make_page(settings, folder / "gallery.html"))
    addresses = [address for address in page.addresses() if address != "data:,"]
    assert len(addresses) >= 4
    assert all((folder / unquote(address)).is_file() for address in addresses)
    assert {"video", "img", "blockquote"} <= {tag for tag, _ in page.elements}
    assert "content_policy" in page.text
    assert "0.40 USD" in page.text
    assert list(folder.iterdir()) == [folder / "gallery.html"]


def test_the_policy_names_the_style_and_lets_no_script_run(settings: dict[str, str], tmp_path: Path) -> None:
    """Whatever slipped through could neither run nor call home."""
    page = Page(make_page(settings, tmp_path / "gallery.html"))
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_small_pictures_go_into_the_page(settings: dict[str, str], tmp_path: Path) -> None:
    """--embed: such a page can be sent on without the archive."""
    page = Page(make_page(settings, tmp_path / "gallery.html", "--embed"))
    (picture,) = (a["src"] for tag, a in page.elements if tag == "img")
    assert picture.startswith("data:image/")


def test_a_page_goes_to_stdout_or_into_a_folder_that_is_there(settings: dict[str, str], tmp_path: Path) -> None:
    """`-o -` prints the page and writes no file; a missing folder is a word and exit 2."""
    page = make_page(settings, tmp_path / "gallery.html")
    (line,) = call(settings, "batches", "list", "-o", "jsonl").stdout.splitlines()
    batch_id = json.loads(line)["id"]
    printed = call(settings, "batches", "gallery", batch_id, "-o", "-")
    assert printed.exit_code == 0
    assert len(Page(printed.stdout).addresses()) == len(Page(page).addresses())
    assert not Path("-").exists()
    missing = call(settings, "batches", "gallery", batch_id, "-o", str(tmp_path / "none" / "gallery.html"))
    assert (missing.exit_code, "there is no folder" in missing.stderr) == (2, True)


def test_a_page_replaces_a_page_and_no_other_file(settings: dict[str, str], tmp_path: Path) -> None:
    """A page can be made again; what else lies there is not ours: exit 2, and not a byte of it is changed."""
    page = tmp_path / "gallery.html"
    first = make_page(settings, page)
    assert Page(make_page(settings, page, "--embed")).text.startswith(Page(first).text[:20])
    (line,) = call(settings, "batches", "list", "-o", "jsonl").stdout.splitlines()
    batch_id = json.loads(line)["id"]
    notes, dangling = tmp_path / "notes.html", tmp_path / "dangling.html"
    notes.write_text("<!doctype html>\nmine")
    dangling.symlink_to(tmp_path / "elsewhere.html")
    for path in (notes, dangling, Path("/dev/null")):
        refused = call(settings, "batches", "gallery", batch_id, "-o", str(path))
        assert (refused.exit_code, f"{path} is there and is no page of ours" in refused.stderr) == (2, True)
    assert notes.read_text() == "<!doctype html>\nmine"
    assert dangling.is_symlink()


def test_what_came_to_nothing_says_why_and_what_to_do(tmp_path: Path) -> None:
    """Held, failed and cancelled lines have a card each, with the reason, the advice, and no player."""
    script = tmp_path / "script.json"
    refused = {"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"}
    lost = {"fault": "lost_answer", "phase": "submit", "model": "viduq1-text"}
    script.write_text(json.dumps({"faults": [refused, lost]}))
    lines = [{**LINES[0], "custom_id": "held"}, {**LINES[2], "custom_id": "failed"}]
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with start(SandboxOptions(seed=5, speed=50.0, script=script)) as sandbox:
        settings = settings_of(tmp_path, sandbox)
        assert call(settings, "run", str(path)).exit_code == 3
        page = make_page(settings, tmp_path / "gallery.html")
        path.write_text(json.dumps({**LINES[0], "custom_id": "stopped"}) + "\n")
        stopped = json.loads(call(settings, "batches", "submit", str(path), "-o", "json").stdout)["id"]
        assert call(settings, "batches", "cancel", stopped, "--yes").exit_code == 0
        made = call(settings, "batches", "gallery", stopped, "-o", str(tmp_path / "stopped.html"))
        assert made.exit_code == 0
    cards = {card.partition(" <span")[0].rpartition(">")[2]: card for card in page.split("<article ")[1:]}
    for name, state, word in (("held", "needs_review", "held"), ("failed", "failed", "failed")):
        card = cards[name]
        assert card.startswith(f'class="{state}"')
        assert f'<span class="state">{word}</span>' in card
        assert "<br>" in card.partition('class="trouble"')[2].partition("</p>")[0]
        assert "<video" not in card
    text = Page((tmp_path / "stopped.html").read_text()).text
    assert "cancelled" in text
    assert "jobs retry" in text
