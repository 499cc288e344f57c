"""What the pages show: headers on every answer, hostile text as text, queries and their faults, lines that can be typed."""

from __future__ import annotations

import html
import re
import shlex

import pytest

from orchestrator.console.routes.jobs import PAGE_SIZE
from orchestrator.domain.outcomes import ArchiveStep, OutputStored
from orchestrator.domain.ports import LaneName
from orchestrator.domain.thumbnails import Thumbnail
from tests.console.conftest import Console, Person
from tests.factories import make_file
from tests.repo.test_documents import parse_command

HOSTILE = "</p><script>document.title='owned'</script><img src=x onerror=alert(1)> \" ' & <b>{{ 7 * 7 }}"
PAGES = ("/", "/overview/live", "/jobs", "/review", "/batches", "/models", "/webhooks", "/usage", "/keys", "/audit")


def lines_of(page: str) -> list[str]:
    """Return the command lines that a page offers."""
    found = re.search(r'<aside class="cli".*?</aside>', page, re.DOTALL)
    return [html.unescape(line) for line in re.findall(r"<code[^>]*>(.*?)</code>", found[0])] if found else []


def pages_of(console: Console) -> dict[str, tuple[str, Person]]:
    """Return the addresses of pages with somebody who may see them."""
    admin = console.person("admin")
    held = console.driver.add_held(custom_id="held one")
    done = console.driver.add_succeeded(custom_id="it's done")
    paths = (*PAGES, f"/jobs/{held.id}", f"/jobs/{done.id}", f"/batches/{done.batch_id}", "/jobs?q=status%3Afialed")
    more = ("/jobs?q=%22red+kite%22+-status%3Afailed", "/bulk/cancel?q=status%3Aactive", "/nowhere", "/login")
    return {
        path: (path, admin)
        for path in (*paths, *more, f"/batches/{done.batch_id}/retry", f"/jobs/{held.id}/live?state=x")
    }


def test_pages_show_thumbnails_in_place_of_films(console: Console) -> None:
    """A film's player has its poster, the overview the small picture; without one the film itself is shown."""
    driver, person = console.driver, console.person("viewer", "*")
    plain = driver.add_succeeded()
    page = person.get(f"/jobs/{plain.id}").text
    assert "<video" in page
    assert "poster=" not in page
    job = driver.add_archiving(task_id="task-2")
    held = driver.hold(LaneName.ARCHIVE, job.id)
    file = make_file(thumbnail=Thumbnail(900, "b" * 64, 64, 36))
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, file) for output in held.outputs)))
    (output,) = driver.get(job.id).outputs
    address = f"/console/outputs/{output.id}/thumbnail"
    assert f'poster="{address}"' in person.get(f"/jobs/{job.id}").text
    overview = person.get("/").text
    assert f'<img class="made" src="{address}"' in overview
    assert f"/console/outputs/{plain.outputs[0].id}/content" in overview
    assert f"/console/outputs/{plain.outputs[0].id}/thumbnail" not in overview


def test_every_answer_carries_its_headers(console: Console) -> None:
    """No script or style but our files, no frame, no sniffing, nothing kept; redirects, errors and parts included."""
    answers = [person.get(path) for path, person in pages_of(console).values()]
    stranger = console.stranger()
    answers += [stranger.get("/"), stranger.get("/login"), stranger.post("/jobs/x/cancel"), stranger.log_in("x")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_no_page_holds_what_its_policy_forbids(console: Console) -> None:
    """No inline script, no handler, no style attribute, nothing from elsewhere."""
    for path, person in pages_of(console).values():
        page = person.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)", page), path
        assert not re.search(r"<[^>]*\son\w+=", page), path
        assert not re.search(r"<style|<[^>]*\sstyle=", page), path
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page), path


