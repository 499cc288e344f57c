"""Links to results: signed, expiring, with ranges, and treacherous on demand (zai-api.md 4.7, surfaces.md 6)."""

import socket
from collections.abc import Iterator
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from orchestrator.sandbox import SandboxOptions
from tests.sandbox.conftest import Caller, StartSandbox

DAY = 86_400
GLM_IMAGE = {"model": "glm-image", "path": "/async/images/generations"}
SMALL = {"model": "cogvideox-2", "size": "720x480"}


def image_link(api: Caller) -> str:
    url: str = api.image(size="512x512").json()["data"][0]["url"]
    return url


def video_links(api: Caller, **fields: object) -> dict[str, str]:
    result: dict[str, str] = api.finished(**{**SMALL, **fields})["video_result"][0]
    return result


def test_how_links_are_signed(api: Caller) -> None:
    """Pictures and covers: Expires. Vidu videos: X-Amz-Date and X-Amz-Expires. CogVideoX videos: nothing."""
    picture = parse_qs(urlsplit(image_link(api)).query)
    assert {"UCloudPublicKey", "Signature", "Expires"} == set(picture)
    cogvideo = video_links(api)
    assert urlsplit(cogvideo["url"]).query == ""
    assert int(parse_qs(urlsplit(cogvideo["cover_image_url"]).query)["Expires"][0]) > 6 * DAY
    vidu = parse_qs(urlsplit(video_links(api, model="viduq1-text", size=None)["url"]).query)
    assert vidu["X-Amz-Expires"] == [str(DAY)]
    assert vidu["X-Amz-Date"][0].endswith("Z")


@pytest.mark.parametrize("role", ["url", "cover_image_url"])
@pytest.mark.parametrize("model", ["cogvideox-2", "viduq1-text"])
def test_links_answer_403_after_their_life(api: Caller, model: str, role: str) -> None:
    link = video_links(api, model=model, size=None)[role]
    life = DAY if role == "url" else 7 * DAY
    api.advance(life - 120)
    assert api.client.head(link).status_code == 200
    api.advance(180)
    for method in ("GET", "HEAD"):
        assert api.client.request(method, link).status_code == 403


def test_picture_links_live_one_day_by_default_and_as_long_as_they_are_told(api: Caller) -> None:
    first = image_link(api)
    api.put("options", {"link_life_seconds": {"image": 7 * DAY}})
    second = image_link(api)
    api.advance(2 * DAY)
    assert [api.client.head(link).status_code for link in (first, second)] == [403, 200]


def test_a_later_poll_signs_afresh(api: Caller) -> None:
    task_id = api.post("/async/images/generations", {"model": "glm-image", "prompt": "x"}).json()["id"]
    links = []
    api.put("options", {"result_variant": "documented"})
    for _ in range(2):
        api.advance(2 * DAY)
        links.append(api.poll(task_id).json()["image_result"][0]["url"])
    assert [api.client.head(link).status_code for link in links] == [403, 200]


def test_links_can_be_signed_once_for_all(api: Caller) -> None:
    """Section 4.6 does not say which it is; with the switch off an expired link stays dead."""
    api.put("options", {"links_resigned_per_poll": False, "result_variant": "documented"})
    task_id = api.post("/async/images/generations", {"model": "glm-image", "prompt": "x"}).json()["id"]
    links = []
    for _ in range(2):
        api.advance(2 * DAY)
        links.append(api.poll(task_id).json()["image_result"][0]["url"])
    assert links[0] == links[1]
    assert api.client.head(links[0]).status_code == 403


def test_tampering_is_403_and_other_names_are_404(api: Caller) -> None:
    link = image_link(api)
    longer = link.replace("Expires=", "Expires=9")
    unsigned = link.partition("?")[0]
    other = unsigned.replace("/image/", "/video/")
    statuses = [api.client.get(url).status_code for url in (longer, unsigned, other, unsigned + "x")]
    assert statuses == [403, 403, 404, 404]


