"""The operator's list `EGRESS_ALLOW`: internal hosts and ports that foreign URLs may name all the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from orchestrator.domain.errors import ConfigError, Permanent
from orchestrator.egress.addresses import Address
from orchestrator.egress.target import NUMERIC_LABEL, parse_host

SETTING = "EGRESS_ALLOW"
PORTS = frozenset({80, 443, 8080, 8443})
"""Where web servers are; what else listens on a network is not for foreign URLs."""


@dataclass(frozen=True)
class Allowed:
    """What is listed. A host is lifted with every address it has, on the listed port or on the usual ones; a network
    only for its addresses, on the usual ports.
    """

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Allowed:
        """Read entries `host`, `host:port`, `[v6]:port`, address or CIDR. Raises ConfigError naming the entry."""
        hosts: set[tuple[str, int | None]] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in (text.strip() for text in entries):
            if "/" in entry:
                networks.append(_parse_network(entry))
            elif entry:
                hosts.add(_parse_entry(entry))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str, port: int) -> bool:
        """Return True when this host is listed for this port."""
        return (host, port) in self.hosts or ((host, None) in self.hosts and port in PORTS)

    def has_port(self, host: str, port: int) -> bool:
        """Return True when a URL may name this port on this host."""
        return port in PORTS or (host, port) in self.hosts

    def has_address(self, address: Address) -> bool:
        """Return True when a listed network holds this address."""
        return any(address in network for network in self.networks)


def _parse_network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry)
    except ValueError as error:
        raise ConfigError(SETTING, f"{entry!r} is no network: {error}") from None


def _parse_entry(entry: str) -> tuple[str, int | None]:
    host, port = entry, None
    if entry.count(":") > 1 and not entry.startswith("["):
        host = f"[{entry}]"
    elif not entry.endswith("]") and ":" in entry:
        host, _, digits = entry.rpartition(":")
        if not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 65536:
            raise ConfigError(SETTING, f"{entry!r}: {digits!r} is no port")
        port = int(digits)
    try:
        return parse_host(host), port
    except Permanent:
        raise ConfigError(SETTING, f"{entry!r} is no host, host:port or network (10.0.0.0/8)") from None


def is_single_label(host: str) -> bool:
    """Return True for a name without a dot: it means whatever the search domains of this network make of it."""
    return "." not in host and ":" not in host and not NUMERIC_LABEL.fullmatch(host)
