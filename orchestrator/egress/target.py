"""Read a URL once, strictly: one spelling for each host, nothing that two parsers could read in two ways."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from orchestrator.domain.errors import Permanent
from orchestrator.domain.media import suspects

MAX_URL = 8192
"""Signed links have about 600 characters."""
DEFAULT_PORTS = {"http": 80, "https": 443}
URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[/?].*)?")
AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""As the last label it makes parsers read the whole host as an IPv4 address: 2130706433, 127.1, 0x7f.1."""

REMEMBERED = 512
"""URLs read lately: an endpoint is posted to again and again, and reading a URL is a function of its text alone."""


@dataclass(frozen=True)
class Target:
    """A URL taken apart. `host` is a lower-case name or a canonical address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address that `host` spells, None for a name."""
        return _address_in(self.host)

    @property
    def authority(self) -> str:
        """Host and port as the Host header says them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL again, from the parts that were checked."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def at(self, address: str) -> str:
        """Return the URL with an address in the host's place."""
        return replace(self, host=address).url


@lru_cache(maxsize=REMEMBERED)
def _address_in(host: str) -> IPv4Address | IPv6Address | None:
    if ":" in host:
        return IPv6Address(host)
    return IPv4Address(host) if NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]) else None


def refused(reason: str) -> Permanent:
    """Return the refusal to raise. It never repeats the URL, which may be signed or made to be logged."""
    return Permanent(suspects.EGRESS_REFUSED, reason)


@lru_cache(maxsize=REMEMBERED)
def parse_target(url: str) -> Target:
    """Take `url` apart. Raises Permanent(`egress_refused`) for anything but plain http(s) to a plainly written host."""
    if len(url) > MAX_URL:
        raise refused(f"a link of {len(url)} characters")
    if UNPRINTABLE.search(url) or "\\" in url:
        raise refused("the link has white space, control characters or backslashes in it")
    if "#" in url:
        raise refused("the link has a fragment")
    match = URL.fullmatch(url)
    if match is None:
        raise refused("the link is not an absolute URL")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise refused(f"the link's scheme is {scheme[:20]!r}, not http or https")
    host, port = _split_authority(match["authority"])
    rest = match["rest"] or "/"
    return Target(scheme, parse_host(host), port or DEFAULT_PORTS[scheme], rest if rest[0] == "/" else f"/{rest}")


def _split_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise refused("the link has a user name in it")
    match = AUTHORITY.fullmatch(authority)
    if match is None:
        raise refused("the link's host and port cannot be read")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port < 65536:
        raise refused(f"the link's port is {port}")
    return match["host"], port


def parse_host(host: str) -> str:
    """Return a host in its one spelling. Raises Permanent for numeric, encoded, non-ASCII and other odd spellings."""
    if host.startswith("["):
        return _parse_v6(host[1:-1])
    name = host.lower()
    labels = name.split(".")
    if not host.isascii() or len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise refused("the link's host is not a plainly written name or address")
    if NUMERIC_LABEL.fullmatch(labels[-1]):
        return _parse_v4(name)
    return name


def _parse_v4(text: str) -> str:
    try:
        return str(IPv4Address(text))  # four decimal numbers without leading zeros, nothing else
    except AddressValueError:
        raise refused("the link's host is a number in an unusual spelling") from None


def _parse_v6(text: str) -> str:
    if "%" in text:
        raise refused("the link's host has a zone")
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise refused("the link's host is not an address") from None
