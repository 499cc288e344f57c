"""The console in a real browser: what a person does in it, what a hostile prompt cannot, and what axe finds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from tests.fixtures.browser import CHROMIUM
from tests.fixtures.processes import die_with_parent, stop

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(240)]

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
HOSTILE = (
    "</p><script>document.title='owned'</script><img src=https://evil.example/x onerror=document.title='gone'> \" ' <b>"
)
EXPECTED = ("400 (Bad Request)", "404 (Not Found)", "username fields")
"""What the browser says of a query that cannot be read, of a page that is not there, and of a login without a name."""
CUT_OFF = """width => [...document.querySelectorAll('nav a, .card')]
    .filter(one => one.getBoundingClientRect().right > width || one.scrollWidth > one.clientWidth + 1)
    .map(one => one.textContent.trim().slice(0, 40))"""
"""What a person would have to scroll sideways for."""
SERIOUS = ("serious", "critical")


@dataclass
class Place:
    """A running installation with jobs in every state, and a browser to look at it."""

    url: str
    key: str
    sandbox: RunningSandbox
    browser: Browser
    jobs: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def page(self, *, is_dark: bool = False, width: int = 1280) -> Iterator[Page]:
        """Give a page of somebody who has logged in; whatever the browser complains of fails the test."""
        scheme: Any = "dark" if is_dark else "light"
        context = self.browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        page, said = context.new_page(), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{self.url}/console/")
        page.get_by_label("Key").fill(self.key)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Overview").wait_for()
        yield page
        context.close()
        assert [line for line in said if not any(words in line for words in EXPECTED)] == []

    def open(self, page: Page, name: str) -> None:
        page.goto(f"{self.url}/console/jobs/{self.jobs[name]}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        raise pytest.UsageError("no Chromium on this machine: scripts/install_chromium.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Place]:
    """Give an installation: a film, a picture, a refused job, a hostile one, two held ones."""
    folder = tmp_path_factory.mktemp("console")
    with start(SandboxOptions(seed=5, speed=20.0)) as sandbox, serving(folder, sandbox) as (url, key):
        place = Place(url, key, sandbox, browser)
        make(place, "film", "video", model="viduq1-text", prompt="A red kite turns slowly over green hills")
        make(place, "icon", "image", model="cogview-4-250304", prompt="A red paper kite", size="512x512")
        make(place, "hostile", "image", model="cogview-4-250304", prompt=HOSTILE, size="512x512")
        with faults(sandbox, {"fault": "content_policy", "times": 1}):
            make(place, "refused", "video", model="viduq1-text", prompt="Something")
        with faults(sandbox, {"fault": "lost_answer", "times": 2}):
            make(
                place, "lost", "video", model="vidu2-image", prompt="A boat", image_url="https://pictures.example/a.png"
            )
            make(place, "gone", "image", model="cogview-4-250304", prompt="A boat", size="512x512")
        yield place


@contextmanager
def serving(folder: Path, sandbox: RunningSandbox) -> Iterator[tuple[str, str]]:
    """Run `up` on the simulator; give its address and key."""
    settings = {
        "ORCHESTRATOR_DATA_DIR": str(folder / "data"),
        "ORCHESTRATOR_ZAI_BASE_URL": sandbox.base_url,
        "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
        "ORCHESTRATOR_EGRESS_ALLOW": f"{sandbox.host_port},127.0.0.1:9",
        "ORCHESTRATOR_TICK_SECONDS": "0.1",
        "ORCHESTRATOR_POLL_INTERVALS": "video=0.1..0.5",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "up", "--port", "0", "-o", "jsonl"],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no thread runs yet
        )
    try:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        yield started["url"], started["key"]
    finally:
        stop(process)
        process.communicate()


@contextmanager
def faults(sandbox: RunningSandbox, *rules: dict[str, object]) -> Iterator[None]:
    root = f"http://{sandbox.host_port}/_sandbox/faults"
    httpx.put(root, json=list(rules), trust_env=False).raise_for_status()
    yield
    httpx.put(root, json=[], trust_env=False).raise_for_status()


def make(place: Place, name: str, kind: str, **body: object) -> None:
    """Have a job made and wait for it to come to rest."""
    headers = {"Authorization": f"Bearer {place.key}", "Prefer": "wait=60"}
    asked = {"kind": kind, "custom_id": name, "body": body}
    answer = httpx.post(f"{place.url}/v1/jobs", headers=headers, json=asked, timeout=90, trust_env=False)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] in ("succeeded", "failed", "needs_review"), answer.text
    place.jobs[name] = answer.json()["id"]


@contextmanager
def attacking(targets: list[str]) -> Iterator[str]:
    """Serve a page on a port of its own that does to the targets what another site can; give its address."""
    forms = "".join(f'<form method="post" action="{target}"><button>go</button></form>' for target in targets)
    script = """
        const answers = await Promise.all(targets.flatMap(target => [
            fetch(target, {method: 'POST', credentials: 'include', headers: {'X-CSRF-Token': '0'}}),
            fetch(target, {method: 'POST', credentials: 'include', body: new URLSearchParams({csrf: '0'})}),
        ].map(asked => asked.then(() => 1, () => 0))))
        const seen = answers.reduce((sum, one) => sum + one, 0)
        document.title = `done ${seen} of ${answers.length} could be read`
    """
    images = "".join(f'<img src="{target}" alt="">' for target in targets)
    text = f"<title>x</title>{forms}{images}<script type=module>const targets = {json.dumps(targets)};{script}</script>"

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def noting(into: list[str]) -> Callable[[str], None]:
    """Return a function that a page can call: the browser's side takes no bound method."""

    def note(words: str) -> None:
        into.append(words)

    return note