def test_hostile_text_stays_text(console: Console) -> None:
    """I6: in a prompt, a name, a tag, a reason, an answer: on every page that shows them, escaped and never a template."""
    job = console.driver.add_held(
        custom_id=HOSTILE[:128], input={"prompt": HOSTILE}, tags={HOSTILE[:40]: HOSTILE}, model="viduq1-text"
    )
    admin = console.person("admin")
    assert admin.post(f"/jobs/{job.id}/write_off", reason=HOSTILE).status_code == 303
    for path in ("/", "/jobs", f"/jobs/{job.id}", f"/batches/{job.batch_id}", "/audit", "/usage?by=tag&since="):
        page = admin.get(path).text
        assert "<script>document" not in page, path
        assert "<img src=x" not in page, path
        assert "owned" in page, path
        assert "49" not in re.findall(r"&lt;b&gt;(.{0,12})", page), path


def test_a_query_that_cannot_be_read_is_pointed_at(console: Console) -> None:
    """400, the query as it was, a mark under the character, and what was meant."""
    answer = console.person().get("/jobs?q=kind%3Avideo+status%3Afialed")
    assert answer.status_code == 400
    shown = re.search(r"<pre[^>]*>(.*?)</pre>", answer.text, re.DOTALL)
    assert shown is not None
    query, mark = shown[1].split("\n")
    assert (query, mark.index("^")) == ("kind:video status:fialed", query.index("fialed"))
    assert "did you mean failed?" in answer.text


def test_pages_go_on_behind_each_other(console: Console) -> None:
    """Every job once, newest first, by links that keep the query."""
    ids = console.driver.add_many(PAGE_SIZE + 3)
    person, seen, path = console.person(), [], "/jobs?q=status%3Aqueued"
    while path:
        page = person.get(path).text
        seen += re.findall(r'class="name" href="/console/jobs/(job_\w+)"', page)
        link = re.search(r'href="/console(/jobs\?[^"]*)" rel="next"', page)
        path = html.unescape(link[1]) if link else ""
        assert not path or "q=status%3Aqueued" in path
    assert seen == sorted(ids, reverse=True)


def test_what_a_page_offers_can_be_typed(console: Console) -> None:
    """Every command line of every page names commands and options that there are."""
    count = 0
    for path, person in pages_of(console).values():
        for line in lines_of(person.get(path).text):
            words = shlex.split(line)
            if words[0] == "orchestrator":
                parse_command(words[1:])
                count += 1
    assert count > 25


def test_a_query_is_quoted_for_the_shell(console: Console) -> None:
    """Whatever stands in it, the line is one line and the query one word."""
    hostile = '"a\'b"; rm -rf $HOME `x`\nstatus:failed'
    page = console.person().client.get("/console/jobs", params={"q": hostile}).text
    line = next(line for line in lines_of(page) if "jobs list" in line)
    assert shlex.split(line) == ["orchestrator", "jobs", "list", " ".join(hostile.split())]


def test_the_files_of_pages_are_kept_by_browsers(console: Console) -> None:
    """Each by an address that changes with its content; what is not one of them is not there."""
    stranger = console.stranger()
    page = stranger.get("/login").text
    for address in re.findall(r'"/console(/static/[^"]+)"', page):
        answer = stranger.get(html.unescape(address))
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True), address
    assert stranger.get("/static/../app.py").status_code == 404
    assert stranger.get("/static/htmx.LICENSE.txt").status_code == 404


def test_a_part_that_moved_on_draws_the_page_anew(console: Console) -> None:
    """While the state is the one shown only the part comes; then the browser is told to load the page."""
    job = console.driver.add_processing()
    person = console.person("viewer")
    part = person.get(f"/jobs/{job.id}/live?state=processing", **{"HX-Request": "true"})
    assert (part.status_code, "<html" in part.text, "What happened" in part.text) == (200, False, True)
    assert person.get(f"/jobs/{job.id}/live?state=queued").headers["hx-refresh"] == "true"


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/job_x",
        "/batches/batch_x",
        "/webhooks/we_x",
        "/outputs/out_x/content",
        "/outputs/out_x/thumbnail",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_said_as_a_page(console: Console, path: str) -> None:
    """404 as a page with the request's id, for people."""
    answer = console.person("admin").get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert answer.headers["x-request-id"] in answer.text


def test_console_without_a_slash(console: Console) -> None:
    """What people type leads there."""
    answer = console.stranger().client.get("/console")
    assert (answer.status_code, answer.headers["location"]) == (308, "/console/")
