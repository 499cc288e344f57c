"""Which addresses are internal. A list of our own: `ipaddress.is_global` calls several ways in global (M-7)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

Address = IPv4Address | IPv6Address

DENIED_V4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT; a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's metadata on a public address
        "169.254.0.0/16",  # link-local, metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
GLOBAL_V6 = ip_network("2000::/3")
"""Whatever IPv6 lies outside is internal or leads to IPv4: mapped, compatible, translated, NAT64, ULA, link-local,
site-local, multicast."""
DENIED_V6 = tuple(
    ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
)
ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Begins an interface identifier whose other half is the IPv4 address that a tunnel leads to."""


@lru_cache(maxsize=512)
def is_internal(address: Address) -> bool:
    """Return True for an address that a foreign URL must not reach."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in DENIED_V4) or not address.is_global
    if address.scope_id is not None or address not in GLOBAL_V6:
        return True
    if (int(address) >> 32) & 0xFFFF_FFFF in ISATAP:
        return True
    return any(address in network for network in DENIED_V6) or not address.is_global
