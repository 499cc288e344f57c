"""URLs that mean to lead inside, each with the port of a listener that would answer."""

from __future__ import annotations

from collections.abc import Iterator

HOSTS = [
    # this machine, in numbers
    *("127.0.0.1", "127.1", "127.0.1", "127.8.9.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "0177.0.0.1"),
    *("017700000001", "0177.1", "127.0.0.0x1", "127.000.000.001", "00000177.0.0.1", "0", "0.0.0.0", "0x0", "1.2.3.4.5"),  # noqa: S104
    # this machine, in IPv6
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::7f00:1]"),
    *("[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"),
    *("[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]", "[fec0::1]", "[fd00::1]"),
    # this machine, by name
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "ip6-localhost", "127.0.0.1.", "rebound.example"),
    *("mixed.example", "sixth.example", "127.0.0.1.rebound.example", "RebOund.example"),
    # letters that some take for digits and dots
    *("127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1"),
    *("loc\u0430lhost", "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "%31%32%37.0.0.1", "127%2e0%2e0%2e1"),
    # other insides
    *("169.254.169.254", "[::ffff:169.254.169.254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1"),
]  # fmt: skip
FORMS = [
    "http://{host}:{port}/",
    "https://{host}:{port}/",
    "http://good.example@{host}:{port}/",
    "http://{host}:{port}#@good.example/",
]
OTHERS = [
    "http://{host}:{port}\\@good.example/",
    "http://good.example\\@{host}:{port}/",
    "http://good.example#@{host}:{port}/",
    "http://good.example:80@{host}:{port}/",
    "http://{host}:{port}\r\nHost: good.example/",
    "http://{host}:{port}\t/",
    " http://{host}:{port}/",
    "http:/{host}:{port}/",
    "http:{host}:{port}/",
    "//{host}:{port}/",
    "ftp://{host}:{port}/",
    "gopher://{host}:{port}/_GET",
    "file://{host}:{port}/etc/passwd",
    "HTTP://{host}:{port}/",
    "http://{host}:0{port}/",
    "http://{host}:+{port}/",
    "http://{host}:{port}:80/",
    "http://{host}:99999/",
    "jar:http://{host}:{port}/!/",
    "http+unix://{host}:{port}/",
    "dict://{host}:{port}/",
    "http://{host}%00.example:{port}/",
    "http://{host}%2f@good.example:{port}/",
    "http://[{host}]:{port}/",
]
ADDRESSES = {
    "mixed.example": ["8.8.8.8", "127.0.0.1"],
    "sixth.example": ["2606:4700::1111", "::ffff:127.0.0.1"],
}
"""What the resolver says; every other name is this machine."""


async def resolve_inside(host: str, port: int) -> list[str]:
    """A resolver in the attacker's hands."""
    return ADDRESSES.get(host, ["127.0.0.1"])


def hostile_urls(port: int) -> Iterator[str]:
    """Yield every URL, once."""
    yield from dict.fromkeys(
        [form.format(host=host, port=port) for form in FORMS for host in HOSTS]
        + [form.format(host="127.0.0.1", port=port) for form in OTHERS]
    )
