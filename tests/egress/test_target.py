"""A link is read once, strictly: every spelling that two parsers could read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ConfigError, Permanent
from orchestrator.domain.media import is_suspect
from orchestrator.egress import Allowed, EgressGuard, Target, parse_target
from orchestrator.egress.addresses import is_internal

HOSTILE = [
    # numbers that some parsers take for addresses (M-7)
    "http://0x7f000001/", "http://2130706433/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.1/",
    "http://0x7f.0.0.1/", "http://0x7f.1/", "http://017700000001/", "http://127.0.0.0x1/", "http://0/", "http://0x/",
    "http://1.2.3.4.5/", "http://256.1.1.1/", "http://127.0.0.01/", "http://a.b.1/", "http://4294967297/",
    # plain internal addresses
    "http://127.0.0.1/", "http://127.8.9.1/", "http://0.0.0.0/", "http://10.0.0.1/", "http://172.16.5.4/",
    "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/", "http://168.63.129.16/",
    "http://192.0.0.192/", "http://224.0.0.1/", "http://239.255.255.250/", "http://255.255.255.255/", "http://198.18.0.1/",
    "http://203.0.113.9/", "http://240.0.0.1/", "http://192.88.99.1/",
    # IPv6 that leads inside, much of it "global" to ipaddress (M-7)
    "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::7f00:1]/", "http://[2002:7f00:1::]/", "http://[2001::1]/", "http://[fec0::1]/", "http://[fe80::1]/",
    "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/", "http://[ff0e::1]/", "http://[2001:db8::1]/",
    "http://[100::1]/", "http://[5f00::1]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[0:0:0:0:0:0:0:1]/",
    "http://[2606:4700::5efe:10.0.0.1]/", "http://[2606:4700::200:5efe:127.0.0.1]/",
    # names for this machine and this network
    "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://a.localhost/", "http://redis/", "http://metadata/",
    "http://good.example./", "http://127.0.0.1./",
    # user names, fragments, backslashes, encodings
    "http://good.example@127.0.0.1/", "http://127.0.0.1@good.example/", "http://user:pass@good.example/",
    "http://good.example#@127.0.0.1/", "http://127.0.0.1#@good.example/", "http://good.example/#", "http://good.example\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\", "http://127.0.0.1%2f@good.example/", "http://%31%32%37.0.0.1/", "http://127%2e0%2e0%2e1/",
    "http://good.example%00.internal/", "http://good.example%2523@127.0.0.1/",
    # dots and letters from elsewhere
    "http://127\u30020\u30020\u30021/", "http://127\uff0e0\uff0e0\uff0e1/", "http://localhost\uff61/",
    "http://\uff11\uff12\uff17.0.0.1/", "http://\u2460\u2461\u2466.0.0.1/", "http://ex\u00e4mple.com/", "http://good.ex\u0430mple/",
    "http://\u212aube.example/", "http://good.\u017fe/",
    # white space, line ends, control characters
    "http://good.example/\r\nHost: 127.0.0.1", "http://good.example\r\n/", "http://good.exa\tmple/", " http://good.example/",
    "http://good.example/ ", "http://good.example/\x00", "http://good.example/\u2028", "http://good.example/a b",
    # ports
    "http://good.example:22/", "http://good.example:6379/", "http://good.example:99999/", "http://good.example:0/",
    "http://good.example:-80/", "http://good.example:+80/", "http://good.example:80:80/", "http://good.example:\u0668\u0660/",
    "http://good.example:8O/", "http://good.example:000080/",
    # schemes and shapes
    "file:///etc/passwd", "ftp://good.example/", "gopher://127.0.0.1:6379/_", "data:image/png;base64,AAAA", "javascript:alert(1)",
    "//good.example/", "/etc/passwd", "http:good.example", "http:/good.example/", "http:///good.example/", "http://", "http://:80/",
    "https://[::1", "http://[]/", "http://[1.2.3.4]/", "http://a..b/", "http://.a/", "http://-a.example/", "http://a_.-b.example/",
    "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun/", "\\\\server\\share", "http://" + "a" * 64 + ".example/",
    "http://good.example/" + "a" * 9000, "", "jar:http://good.example/!/", "http://good.example?@127.0.0.1\\",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_spellings_are_refused(url: str) -> None:
    """M-7, H15, E8, D6: refused by its spelling alone, before any name is resolved."""
    with pytest.raises(Permanent) as caught:
        EgressGuard().check(url)
    assert caught.value.code == "egress_refused"
    assert is_suspect(caught.value.code)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", *HOSTILE])
def test_a_refusal_does_not_repeat_the_link(url: str) -> None:
    """I3, I13: the link may be signed, or made to be logged; no reason for a refusal quotes it."""
    with pytest.raises(Permanent) as caught:
        EgressGuard().check(f"{url}?Signature=c4n4ry\x1b[31m")
    assert "c4n4ry" not in str(caught.value)
    with pytest.raises(Permanent) as caught:
        EgressGuard().check(f"{url}?Signature=c4n4ry")
    assert "c4n4ry" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://Good.Example", Target("http", "good.example", 80, "/")),
        ("HTTPS://good.example:443/a?b=c", Target("https", "good.example", 443, "/a?b=c")),
        ("https://good.example?x=@127.0.0.1", Target("https", "good.example", 443, "/?x=@127.0.0.1")),
        ("http://8.8.8.8:8080//x", Target("http", "8.8.8.8", 8080, "//x")),
        ("https://[2606:4700:0:0::1111]/", Target("https", "2606:4700::1111", 443, "/")),
        ("https://a-b.c_d.xn--p1ai/%2e%2e/", Target("https", "a-b.c_d.xn--p1ai", 443, "/%2e%2e/")),
    ],
)
def test_plain_links_are_read(url: str, target: Target) -> None:
    assert EgressGuard().check(url) == target
    assert parse_target(target.url) == target


@given(st.text(max_size=60).map(lambda text: f"http://{text}"))
def test_any_text_is_read_or_refused(url: str) -> None:
    """No input crashes the reader, and what it reads it reads the same again."""
    try:
        target = parse_target(url)
    except Permanent:
        return
    assert parse_target(target.url) == target


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1", "151.101.1.1"])
def test_public_addresses_are_not_internal(address: str) -> None:
    import ipaddress

    assert not is_internal(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
        ("127.0.0.1", "http://127.0.0.1:8080/"),
        ("127.0.0.0/8", "http://127.9.9.9/"),
        ("[::1]:9000", "http://[::1]:9000/"),
        ("::1", "http://[::1]/"),
        ("fd00::/8", "http://[fd00::1]/"),
        ("Minio.Internal:9000", "http://minio.internal:9000/"),
        ("localhost", "http://localhost/"),
        ("redis:6379", "http://redis:6379/"),
        ("good.example:2222", "http://good.example:2222/"),
    ],
)
def test_what_the_operator_lists_is_lifted(entry: str, url: str) -> None:
    """Promise 12: unless an operator listed it."""
    EgressGuard([entry]).check(url)
    with pytest.raises(Permanent):
        EgressGuard().check(url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9001/"),
        ("127.0.0.1:9000", "http://127.0.0.1/"),
        ("127.0.0.1:9000", "http://127.0.0.2:9000/"),
        ("127.0.0.1:9000", "http://0x7f000001:9000/"),
        ("127.0.0.1:9000", "http://[::ffff:127.0.0.1]:9000/"),
        ("127.0.0.1", "http://127.0.0.1:9000/"),
        ("10.0.0.0/8", "http://10.0.0.1:9000/"),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]/"),
        ("minio.internal:9000", "http://a.minio.internal:9000/"),
        ("good.example:2222", "http://127.0.0.1:2222/"),
    ],
)
def test_only_what_is_listed_is_lifted(entry: str, url: str) -> None:
    with pytest.raises(Permanent):
        EgressGuard([entry]).check(url)


@pytest.mark.parametrize(
    "entry",
    ["*", "*.internal", "10.0.0.1/8", "http://a.example", "a.example:x", "a:99999", "a b", "127.1", "[::1", "/"],
)
def test_an_entry_that_cannot_be_read_names_the_setting(entry: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Allowed.parse([entry])
    assert caught.value.setting == "EGRESS_ALLOW"