def test_from_the_query_to_the_film(place: Place) -> None:
    """Log in, ask for what succeeded, open the job, and the film plays."""
    with place.page() as page:
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_label("Query").fill("status:succeeded kind:video")
        page.get_by_role("button", name="Search").click()
        assert "q=status%3Asucceeded+kind%3Avideo" in page.url
        page.get_by_role("link", name="film").click()
        page.get_by_text("archived and verified").first.wait_for()
        moved = "async v => { v.muted = true; await v.play(); await new Promise(done => v.ontimeupdate = () => v.currentTime > 0 && done()); return v.currentTime }"
        assert page.locator("video").evaluate(moved) > 0


def test_a_query_with_a_mistake(place: Place) -> None:
    """The place is pointed at, and the query can be mended where it stands."""
    with place.page() as page:
        page.goto(f"{place.url}/console/jobs?q=status%3Afialed")
        assert "did you mean failed?" in page.get_by_role("alert").inner_text()
        assert page.get_by_label("Query").input_value() == "status:fialed"


def test_a_failed_job_is_retried(place: Place) -> None:
    """The price is agreed to, and the page follows the job to its end by itself."""
    with place.page() as page:
        place.open(page, "refused")
        page.get_by_label("I agree to a new charge").check()
        page.get_by_role("button", name="Retry").click()
        page.get_by_role("status").filter(has_text="It goes on").wait_for()
        page.locator("video").wait_for(timeout=60_000)


def test_a_held_job_is_settled(place: Place) -> None:
    """Written off from the review queue, with a reason that its history keeps."""
    with place.page() as page:
        page.get_by_role("link", name="Review", exact=True).click()
        card = page.locator("article", has=page.get_by_role("link", name="gone"))
        card.get_by_text("Write off", exact=True).first.click()
        form = card.locator("form", has=page.get_by_role("button", name="Write off"))
        form.get_by_label("Why").fill("made by hand instead")
        form.get_by_role("button", name="Write off").click()
        page.get_by_role("status").wait_for()
        assert page.get_by_role("link", name="gone").count() == 0
        place.open(page, "gone")
        page.get_by_text("made by hand instead", exact=True).wait_for()


def test_a_delivery_is_sent_again(place: Place) -> None:
    """An endpoint is added, a test to it fails, and the delivery is made due again."""
    with place.page() as page:
        page.goto(f"{place.url}/console/webhooks")
        page.get_by_text("Add an endpoint", exact=True).click()
        page.get_by_label("URL").fill("http://127.0.0.1:9/hook")
        page.get_by_role("button", name="Add it").click()
        page.get_by_text(re.compile("^whsec_")).wait_for()
        page.get_by_role("link", name="http://127.0.0.1:9/hook").click()
        page.get_by_role("button", name="Send a test event").click()
        page.get_by_role("button", name="Resend").first.click()
        page.get_by_text("It is due again").wait_for()


