"""The one decision about a foreign URL: may it be opened, and at which addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from orchestrator.domain.errors import NotListed, Transient
from orchestrator.domain.media import suspects
from orchestrator.egress.addresses import Address, is_internal
from orchestrator.egress.allow import Allowed, is_single_label
from orchestrator.egress.resolve import SharedResolver
from orchestrator.egress.target import Target, parse_target

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port to addresses, in the order to try them. Raises OSError when the name has none."""
MAX_ADDRESSES = 4
"""Tried one after the other; more would only spend the deadline."""


@dataclass(frozen=True)
class Admitted:
    """A URL that may be opened at exactly these addresses. They were checked; nothing resolves the name again."""

    target: Target
    addresses: tuple[Address, ...]


class EgressGuard:
    """Decides by spelling, port and every address. One internal address among public ones refuses them all (F13).

    `allow` holds the entries of EGRESS_ALLOW. Raises ConfigError for one that cannot be read. Without `resolve` the
    system is asked for addresses.
    """

    def __init__(self, allow: Iterable[str] = (), *, resolve: Resolve | None = None) -> None:
        self._allowed = Allowed.parse(allow)
        self._resolve = resolve or SharedResolver()

    def check(self, url: str) -> Target:
        """Return the target of a URL whose spelling and port are in order, without asking any server.

        Raises Permanent(`egress_refused`). A literal internal address is refused here already.
        """
        target = parse_target(url)
        if not self._allowed.has_port(target.host, target.port):
            raise _not_listed(target, f"port {target.port} is not one that foreign links may name")
        if self._allowed.names(target.host, target.port):
            return target
        if target.address is not None:
            self._check_address(target, target.address)
        elif is_single_label(target.host) or target.host.endswith(".localhost"):
            raise _not_listed(target, "the link's host is a local name")
        return target

    async def admit(self, url: str) -> Admitted:
        """Resolve once and check every address. Raises Permanent(`egress_refused`) or Transient(`dns_failed`)."""
        target = self.check(url)
        if target.address is not None:
            return Admitted(target, (target.address,))
        addresses = await self._look_up(target)
        if not self._allowed.names(target.host, target.port):
            for address in addresses:
                self._check_address(target, address)
        return Admitted(target, addresses[:MAX_ADDRESSES])

    async def _look_up(self, target: Target) -> tuple[Address, ...]:
        try:
            found = await self._resolve(target.host, target.port)
            addresses = tuple(ip_address(text) for text in found)
        except (OSError, ValueError) as error:
            raise Transient("dns_failed", f"{target.host}: {error}") from error
        if not addresses:
            raise Transient("dns_failed", f"{target.host} has no address")
        return addresses

    def _check_address(self, target: Target, address: IPv4Address | IPv6Address) -> None:
        if is_internal(address) and not self._allowed.has_address(address):
            raise _not_listed(target, "the link leads to an internal address")


def _not_listed(target: Target, reason: str) -> NotListed:
    return NotListed(suspects.EGRESS_REFUSED, reason, entry=target.authority)