def test_ranges_and_strong_etags(api: Caller) -> None:
    link = image_link(api)
    whole = api.client.get(link)
    head = api.client.head(link)
    assert head.content == b""
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.content))
    assert head.headers["etag"] == whole.headers["etag"]
    assert whole.headers["etag"].startswith('"')
    size = len(whole.content)
    for asked, begin, end in (("0-9", 0, 10), ("10-", 10, size), ("-5", size - 5, size), ("5-999999999", 5, size)):
        part = api.client.get(link, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, whole.content[begin:end])
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
    assert api.client.get(link, headers={"Range": f"bytes={size}-"}).status_code == 416
    changed = api.client.get(link, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (changed.status_code, len(changed.content)) == (200, size)


@pytest.mark.parametrize("status", [None, 403, 404, 410])
def test_dead_link(api: Caller, status: int | None) -> None:
    link = image_link(api)
    api.put("faults", [{"fault": "dead_link", "status": status, "times": 1}])
    assert [api.client.get(link).status_code for _ in range(2)] == [status or 403, 200]


def test_one_kind_of_file_can_be_struck_by_its_path(api: Caller) -> None:
    links = video_links(api)
    api.put("faults", [{"fault": "dead_link", "path": "/_files/cover"}])
    assert [api.client.head(links[name]).status_code for name in ("url", "cover_image_url")] == [200, 403]


def test_truncated_announces_more_than_it_sends(api: Caller) -> None:
    link = image_link(api)
    api.put("faults", [{"fault": "truncated", "times": 1}, {"fault": "truncated", "reason": "no_length", "bytes": 100}])
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        api.client.get(link)
    silent = api.client.get(link)
    assert (silent.status_code, len(silent.content)) == (200, 100)
    assert "content-length" not in silent.headers


def test_bodies_that_are_something_else(api: Caller) -> None:
    links = video_links(api)
    api.put("faults", [{"fault": "html_body", "times": 1}, {"fault": "html_body", "reason": "video/mp4", "times": 1},
                       {"fault": "wrong_type", "times": 1}, {"fault": "zero_bytes", "times": 1}])  # fmt: skip
    html, disguised, wrong, nothing = (api.client.get(links["url"]) for _ in range(4))
    assert (html.status_code, html.headers["content-type"]) == (200, "text/html")
    assert disguised.headers["content-type"] == "video/mp4"
    assert html.content == disguised.content
    assert b"<html>" in html.content
    assert wrong.content.startswith(b"\x89PNG")
    assert wrong.headers["content-type"] == "video/mp4"
    assert (nothing.status_code, nothing.content) == (200, b"")


def test_redirects_lead_nowhere_or_where_the_rule_says(api: Caller) -> None:
    link = image_link(api)
    api.put(
        "faults", [{"fault": "redirect", "times": 1}, {"fault": "redirect", "status": 307, "reason": "file:///etc"}]
    )
    first, second = (api.client.get(link, follow_redirects=False) for _ in range(2))
    assert first.status_code == 302
    assert first.headers["location"].startswith("http://127.0.0.1:9/")
    assert (second.status_code, second.headers["location"]) == (307, "file:///etc")


def test_drip_sends_drops_with_pauses(api: Caller) -> None:
    """The first drop comes, the second waits for the sandbox's clock; then another, and so on."""
    link = image_link(api)
    api.put("faults", [{"fault": "drip", "bytes": 3, "seconds": 50}])
    with api.client.stream("GET", link) as answer:
        drops = answer.iter_raw()
        received = next(drops)
        assert received == b"\x89PN"
        assert int(answer.headers["content-length"]) > 3
        api.advance(51)
        assert next(drops) == b"G\r\n"


def test_endless_goes_on_beyond_the_file(api: Caller) -> None:
    link = image_link(api)
    size = int(api.client.head(link).headers["content-length"])
    api.put("faults", [{"fault": "endless"}])
    with api.client.stream("GET", link) as answer:
        received = sum(map(len, islice(pieces(answer), 60)))
    assert received > size + 1_000_000


def pieces(answer: httpx.Response) -> Iterator[bytes]:
    yield from answer.iter_raw(65536)


@pytest.mark.parametrize("fault", ["reset", "lost_answer", "hang", "server_error", "bad_gateway"])
def test_links_know_the_faults_of_answers_too(api: Caller, fault: str) -> None:
    link = image_link(api)
    api.put("faults", [{"fault": fault, "phase": "link", "seconds": 0.01, "times": 1}])
    try:
        expected = {"server_error": 500, "bad_gateway": 502, "hang": 200}
        assert api.client.get(link).status_code == expected[fault]
    except (httpx.RemoteProtocolError, httpx.ReadError):
        assert fault in ("reset", "lost_answer")
    assert api.client.get(link).status_code == 200


def test_links_are_written_for_the_address_that_was_called(started: StartSandbox) -> None:
    """A caller who came by another name of this host gets links he can follow; a bad name falls back."""
    api = started(SandboxOptions(speed=1000))
    host, port = api.sandbox.host_port.split(":")
    headers = {"Authorization": "Bearer a.b"}
    body = {"model": "cogview-4", "prompt": "x"}
    named = api.client.post(f"http://localhost:{port}/api/paas/v4/images/generations", json=body, headers=headers)
    assert named.json()["data"][0]["url"].startswith(f"http://localhost:{port}/_files/")
    odd = api.post("/images/generations", body, headers={**headers, "Host": "a b"})
    assert odd.json()["data"][0]["url"].startswith(f"http://{host}:{port}/_files/")
    assert socket.gethostbyname("localhost") == host