def test_hostile_prompts_are_inert(place: Place) -> None:
    """I6: nothing runs, no dialog opens, nothing is asked of elsewhere, the policy has nothing to report."""
    with place.page() as page:
        asked, reported = list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: reported.append(dialog.message))
        page.expose_function("report", noting(reported))
        page.add_init_script("document.addEventListener('securitypolicyviolation', e => report(e.violatedDirective))")
        for path in ("/", "/jobs", f"/jobs/{place.jobs['hostile']}", "/batches", "/audit"):
            page.goto(f"{place.url}/console{path}")
            page.wait_for_load_state("networkidle")
            assert "orchestrator" in page.title()
        assert reported == []
        assert [url for url in asked if not url.startswith(place.url)] == []


def test_another_site_changes_nothing(place: Place) -> None:
    """I7: a page on another port, which the browser counts to the same site and gives the cookie: forms, fetch and images
    against every way to change something.
    """
    paths = [f"/jobs/{place.jobs['lost']}/write_off", "/webhooks", "/keys", "/models/vidu2-image/pause", "/logout"]
    api = [f"{place.url}/v1/jobs/{place.jobs['lost']}/write_off", f"{place.url}/v1/jobs"]
    headers = {"Authorization": f"Bearer {place.key}"}
    log = f"{place.url}/v1/audit_log"
    before = httpx.get(log, headers=headers, trust_env=False).json()["data"]
    with place.page() as page, attacking([*(f"{place.url}/console{path}" for path in paths), *api]) as attack:
        statuses = list[int]()
        foreign = page.context.new_page()
        foreign.on("response", lambda response: statuses.append(response.status))
        foreign.goto(attack)
        foreign.wait_for_function("() => document.title.startsWith('done')")
        assert foreign.title() == f"done 0 of {2 * len(paths) + 2 * len(api)} could be read"
        for form in range(len(paths)):
            foreign.goto(attack)
            foreign.locator("form").nth(form).locator("button").click()
            foreign.get_by_text("this was not asked for on a page of this console").wait_for()
        assert statuses.count(403) >= len(paths)
        page.reload()
        page.get_by_role("heading", name="Overview").wait_for()
    assert httpx.get(log, headers=headers, trust_env=False).json()["data"] == before
    job = httpx.get(f"{place.url}/v1/jobs/{place.jobs['lost']}", headers=headers, trust_env=False).json()
    assert job["status"] == "needs_review"


def test_the_policy_would_stop_what_escaping_let_through(place: Place) -> None:
    """What the test above relies on: a script that gets in all the same is refused, and that is seen."""
    context = place.browser.new_context()
    page = context.new_page()
    reported = list[str]()
    page.expose_function("report", noting(reported))
    page.add_init_script("document.addEventListener('securitypolicyviolation', e => report(e.violatedDirective))")
    page.goto(f"{place.url}/console/login")
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s) }"
    )
    page.wait_for_function("() => true")
    assert page.title() != "1"
    assert any("script-src" in directive for directive in reported)
    context.close()


def test_by_keyboard_alone(place: Place) -> None:
    """The first key leads past the navigation; what has the focus can be seen."""
    with place.page() as page:
        page.goto(f"{place.url}/console/jobs")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "q"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize(("is_dark", "width"), [(False, 1280), (True, 1280), (False, 390)])
def test_axe_finds_nothing_serious(place: Place, *, is_dark: bool, width: int) -> None:
    """On every page, light, dark and as wide as a phone; and no page is wider than the screen."""
    source = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    found: list[tuple[str, str, str]] = []
    with place.page(is_dark=is_dark, width=width) as page:
        batch_id = httpx.get(
            f"{place.url}/v1/batches", headers={"Authorization": f"Bearer {place.key}"}, trust_env=False
        ).json()["data"][-1]["id"]
        jobs = tuple(f"/jobs/{place.jobs[name]}" for name in ("film", "hostile", "refused", "lost"))
        for path in ("/", "/jobs", "/jobs?q=status%3Ax", *jobs, "/review", "/batches", f"/batches/{batch_id}", *REST):
            page.goto(f"{place.url}/console{path}")
            page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": source})  # as no page may
            result = page.evaluate("axe.run()")
            assert len(result["passes"]) > 10, path
            found += [
                (path, one["id"], one["nodes"][0]["html"]) for one in result["violations"] if one["impact"] in SERIOUS
            ]
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.evaluate(CUT_OFF, width) == [], path
    assert found == []


REST = ("/models", "/webhooks", "/usage", "/keys", "/audit", "/bulk/retry?q=status%3Afailed", "/nowhere", "/login")
